"""The files of one local stack: state, lock, logs, and what the servers keep."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from eventmill.dev.lock import exclusive
from eventmill.dev.postgres import SHARED
from eventmill.dev.state import State, new_state, read_state, write_state
from eventmill_schemas.errors import SetupError

_FOLLOW_SECONDS = 0.2
_CONTENT = ("kafka", "postgres", "registry", "connect", "logs", "tmp")


@dataclass(frozen=True)
class StackFolder:
    """One stack's folder; `path` is absolute."""

    path: Path

    def temporary(self, program: str) -> Path:
        """Return where a program puts temporary files, so that one that is killed leaves none elsewhere."""
        return self.path / "tmp" / program

    def empty_temporary(self, program: str) -> None:
        """Make the program's folder for temporary files, without what an earlier run left in it."""
        shutil.rmtree(self.temporary(program), ignore_errors=True)
        self.temporary(program).mkdir(parents=True)

    def log(self, part: str) -> Path:
        """Return the file that a part's output goes to."""
        return self.path / "logs" / f"{part}.log"

    def tail(self, part: str, lines: int) -> list[str]:
        """Return the last lines of a part's log, [] if it has none."""
        try:
            text = self.log(part).read_text(errors="replace")
        except FileNotFoundError:
            return []
        return text.splitlines()[-lines:] if lines else []

    def follow(self, part: str) -> Iterator[str]:
        """Yield the lines that are added to a part's log, also to the one that takes its place. Never ends."""
        place, at_end = self.log(part), True
        while True:
            try:
                source = place.open(errors="replace")
            except FileNotFoundError:
                at_end = False
                time.sleep(_FOLLOW_SECONDS)
                continue
            with source:
                if at_end:
                    source.seek(0, os.SEEK_END)
                yield from _lines_until_replaced(source, place)
            at_end = False

    def load(self) -> State | None:
        """Return the kept state, None if no stack was ever started here."""
        return read_state(self.path / "state.json")

    def save(self, state: State) -> None:
        """Keep the state, in one step."""
        write_state(self.path / "state.json", state)

    @contextmanager
    def locked(self, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the stack's lock for the block, making the folder first if it is not there.

        Raises SetupError if the folder can't be made, or is somebody else's: wiping must never reach foreign files.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise SetupError(f"the folder {self.path} can't be made: {problem.strerror}") from problem
        with exclusive(self.path / "lock", waiting=waiting):
            if not (self.path / "state.json").exists():
                foreign = [name for name in _CONTENT if (self.path / name).exists()]
                if foreign:
                    raise SetupError(
                        f"{self.path} is not the folder of a stack, and has {', '.join(foreign)} in it",
                        remedy="Choose another one with --folder",
                    )
                # It is somebody's project folder that we are in: a password and databases are not for its repository.
                (self.path / ".gitignore").write_text("*\n")
                self.save(new_state())
            (self.path / "logs").mkdir(exist_ok=True)
            yield

    def wipe(self, state: State) -> State:
        """Remove all data and logs of a stack whose servers are ended; return its new state, with the same ports."""
        for name in _CONTENT:
            # Renamed first: an interrupted removal must not leave half a database that looks like one.
            gone = self.path / f"wiped-{name}"
            shutil.rmtree(gone, ignore_errors=True)
            if (self.path / name).exists():
                (self.path / name).rename(gone)
                shutil.rmtree(gone, ignore_errors=True)
        shutil.rmtree(SHARED / state.instance, ignore_errors=True)
        fresh = new_state()
        fresh.ports = state.ports
        self.save(fresh)
        (self.path / "logs").mkdir()
        return fresh


def _lines_until_replaced(source: IO[str], place: Path) -> Iterator[str]:
    pending = ""
    while True:
        # Asked before reading: what was written before the replacement is still read.
        replaced = not place.exists() or not os.path.samestat(os.fstat(source.fileno()), place.stat())
        while chunk := source.readline():
            pending += chunk
            if pending.endswith("\n"):
                yield pending[:-1]
                pending = ""
        if replaced:
            return
        time.sleep(_FOLLOW_SECONDS)
