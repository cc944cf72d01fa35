"""The local stack as one supervised set: Postgres, Kafka, the schema registry and, if asked for, Connect of one folder.

No process stays behind to watch: each command takes the folder's lock, looks which parts live, and starts or ends what
is asked. A command may be killed at any moment: the next one adopts what still runs.
"""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from eventmill.dev import jars, process
from eventmill.dev.addresses import Addresses
from eventmill.dev.connect import has_plugins
from eventmill.dev.folder import StackFolder
from eventmill.dev.part import Report
from eventmill.dev.parts import BASE, KINDS, build, known
from eventmill.dev.ports import LOOPBACK
from eventmill.dev.registry import API
from eventmill.dev.state import State
from eventmill.dev.supervisor import Supervisor
from eventmill_schemas.errors import SetupError, StackFailed

DEFAULT_FOLDER = Path(".eventmill/stack")


@dataclass(frozen=True)
class PartStatus:
    """One part as it was when it was looked at.

    `state` is "ready", "unready" (it runs and does not do its work: `complaint` says why), "died" (it was started, and
    runs no more) or "stopped". `memory_mib` counts what its processes share once.
    """

    name: str
    state: str
    port: int | None = None
    pid: int | None = None
    memory_mib: float | None = None
    uptime_s: float | None = None
    complaint: str | None = None


class Stack:
    """The stack of one folder. Several objects, in one process or in many, may stand for the same folder.

    `usual_ports`: try the well-known ports (9092, 8081, 5432) at the first start. What was chosen is kept; a port that
    another program has taken since is chosen anew.
    """

    def __init__(self, folder: Path = DEFAULT_FOLDER, *, usual_ports: bool = True) -> None:
        self._folder = StackFolder(folder.absolute())
        self._usual_ports = usual_ports

    def up(
        self,
        *,
        fresh: bool = False,
        connect: bool = False,
        iceberg: bool = False,
        report: Report = lambda _: None,
    ) -> Addresses:
        """Start what does not run, wait until every part does real work, return the addresses.

        `fresh` ends all parts and wipes their data first. `connect` starts a worker of Kafka Connect as well, `iceberg`
        one that has the Iceberg sink too. A worker that died comes back without being asked for. If it fails or is
        interrupted, what this call started is ended again, and what already ran is left alone.
        Raises SetupError if something that it needs is missing, StackFailed if a part does not start.
        """
        with self._supervisor(report) as supervisor:
            asked = [*BASE, "connect"] if connect or iceberg else list(BASE)
            if fresh:
                supervisor.end(list(KINDS))
                state = self._folder.wipe(supervisor.state)
                return self._start(self._supervise(state, report), asked, iceberg=iceberg)
            return self._start(supervisor, dict.fromkeys([*asked, *supervisor.state.processes]), iceberg=iceberg)

    def down(self, *, wipe: bool = False, report: Report = lambda _: None) -> None:
        """End every part; return when no process of the stack is left. Data stays unless `wipe`. May be repeated."""
        if self._folder.load() is None:
            return
        with self._supervisor(report) as supervisor:
            supervisor.end(list(KINDS))
            if wipe:
                self._folder.wipe(supervisor.state)

    def start(self, part: str) -> Addresses:
        """Start one part if it does not run, and what it depends on, and wait until it works."""
        needed = {"registry": ["postgres", "registry"], "connect": list(KINDS)}.get(known(part), [part])
        with self._supervisor() as supervisor:
            return self._start(supervisor, needed)

    def stop(self, part: str) -> None:
        """End one part in order."""
        with self._supervisor() as supervisor:
            supervisor.end([known(part)])

    def kill(self, part: str) -> None:
        """End one part at once, as a crash would (SIGKILL); return when it is gone."""
        with self._supervisor() as supervisor:
            supervisor.kill(known(part))

    def restart(self, part: str) -> Addresses:
        """End one part in order, start it again and wait until it works."""
        self.stop(part)
        return self.start(part)

    def status(self) -> list[PartStatus]:
        """Return how each part is now, asking those that run for real work. Changes nothing."""
        state = self._folder.load()
        if state is None:
            return [PartStatus(name=name, state="stopped") for name in BASE]
        return [self._part_status(name, state) for name in KINDS if name in BASE or name in state.processes]

    def addresses(self) -> Addresses:
        """Return the addresses of a stack that is up. Raises SetupError if a part does not work."""
        lame = [part.name for part in self.status() if part.state != "ready"]
        state = self._folder.load()
        if state is None or lame:
            raise SetupError(
                f"the local stack in {self._folder.path} is not up ({', '.join(lame)})", remedy="Run: eventmill dev up"
            )
        return _addresses(state)

    def logs(self, part: str, lines: int = 50) -> list[str]:
        """Return the last lines that the part wrote since its start, [] if it was never started."""
        return self._folder.tail(known(part), lines)

    def follow(self, part: str) -> Iterator[str]:
        """Yield what the part writes from now on, line by line, also when it is started again. Never ends."""
        return self._folder.follow(known(part))

    def _start(self, supervisor: Supervisor, asked: Collection[str], *, iceberg: bool = False) -> Addresses:
        cache = jars.cache_folder()
        jars.ensure(cache, supervisor.report)
        if "connect" in asked:
            jars.ensure(cache, supervisor.report, jars.CONNECT)
        if iceberg:
            added = jars.ensure(cache, supervisor.report, jars.ICEBERG)
            if not has_plugins(self._folder.path, added):
                supervisor.end(["connect"])   # a worker looks for plugins at its start only
        # A part that was never asked for takes no port.
        chosen = {name: kind for name, kind in KINDS.items() if name in BASE or name in asked}
        replace(supervisor, kinds=chosen).start([name for name in chosen if name in asked])
        data = supervisor.state.postgres_data
        if data and not Path(data).is_relative_to(self._folder.path):
            supervisor.report(f"Postgres can't run as root, nor its account enter this folder: its data is in {data}")
        return _addresses(supervisor.state)

    @contextmanager
    def _supervisor(self, report: Report = lambda _: None) -> Iterator[Supervisor]:
        with self._folder.locked(lambda: report("waiting for another command that works on this stack")):
            state = self._folder.load()
            if state is None:
                raise StackFailed(f"{self._folder.path} was removed while it was used")
            yield self._supervise(state, report)

    def _supervise(self, state: State, report: Report) -> Supervisor:
        return Supervisor(self._folder, state, report, self._usual_ports)

    def _part_status(self, name: str, state: State) -> PartStatus:
        marker, port = state.marker(name), state.ports.get(name)
        found = process.find(marker, state.processes.get(name))
        if found is None:
            return PartStatus(name=name, state="died" if name in state.processes else "stopped", port=port)
        complaint = build(name, self._folder, state).complaint()
        return PartStatus(
            name=name,
            state="ready" if complaint is None else "unready",
            port=port,
            pid=found.pid,
            memory_mib=process.resident_mib(process.marked(marker)),
            uptime_s=time.time() - found.create_time(),
            complaint=complaint,
        )


def _addresses(state: State) -> Addresses:
    return Addresses(
        bootstrap=f"{LOOPBACK}:{state.ports['kafka']}",
        registry=f"http://{LOOPBACK}:{state.ports['registry']}{API}",
        postgres=f"postgresql://postgres:{state.password}@{LOOPBACK}:{state.ports['postgres']}/eventmill",
        connect=f"http://{LOOPBACK}:{state.ports['connect']}" if "connect" in state.processes else None,
    )
