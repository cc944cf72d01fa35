"""Commands that start everything by themselves (demo, accept, bench), run in a folder of their own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from eventmill.dev.addresses import VARIABLES, Addresses


class DemoRun(NamedTuple):
    """What a demo counted, printed and, messages first, said."""

    figures: dict[str, Any]
    out: str
    said: str


class WholeRun:
    """One such command as a process, on servers that run already. `folder` becomes a clone of the repository."""

    def __init__(self, root: Path, folder: Path, addresses: Addresses, *arguments: str) -> None:
        """Start it."""
        for name in ("examples", "tests"):
            (folder / name).symlink_to(root / name)
        if arguments[0] == "demo":   # its model is built by the first of a test run, and found there by the others
            models = folder.parent / "demo-models"
            models.mkdir(exist_ok=True)
            (folder / ".eventmill" / "demo").mkdir(parents=True)
            (folder / ".eventmill" / "demo" / "models").symlink_to(models)
        servers = {variable: getattr(addresses, name) for name, variable in VARIABLES.items()}
        self.out, self.err = folder / "stdout.txt", folder / "stderr.txt"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "eventmill.cli", *arguments],
                cwd=folder,
                env={**os.environ, **servers},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    @property
    def said(self) -> str:
        """What it has written, messages first."""
        return self.err.read_text(errors="replace") + self.out.read_text(errors="replace")

    def code(self, seconds: float) -> int:
        """Wait for its end and return the exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds} s\n{self.said[-3000:]}") from None

    def started(self) -> dict[str, int]:
        """Return the ids of the workers and the stand-in that it has started: their command lines name their parent."""
        mark = ["--parent", str(self.process.pid)]
        found = {}
        for process in psutil.process_iter():
            try:
                line = process.cmdline()
            except psutil.Error:
                continue
            if any(line[place : place + 2] == mark for place in range(len(line))):
                found[f"{line[3]} {line[4]}"] = process.pid
        return found

    def until(self, text: str, seconds: float) -> None:
        """Wait until it has written `text`."""
        end = time.monotonic() + seconds
        while text not in self.said:
            assert self.process.poll() is None, self.said[-3000:]
            assert time.monotonic() < end, f"no {text!r} after {seconds} s\n{self.said[-3000:]}"
            time.sleep(0.1)

    def alone(self, seconds: float) -> float:
        """Wait until nothing that it started is left; return how long it took."""
        began = time.monotonic()
        while left := self.started():
            assert time.monotonic() - began < seconds, f"left behind after {seconds} s: {left}"
            time.sleep(0.2)
        return time.monotonic() - began


@contextmanager
def whole_run(root: Path, folder: Path, addresses: Addresses, *arguments: str) -> Iterator[WholeRun]:
    """Run a command for the block; whatever the block leaves running is ended."""
    run = WholeRun(root, folder, addresses, *arguments)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            run.process.send_signal(signal.SIGKILL)
        run.process.wait()
        for pid in run.started().values():
            os.kill(pid, signal.SIGKILL)
