"""The lock of a stack ends with its holder."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventmill.dev.lock import exclusive

HOLD = """
import sys, time
from pathlib import Path
from eventmill.dev.lock import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Give another process that holds the lock."""
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True)
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield other
        other.kill()


def test_a_lock_that_is_free_is_taken_at_once(tmp_path: Path) -> None:
    """And given back at the end of the block: it can be taken again."""
    waits: list[bool] = []
    for _ in range(2):
        with exclusive(tmp_path / "lock", waiting=lambda: waits.append(True)):
            pass
    assert not waits


def test_a_holder_that_is_killed_lets_go(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    """We wait while it lives, say so, and hold the lock when it is gone: there is no stale lock to remove by hand."""
    told: list[int | None] = []

    def waiting() -> None:
        told.append(holder.poll())
        holder.kill()

    with exclusive(tmp_path / "lock", waiting=waiting):
        assert told == [None]
