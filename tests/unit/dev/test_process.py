"""Processes are recognised by their mark alone, and ended for good."""

import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from eventmill.dev import process
from eventmill.dev.part import Command
from eventmill.dev.state import ProcessRecord

SLEEP = "import time; print('up', flush=True); time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"

Start = Callable[..., ProcessRecord]


@pytest.fixture
def marker() -> str:
    """Give a mark that no other process has."""
    return f"eventmill-test-{uuid4().hex}"


@pytest.fixture
def start(tmp_path: Path, marker: str) -> Iterator[Start]:
    """Give a way to start a marked process that has run its first line; all are ended after the test."""

    def spawn(script: str = SLEEP, mark: str = marker) -> ProcessRecord:
        log = tmp_path / "log"
        argv = [sys.executable, "-c", script, f"-Deventmill.part={mark}"]
        record = process.spawn(Command(argv, {}, tmp_path), log=log)
        assert process.wait_until(lambda: "up" in log.read_text(), 10)
        return record

    yield spawn
    for left in process.marked(marker):
        left.kill()
    assert process.wait_until(lambda: not process.marked(marker), 10)


def test_a_process_is_found_by_its_record(start: Start, marker: str) -> None:
    """The usual case: id, start time and mark agree."""
    record = start()
    found = process.find(marker, record)
    assert found is not None
    assert found.pid == record.pid
    assert process.is_living(record)


def test_a_process_whose_id_was_never_written_down_is_found(start: Start, marker: str) -> None:
    """Its starter was killed between starting it and writing the state."""
    record = start()
    found = process.find(marker, None)
    assert found is not None
    assert found.pid == record.pid


def test_a_reused_id_is_not_taken_for_ours(marker: str) -> None:
    """Our own process lives, started when the record says, and does not carry the mark."""
    me = psutil.Process()
    assert process.find(marker, ProcessRecord(me.pid, me.create_time())) is None


def test_the_same_program_of_another_stack_is_not_ours(start: Start, marker: str) -> None:
    """A name is never enough; a mark that has ours as its beginning is another mark."""
    record = start(mark=f"{marker}0")
    try:
        assert process.find(marker, record) is None
        process.end(marker, record, ask=signal.SIGKILL, patience=1)
        assert process.is_living(record)
    finally:
        process.end(f"{marker}0", record, ask=signal.SIGKILL, patience=1)


def test_a_mark_in_passing_is_not_the_mark(start: Start, marker: str, tmp_path: Path) -> None:
    """A pager or an editor that was given the mark as its argument is not ended."""
    bystander = process.spawn(
        Command([sys.executable, "-c", SLEEP, marker, f"grep -Deventmill.part={marker}"], {}, tmp_path),
        log=tmp_path / "bystander",
    )
    try:
        assert process.find(marker, None) is None
    finally:
        os.kill(bystander.pid, signal.SIGKILL)
        assert process.wait_until(lambda: not process.is_living(bystander), 10)


def test_a_dead_process_is_not_found_and_leaves_no_zombie(start: Start, marker: str) -> None:
    """Also in a test run or a demo that goes on for long after a part has died."""
    record = start()
    os.kill(record.pid, signal.SIGKILL)
    assert process.wait_until(lambda: not process.is_living(record), 10)
    assert process.find(marker, record) is None
    assert not psutil.pid_exists(record.pid)


def test_it_is_asked_to_end_before_it_is_killed(start: Start, marker: str, tmp_path: Path) -> None:
    """A server gets the chance to close its files."""
    script = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('goodbye', flush=True), sys.exit()))\n"
        "print('up', flush=True); time.sleep(60)"
    )
    record = start(script)
    assert process.end(marker, record, ask=signal.SIGTERM, patience=10)
    assert "goodbye" in (tmp_path / "log").read_text()


def test_one_that_does_not_listen_is_killed(start: Start, marker: str) -> None:
    """After the patience is over, and with all that carries the mark."""
    first, second = start(DEAF), start(DEAF)
    assert process.end(marker, first, ask=signal.SIGTERM, patience=0.1)
    assert not process.is_living(first)
    assert not process.is_living(second)
    assert not process.end(marker, first, ask=signal.SIGTERM, patience=0.1)


def test_it_has_a_session_of_its_own(start: Start) -> None:
    """Ctrl-C at the terminal reaches our process group only."""
    record = start()
    assert os.getsid(record.pid) == record.pid


def test_it_inherits_no_lock(start: Start, tmp_path: Path) -> None:
    """A descriptor that its starter left inheritable, as flock(1) does, would hold the lock while the server lives."""
    with (tmp_path / "lock").open("w") as held:
        os.set_inheritable(held.fileno(), True)
        fcntl.flock(held, fcntl.LOCK_EX)
        record = start()
    with (tmp_path / "lock").open("w") as again:
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert process.is_living(record)


def test_it_gets_our_environment_only_as_far_as_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of paid accounts are no business of a database."""
    monkeypatch.setenv("SECRET_KEY", "sk-1")
    done = process.run(Command([sys.executable, "-c", "import os; print(dict(os.environ))"], {"A": "b"}, tmp_path))
    assert "'A': 'b'" in done.stdout
    assert "sk-1" not in done.stdout


def test_the_log_of_the_start_before_is_kept(start: Start, tmp_path: Path, marker: str) -> None:
    """Why it died is still there after it was started again."""
    start("print('up first', flush=True)")
    assert process.wait_until(lambda: not process.marked(marker), 10)
    start("print('up second', flush=True)")
    assert (tmp_path / "log.1").read_text() == "up first\n"
    assert (tmp_path / "log").read_text() == "up second\n"


def test_memory_of_no_process_is_nothing_and_of_one_is_something(start: Start, marker: str) -> None:
    """The figure of `status` comes from the processes themselves."""
    start()
    assert process.resident_mib([]) == 0
    assert 1 < process.resident_mib(process.marked(marker)) < 200
