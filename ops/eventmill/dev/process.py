"""Processes of the local stack: started detached, recognised again by a later command, ended for good.

A process is ours if its command line carries the stack's marker (a random text made for one folder). The recorded id
and start time only save looking at every process: neither a reused id nor a program of the same name can be mistaken,
and a process whose id was never written down, because its starter was killed, is still found.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # psutil ships no types

from eventmill.dev.part import Command
from eventmill.dev.state import ProcessRecord
from eventmill_schemas.errors import StackFailed

# The kernel counts start times in clock ticks since boot; the boot time that psutil adds may move by a second.
_START_TOLERANCE = 2.0

# Started by this process: asked after now and then, so that a part that dies is reaped instead of staying as a zombie.
_children: set[int] = set()


def spawn(command: Command, *, log: Path) -> ProcessRecord:
    """Start a server in a session of its own and return who it is.

    It writes to `log` (the log of the start before is kept as `.1`), reads nothing, and inherits no file descriptor: a
    lock held through one would be held for ever. A signal to our process group, Ctrl-C for one, does not reach it.
    """
    if log.exists():
        log.replace(log.with_name(log.name + ".1"))
    with log.open("wb") as out:
        child = subprocess.Popen(  # noqa: S603  # the parts' own command lines
            command.argv,
            cwd=command.folder,
            env=dict(command.environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **({} if command.account is None else command.account.as_child()),
        )
    # It outlives us and this object: not a child to be waited for, only one to be reaped if it ends before we do.
    child.returncode = 0
    _children.add(child.pid)
    try:
        started = psutil.Process(child.pid).create_time()
    except psutil.NoSuchProcess:
        started = time.time()
    return ProcessRecord(pid=child.pid, started=started)


def run(command: Command, *, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return its exit code and what it wrote. Raises subprocess.TimeoutExpired."""
    return subprocess.run(  # noqa: S603  # the parts' own command lines
        command.argv,
        cwd=command.folder,
        env=dict(command.environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        timeout=timeout,
        **({} if command.account is None else command.account.as_child()),
    )


def run_attached(command: Command) -> int:
    """Run a program on our own terminal, input and output and return its exit code."""
    return subprocess.run(  # noqa: S603  # the parts' own command lines
        command.argv, cwd=command.folder, env=dict(command.environment), check=False
    ).returncode


def find(marker: str, record: ProcessRecord | None) -> psutil.Process | None:
    """Return the living process that was started with this marker, None if there is none.

    A server's children may carry the marker too: the eldest process is the server.
    """
    if record is not None and (found := _living(record.pid)) is not None:
        recorded = abs(found.create_time() - record.started) <= _START_TOLERANCE
        if recorded and _carries(found, marker):
            return found
    family = marked(marker)
    ids = {process.pid for process in family}
    heads = [process for process in family if _parent_id(process) not in ids]
    return min(heads, key=_birth, default=None)


def marked(marker: str) -> list[psutil.Process]:
    """Return every living process whose command line carries the marker."""
    _reap()
    return [process for process in psutil.process_iter() if _carries(process, marker)]


def is_living(record: ProcessRecord) -> bool:
    """Whether the recorded process still runs (a zombie does not)."""
    found = _living(record.pid)
    return found is not None and abs(_birth(found) - record.started) <= _START_TOLERANCE


def is_alive(pid: int) -> bool:
    """Whether any process with this id runs. A zombie does not, although signals to it succeed."""
    return _living(pid) is not None


def end(marker: str, record: ProcessRecord | None, *, ask: signal.Signals, patience: float) -> bool:
    """End the process and all that carries its marker; return, when all are gone, whether there were any.

    Asks with the signal `ask`, waits `patience` seconds, then kills. SIGKILL as `ask` kills at once.
    Raises StackFailed if something outlives even that.
    """
    head = find(marker, record)
    if head is not None:
        with suppress(psutil.NoSuchProcess):
            head.send_signal(ask)
        wait_until(lambda: _gone(head), patience)
    rest = marked(marker)
    for process in rest:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    if not wait_until(lambda: not marked(marker), 10):
        ids = ", ".join(str(process.pid) for process in marked(marker))
        raise StackFailed(f"Process {ids} ({marker}) does not end, not even when killed")
    return head is not None or bool(rest)


def wait_until(condition: Callable[[], bool], patience: float) -> bool:
    """Ask until the condition holds or `patience` seconds are over; return whether it holds."""
    deadline = time.monotonic() + patience
    pause = 0.01
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, 0.2)
    return True


def resident_mib(processes: Iterable[psutil.Process]) -> float:
    """Return the memory of these processes in MiB, pages that they share counted once (PSS), where the system tells."""
    total = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            memory = process.memory_full_info()
            total += getattr(memory, "pss", memory.rss)
    return total / 2**20


def _living(pid: int) -> psutil.Process | None:
    _reap()
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    except psutil.NoSuchProcess:
        return None


def _carries(process: psutil.Process, marker: str) -> bool:
    # The three forms in which it appears: of a JVM, of Postgres, and of Postgres' children.
    exact, title = (f"-Deventmill.part={marker}", f"cluster_name={marker}"), f"postgres: {marker}: "
    try:
        return any(argument in exact or argument.startswith(title) for argument in process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return False


def _gone(process: psutil.Process) -> bool:
    return bool(_living(process.pid) != process)


def _parent_id(process: psutil.Process) -> int | None:
    try:
        return int(process.ppid())
    except psutil.NoSuchProcess:
        return None


def _birth(process: psutil.Process) -> float:
    try:
        return float(process.create_time())
    except psutil.NoSuchProcess:
        return float("inf")


def _reap() -> None:
    for pid in list(_children):
        try:
            ended, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            ended = pid
        if ended:
            _children.discard(pid)
