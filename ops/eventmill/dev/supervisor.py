"""Starting, adopting and ending the parts of one stack."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from signal import SIGKILL, Signals

from eventmill.dev import ports, process
from eventmill.dev.folder import StackFolder
from eventmill.dev.part import Report
from eventmill.dev.parts import KINDS, build
from eventmill.dev.state import ProcessRecord, State
from eventmill_schemas.errors import StackFailed

_START_SECONDS = 120.0
_ADOPT_SECONDS = 20.0
_STOP_SECONDS = 30.0
_ATTEMPTS = 3


@dataclass(frozen=True)
class Supervisor:
    """The parts of one stack. Whoever makes one holds the stack's lock as long as it is used.

    What is started is in the state file before it is waited for.
    """

    folder: StackFolder
    state: State
    report: Report
    usual_ports: bool

    def start(self, names: Sequence[str]) -> None:
        """Start the parts that don't run and wait until all of them work.

        If that fails, or is interrupted, the parts that this call started are ended again.
        Raises StackFailed with the end of the log of a part that does not start.
        """
        begun: dict[str, float] = {}
        try:
            for name in names:
                if self._adopt(name):
                    continue
                begun[name] = time.monotonic()
                self._launch(name)
                if name == "postgres":
                    self._await(name, begun[name])
            for name, began in begun.items():
                if name != "postgres":
                    self._await(name, began)
        except BaseException:
            self.end(list(begun))
            raise

    def end(self, names: Sequence[str]) -> None:
        """End the parts in order, the registry before its database; return when no process of them is left."""
        for name in reversed(KINDS):
            if name in names:
                if self._end(name, KINDS[name].stop_signal):
                    self.report(f"{name} is stopped")
                self.state.processes.pop(name, None)
                self.folder.save(self.state)

    def kill(self, name: str) -> None:
        """End one part as a crash would. It stays in the state, as a part that died."""
        self._end(name, SIGKILL)

    def _adopt(self, name: str) -> bool:
        """Whether the part runs already and works, if need be after a while; one that hangs is ended."""
        found = process.find(self.state.marker(name), self.state.processes.get(name))
        if found is None:
            return False
        record = ProcessRecord(pid=found.pid, started=found.create_time())
        self.state.processes[name] = record
        self.folder.save(self.state)
        part = build(name, self.folder, self.state)
        process.wait_until(lambda: not process.is_living(record) or part.complaint() is None, _ADOPT_SECONDS)
        if process.is_living(record) and part.complaint() is None:
            part.settle()
            self.report(f"{name} runs already at port {part.port}")
            return True
        self.report(f"{name} (process {found.pid}) does not answer: it is ended and started anew")
        self.end([name])
        return False

    def _launch(self, name: str) -> None:
        # What a server that died has left behind, such as Postgres' children, still holds its data.
        self._end(name, SIGKILL)
        self._choose_ports(name)
        part = build(name, self.folder, self.state)
        self.folder.save(self.state)
        self.folder.empty_temporary(name)
        part.prepare()
        self.state.processes[name] = process.spawn(part.command(), log=self.folder.log(name))
        self.folder.save(self.state)

    def _await(self, name: str, began: float) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            complaint = self._ask(name)
            if complaint is None:
                part = build(name, self.folder, self.state)
                part.settle()
                self.report(f"{name} is ready at port {part.port} after {time.monotonic() - began:.1f} s")
                return
            living = process.is_living(self.state.processes[name])
            # Somebody may have taken its port between our look and its start.
            lost_port = not living and not all(ports.is_free(self.state.ports[port]) for port in KINDS[name].ports)
            if attempt == _ATTEMPTS or not lost_port:
                happened = f"does not answer: {complaint}" if living else "ended"
                last = "\n".join(self.folder.tail(name, 15))
                raise StackFailed(
                    f"{name} did not start, it {happened}. The end of {self.folder.log(name)}:\n{last}",
                    remedy="If its data is damaged, begin anew: eventmill dev up --fresh",
                )
            self._launch(name)

    def _ask(self, name: str) -> str | None:
        """Ask a part that was launched until it works, ends or takes too long. Return its last complaint."""
        part = build(name, self.folder, self.state)
        complaint: str | None = "it was not asked yet"

        def answered() -> bool:
            nonlocal complaint
            if process.is_living(self.state.processes[name]):
                complaint = part.complaint()
                return complaint is None
            complaint = "it ended"
            return True

        process.wait_until(answered, _START_SECONDS)
        return complaint

    def _choose_ports(self, name: str) -> None:
        own = KINDS[name].ports
        kept = self.state.ports
        for port in own:
            taken = [number for other, number in kept.items() if other != port]
            before = kept.get(port)
            preferred = before if before is not None else ports.USUAL[port] if self.usual_ports else None
            kept[port] = ports.choose(preferred, taken=taken)
            if before is not None and kept[port] != before:
                self.report(f"port {before} ({port}) is taken by another program: now {kept[port]}")
                if name == "postgres":
                    # A registry that still runs knows the old port only.
                    self.end(["registry"])

    def _end(self, name: str, ask: Signals) -> bool:
        """End what runs of the part; return whether anything did."""
        return process.end(self.state.marker(name), self.state.processes.get(name), ask=ask, patience=_STOP_SECONDS)
