"""Starting, adopting and ending, with small servers in the place of Kafka and Postgres."""

import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from eventmill.dev import process
from eventmill.dev.folder import StackFolder
from eventmill.dev.part import Command, Part
from eventmill.dev.ports import LOOPBACK, is_free
from eventmill.dev.state import State, new_state
from eventmill.dev.supervisor import Patience, Supervisor
from eventmill_schemas.errors import StackFailed

# Answers each connection with its own process id.
SERVER = """
import os, socket, sys
print("serving", flush=True)
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        client, _ = server.accept()
        client.sendall(str(os.getpid()).encode())
        client.close()
"""
BROKEN = "import sys; print('first line'); sys.exit('no space left on device')"


@dataclass(frozen=True)
class Server:
    """A part that serves its own process id."""

    marker: str
    port: int
    folder: Path
    script: str = SERVER
    name: ClassVar[str] = "server"
    ports: ClassVar[tuple[str, ...]] = ("server",)
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    needed_by: ClassVar[tuple[str, ...]] = ("client",)

    def prepare(self) -> None:
        """Count the starts."""
        with (self.folder / "starts").open("a") as out:
            out.write(f"{self.name}\n")

    def command(self) -> Command:
        """Return the script's command line."""
        argv = [sys.executable, "-c", self.script, str(self.port), f"-Deventmill.part={self.marker}"]
        return Command(argv, {}, self.folder)

    def complaint(self) -> str | None:
        """Ask it."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1) as connection:
                connection.settimeout(1)
                return None if connection.recv(20).isdigit() else "no answer"
        except OSError as problem:
            return str(problem)

    def settle(self) -> None:
        """Count the settlings."""
        with (self.folder / "settled").open("a") as out:
            out.write(f"{self.name}\n")


class Client(Server):
    """A part that needs the server."""

    name: ClassVar[str] = "client"
    ports: ClassVar[tuple[str, ...]] = ("client",)
    needed_by: ClassVar[tuple[str, ...]] = ()


KINDS: dict[str, type[Part]] = {"server": Server, "client": Client}


def build(name: str, folder: StackFolder, state: State) -> Part:
    """Make a part; the file named after it, if there is one, is what it runs."""
    replaced = folder.path / f"{name}.py"
    script = replaced.read_text() if replaced.exists() else SERVER
    return (Server if name == "server" else Client)(state.marker(name), state.ports[name], folder.path, script)


@pytest.fixture
def said() -> list[str]:
    """Give the list that reports go to."""
    return []


@pytest.fixture
def supervisor(tmp_path: Path, said: list[str]) -> Iterator[Supervisor]:
    """Give a supervisor of two parts that were never started; all is ended after the test."""
    folder = StackFolder(tmp_path / "stack")
    with folder.locked():
        state = new_state()
        yield Supervisor(folder, state, said.append, usual_ports=False, kinds=KINDS, build=build)
        for name in KINDS:
            process.end(state.marker(name), None, ask=signal.SIGKILL, patience=1)


def again(supervisor: Supervisor) -> Supervisor:
    """Return what a later command has: the kept state and nothing else."""
    state = supervisor.folder.load()
    assert state is not None
    return replace(supervisor, state=state)


def pids(supervisor: Supervisor) -> dict[str, int]:
    """Return the recorded processes."""
    return {name: record.pid for name, record in supervisor.state.processes.items()}


def lines(supervisor: Supervisor, file: str) -> list[str]:
    """Return what the parts noted."""
    return (supervisor.folder.path / file).read_text().split()


def test_both_parts_are_started_and_work(supervisor: Supervisor, said: list[str]) -> None:
    """In order, each settled once, with what was done reported."""
    supervisor.start(["server", "client"])
    assert lines(supervisor, "starts") == lines(supervisor, "settled") == ["server", "client"]
    assert all(build(name, supervisor.folder, supervisor.state).complaint() is None for name in KINDS)
    assert [text.split()[0] for text in said] == ["server", "client"]


def test_what_runs_is_adopted_by_the_next_command(supervisor: Supervisor) -> None:
    """No second process, the same ports."""
    supervisor.start(["server", "client"])
    later = again(supervisor)
    later.start(["server", "client"])
    assert pids(later) == pids(supervisor)
    assert later.state.ports == supervisor.state.ports
    assert len(lines(supervisor, "starts")) == 2


def test_what_runs_is_adopted_although_its_id_was_lost(supervisor: Supervisor) -> None:
    """The starter was killed before it wrote the id down."""
    supervisor.start(["server"])
    before = pids(supervisor)
    later = again(supervisor)
    later.state.processes.clear()
    later.start(["server"])
    assert pids(later) == before


def test_a_part_that_was_killed_is_started_again_and_the_other_stays(supervisor: Supervisor) -> None:
    """At the same port, because addresses are written down elsewhere."""
    supervisor.start(["server", "client"])
    before, ports = pids(supervisor), dict(supervisor.state.ports)
    supervisor.kill("client")
    assert "client" in supervisor.state.processes
    later = again(supervisor)
    later.start(["server", "client"])
    assert pids(later)["server"] == before["server"]
    assert pids(later)["client"] != before["client"]
    assert later.state.ports == ports


def test_a_part_that_hangs_is_replaced(supervisor: Supervisor) -> None:
    """It lives and does not answer: stopped by SIGSTOP, which not even SIGTERM gets through."""
    supervisor.start(["server"])
    before = pids(supervisor)["server"]
    found = process.find(supervisor.state.marker("server"), None)
    assert found is not None
    found.suspend()
    later = replace(again(supervisor), patience=Patience(adopt=0.2, stop=0.2))
    later.start(["server"])
    assert pids(later)["server"] != before
    assert not process.is_alive(before)


def test_a_part_that_dies_at_its_start_is_reported_with_its_last_words(supervisor: Supervisor) -> None:
    """And what this start began is ended again: nothing is left."""
    (supervisor.folder.path / "client.py").write_text(BROKEN)
    with pytest.raises(StackFailed, match=r"(?s)client did not start, it ended.*no space left on device") as caught:
        supervisor.start(["server", "client"])
    assert "--fresh" in str(caught.value.remedy)
    assert not process.marked(supervisor.state.marker("server"))
    assert not supervisor.state.processes


def test_a_start_that_fails_leaves_alone_what_ran_before(supervisor: Supervisor) -> None:
    """The server of an earlier command is not punished for the client."""
    supervisor.start(["server"])
    (supervisor.folder.path / "client.py").write_text(BROKEN)
    with pytest.raises(StackFailed):
        again(supervisor).start(["server", "client"])
    assert process.find(supervisor.state.marker("server"), None) is not None


def test_an_interrupted_start_leaves_nothing(supervisor: Supervisor) -> None:
    """Ctrl-C while it waits for the client."""

    def interrupt(text: str) -> None:
        if "server is ready" in text:
            raise KeyboardInterrupt

    interrupted = replace(supervisor, report=interrupt)
    with pytest.raises(KeyboardInterrupt):
        interrupted.start(["server", "client"])
    assert not process.marked(supervisor.state.marker("server"))
    assert is_free(supervisor.state.ports["server"])


def test_a_kept_port_that_somebody_took_is_chosen_anew(supervisor: Supervisor, said: list[str]) -> None:
    """And said. Who knows the old port from its own start is started again."""
    supervisor.start(["server", "client"])
    client = pids(supervisor)["client"]
    supervisor.kill("server")
    old = supervisor.state.ports["server"]
    with socket.create_server((LOOPBACK, old)):
        later = again(supervisor)
        later.start(["server", "client"])
    assert later.state.ports["server"] != old
    assert any(str(old) in text for text in said)
    assert pids(later)["client"] != client


def test_a_port_lost_between_look_and_start_is_chosen_anew(supervisor: Supervisor) -> None:
    """Two stacks that start at once may look at the same moment: the one that comes too late tries another port."""
    thief: list[socket.socket] = []

    class Late(Server):
        def prepare(self) -> None:
            if not thief:
                thief.append(socket.create_server((LOOPBACK, self.port)))

        def complaint(self) -> str | None:
            # What answers at the stolen port is not ours.
            return "not ours" if thief[0].getsockname()[1] == self.port else super().complaint()

    def late(name: str, folder: StackFolder, state: State) -> Part:
        return Late(state.marker(name), state.ports[name], folder.path)

    try:
        replace(supervisor, build=late).start(["server"])
        assert supervisor.state.ports["server"] != thief[0].getsockname()[1]
    finally:
        thief[0].close()


def test_ending_leaves_no_process_and_no_port(supervisor: Supervisor, said: list[str]) -> None:
    """The one that needs the other goes first; ending what does not run does nothing."""
    supervisor.start(["server", "client"])
    said.clear()
    supervisor.end(["server", "client"])
    assert said == ["client is stopped", "server is stopped"]
    assert not supervisor.state.processes
    assert all(is_free(port) for port in supervisor.state.ports.values())
    supervisor.end(["server", "client"])
    assert len(said) == 2


def test_a_part_is_waited_for_only_by_those_that_need_it(supervisor: Supervisor) -> None:
    """What does not need the server starts beside it; the client starts when the server works."""
    happened: list[str] = []

    class Noting(Server):
        def prepare(self) -> None:
            happened.append(f"start {self.marker.split('-')[1]}")

        def settle(self) -> None:
            happened.append(f"works {self.marker.split('-')[1]}")

    def noting(name: str, folder: StackFolder, state: State) -> Part:
        return Noting(state.marker(name), state.ports[name], folder.path)

    class Beside(Client):
        ports: ClassVar[tuple[str, ...]] = ("beside",)

    kinds: dict[str, type[Part]] = {"server": Server, "beside": Beside, "client": Client}
    try:
        replace(supervisor, kinds=kinds, build=noting).start(list(kinds))
    finally:
        process.end(supervisor.state.marker("beside"), None, ask=signal.SIGKILL, patience=1)
    assert happened[:4] == ["start server", "start beside", "works server", "start client"]
    assert sorted(happened[4:]) == ["works beside", "works client"]
