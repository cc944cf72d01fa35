"""Starting, adopting and ending the parts of one stack."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from signal import SIGKILL, Signals

from eventmill.dev import ports, process
from eventmill.dev.folder import StackFolder
from eventmill.dev.part import Part, Report
from eventmill.dev.parts import KINDS, build
from eventmill.dev.state import ProcessRecord, State
from eventmill_schemas.errors import StackFailed

_ATTEMPTS = 3


@dataclass(frozen=True)
class Patience:
    """How long, in seconds, a part may take: to work after its start, to answer when it runs already, to end."""

    start: float = 120.0
    adopt: float = 20.0
    stop: float = 30.0


@dataclass(frozen=True)
class Supervisor:
    """The parts of one stack. Whoever makes one holds the stack's lock as long as it is used.

    What is started is in the state file before it is waited for. `kinds` are the parts that there are, in the order of
    their start; `build` makes one from its name, the folder and the state.
    """

    folder: StackFolder
    state: State
    report: Report
    usual_ports: bool
    kinds: Mapping[str, type[Part]] = field(default_factory=lambda: KINDS)
    build: Callable[[str, StackFolder, State], Part] = build
    patience: Patience = Patience()

    def start(self, names: Sequence[str]) -> None:
        """Start the parts that don't run and wait until all of them work.

        If that fails, or is interrupted, the parts that this call started are ended again.
        Raises StackFailed with the end of the log of a part that does not start.
        """
        begun: dict[str, float] = {}
        working: set[str] = set()
        for name in self.kinds:
            if not self.state.ports.keys() >= set(self.kinds[name].ports):
                self._choose_ports(name)
        try:
            for name in names:
                if self._adopt(name):
                    continue
                for other, began in begun.items():
                    if name in self.kinds[other].needed_by and other not in working:
                        self._await(other, began)
                        working.add(other)
                begun[name] = time.monotonic()
                self._launch(name)
            for name, began in begun.items():
                if name not in working:
                    self._await(name, began)
        except BaseException:
            self.end(list(begun))
            raise

    def end(self, names: Sequence[str]) -> None:
        """End the parts in the opposite order of their start; return when no process of them is left."""
        for name in reversed(list(self.kinds)):
            if name in names:
                if self._end(name, self.kinds[name].stop_signal):
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
        part = self.build(name, self.folder, self.state)
        process.wait_until(lambda: not process.is_living(record) or part.complaint() is None, self.patience.adopt)
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
        part = self.build(name, self.folder, self.state)
        self.folder.save(self.state)
        self.folder.empty_temporary(name)
        part.prepare()
        self.state.processes[name] = process.spawn(part.command(), log=self.folder.log(name))
        self.folder.save(self.state)

    def _await(self, name: str, began: float) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            complaint = self._ask(name)
            if complaint is None:
                part = self.build(name, self.folder, self.state)
                part.settle()
                self.report(f"{name} is ready at port {part.port} after {time.monotonic() - began:.1f} s")
                return
            living = process.is_living(self.state.processes[name])
            # Somebody may have taken its port between our look and its start.
            lost_port = not living and not all(ports.is_free(self.state.ports[port]) for port in self.kinds[name].ports)
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
        part = self.build(name, self.folder, self.state)
        complaint: str | None = "it was not asked yet"

        def answered() -> bool:
            nonlocal complaint
            if process.is_living(self.state.processes[name]):
                complaint = part.complaint()
                return complaint is None
            complaint = "it ended"
            return True

        process.wait_until(answered, self.patience.start)
        return complaint

    def _choose_ports(self, name: str) -> None:
        own = self.kinds[name].ports
        kept = self.state.ports
        for port in own:
            taken = [number for other, number in kept.items() if other != port]
            before = kept.get(port)
            preferred = before if before is not None else ports.USUAL[port] if self.usual_ports else None
            kept[port] = ports.choose(preferred, taken=taken)
            if before is not None and kept[port] != before:
                self.report(f"port {before} ({port}) is taken by another program: now {kept[port]}")
                self.end(self.kinds[name].needed_by)

    def _end(self, name: str, ask: Signals) -> bool:
        """End what runs of the part; return whether anything did."""
        record = self.state.processes.get(name)
        return process.end(self.state.marker(name), record, ask=ask, patience=self.patience.stop)
