"""A pipeline's workers as processes: started, started again, given up, stopped."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eventmill.fleet import Fleet, replicas
from eventmill_schemas.pipeline import Format, Kafka, Pipeline, ResultSchema, Stage

WORKER = """
import os, pathlib, signal, sys, time
folder = pathlib.Path(os.environ["FLEET_FOLDER"])
stage, slot = sys.argv[2], sys.argv[sys.argv.index("--slot") + 1]
print("worker", *sys.argv[1:], flush=True)
with (folder / f"{stage}.{slot}.starts").open("a") as starts:
    print(os.getpid(), file=starts, flush=True)
if stage == "wrong":
    print("error: the files are wrong", file=sys.stderr, flush=True)
    sys.exit(2)
if stage == "ends":
    sys.exit(3)
if stage == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: ((folder / f"{stage}.{slot}.drained").touch(), sys.exit(0)))
(folder / f"{stage}.{slot}.ready").touch()
time.sleep(60)
"""


class Site:
    """A folder in which `python -m eventmill.cli` is a script of this test: what a fleet starts is harmless."""

    def __init__(self, folder: Path) -> None:
        """Put the stand-in first on the children's module path."""
        self.folder = folder
        package = folder / "path" / "eventmill" / "cli"
        package.mkdir(parents=True)
        (package.parent / "__init__.py").touch()
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(WORKER)
        self.said: list[str] = []
        self.fleets: list[Fleet] = []

    def fleet(self, *options: str, **stages: int) -> Fleet:
        """Start a fleet."""
        environ = {"PYTHONPATH": str(self.folder / "path"), "FLEET_FOLDER": str(self.folder)}
        fleet = Fleet(
            self.folder / "pipeline.yaml", stages, self.folder / "logs", self.said.append, options, environ=environ
        )
        self.fleets.append(fleet)
        fleet.start()
        return fleet

    def starts(self, name: str) -> list[int]:
        """Return the process ids of a worker's starts."""
        file = self.folder / f"{name}.starts"
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def has(self, name: str) -> bool:
        """Whether a worker has left this mark."""
        return (self.folder / name).exists()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Give a site, and end whatever it has started."""
    made = Site(tmp_path)
    yield made
    for fleet in made.fleets:
        fleet.stop(0)


def until(condition: Callable[[], object], fleet: Fleet | None = None) -> None:
    """Wait for other processes, watching the fleet."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        if fleet is not None:
            fleet.watch()
        time.sleep(0.02)


def test_each_replica_has_its_slot_and_the_command_it_is_told(site: Site) -> None:
    """Stage, pipeline, slot, parent and further options are on the command line; logs have a file each."""
    fleet = site.fleet("--shutdown-timeout", "5", a=2, b=1)
    assert [member.name for member in fleet.members] == ["a.0", "a.1", "b.0"]
    until(lambda: all(site.has(f"{name}.ready") for name in ("a.0", "a.1", "b.0")))
    for member in fleet.members:
        assert member.log is not None
        line = member.log.read_text().split()
        assert line[:5] == ["worker", "worker", member.stage, "--pipeline", str(site.folder / "pipeline.yaml")]
        assert line[5:] == ["--slot", str(member.slot), "--parent", str(os.getpid()), "--shutdown-timeout", "5"]
    assert not fleet.failed
    assert site.said == []


def test_a_worker_that_ends_is_started_again_later_each_time(site: Site) -> None:
    """The pause doubles, the exit code and the end of the log are said, and the slot stays the same."""
    fleet = site.fleet(ends=1)
    until(lambda: len(site.starts("ends.0")) >= 3 and len(site.said) >= 3, fleet)
    (member,) = fleet.members
    assert member.restarts == len(site.starts("ends.0")) - 1
    for said, pause in zip(site.said, ("0.5 s", "1 s", "2 s"), strict=False):
        assert "ends.0 ended (exit code 3)" in said
        assert f"again in {pause}:" in said
        assert str(member.log) in said


def test_a_killed_worker_is_named_with_its_signal_and_comes_back(site: Site) -> None:
    """Killed with -9, one worker is started again and the others are left alone."""
    fleet = site.fleet(a=2)
    until(lambda: site.has("a.0.ready") and site.has("a.1.ready"))
    (killed,) = site.starts("a.0")
    os.kill(killed, signal.SIGKILL)
    until(lambda: len(site.starts("a.0")) == 2, fleet)
    assert "a.0 ended (signal 9)" in site.said[0]
    assert len(site.starts("a.1")) == 1


def test_a_worker_that_was_used_wrongly_stays_down(site: Site) -> None:
    """Exit code 2 means that a person must mend something: it is said once, with the reason, and not tried again."""
    fleet = site.fleet(wrong=1, a=1)
    until(lambda: fleet.failed, fleet)
    end = time.monotonic() + 0.8
    until(lambda: time.monotonic() > end, fleet)
    assert [member.name for member in fleet.failed] == ["wrong.0"]
    assert len(site.starts("wrong.0")) == 1
    assert len(site.said) == 1
    assert "the files are wrong" in site.said[0]


def test_stopping_lets_workers_drain_and_ends_who_does_not_leave(site: Site) -> None:
    """SIGTERM first; who ignores it is ended at the limit; nothing is started again afterwards."""
    fleet = site.fleet(a=1, stubborn=1)
    until(lambda: site.has("a.0.ready") and site.has("stubborn.0.ready"))
    processes = [member.process for member in fleet.members]
    fleet.stop(0.5)
    assert site.has("a.0.drained")
    assert [process.returncode if process else None for process in processes] == [0, -signal.SIGKILL]
    fleet.watch()
    assert all(member.process is None for member in fleet.members)
    assert site.said == []


def test_stopping_while_a_restart_is_due_starts_nothing(site: Site) -> None:
    """A worker that waits for its restart stays down once the fleet is stopped."""
    fleet = site.fleet(ends=1)
    until(lambda: site.said, fleet)
    fleet.stop(1)
    started = len(site.starts("ends.0"))
    end = time.monotonic() + 1.2
    until(lambda: time.monotonic() > end, fleet)
    assert len(site.starts("ends.0")) == started


def test_replicas_are_one_unless_told() -> None:
    """Each stage has one worker by default; 0 is none."""
    stages = tuple(
        Stage(name, ("in",), Format.AVRO, None, None, None, (), ResultSchema({}, "r")) for name in ("a", "b", "c")
    )
    pipeline = Pipeline("p", ".", Kafka("k", "r"), stages, {})
    assert replicas(pipeline, {"b": 3, "c": 0}) == {"a": 1, "b": 3, "c": 0}


def test_the_real_worker_says_wrong_use_with_exit_code_2(tmp_path: Path) -> None:
    """A pipeline file that is not there keeps a real worker down, with its message."""
    said: list[str] = []
    fleet = Fleet(tmp_path / "nowhere.yaml", {"triage": 1}, tmp_path / "logs", said.append)
    fleet.start()
    try:
        until(lambda: fleet.failed, fleet)
    finally:
        fleet.stop(0)
    assert "nowhere.yaml" in said[0]
    assert "Traceback" not in said[0]
    assert sys.executable not in said[0]
