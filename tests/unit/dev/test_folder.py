"""The files of a stack: never somebody else's, never half a database."""

import subprocess
from pathlib import Path
from threading import Thread

import pytest

from eventmill.dev.folder import StackFolder
from eventmill.dev.process import wait_until
from eventmill_schemas.errors import SetupError


@pytest.fixture
def folder(tmp_path: Path) -> StackFolder:
    """Give the folder of a stack that was never started."""
    return StackFolder(tmp_path / "stack")


def test_the_first_use_makes_it_and_keeps_a_state(folder: StackFolder) -> None:
    """Later uses find the same state."""
    assert folder.load() is None
    with folder.locked():
        first = folder.load()
    with folder.locked():
        assert folder.load() == first
    assert first is not None


def test_git_ignores_it(folder: StackFolder) -> None:
    """`git add .` in a project must not add a database and its password."""
    subprocess.run(["git", "init", "-q", folder.path.parent], check=True)
    with folder.locked():
        pass
    seen = subprocess.run(["git", "status", "--short"], cwd=folder.path.parent, capture_output=True, check=True)
    assert seen.stdout == b""


def test_a_folder_with_other_files_of_our_names_is_refused(tmp_path: Path) -> None:
    """`--folder .` in a project that has a folder `kafka` must not make it ours to wipe."""
    (tmp_path / "kafka").mkdir()
    with pytest.raises(SetupError, match=r"has kafka in it.*--folder"), StackFolder(tmp_path).locked():
        pass
    assert not (tmp_path / "state.json").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A message, not a stack trace."""
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match="file/stack can't be made"), StackFolder(tmp_path / "file" / "stack").locked():
        pass


def test_wiping_removes_the_data_and_nothing_else(folder: StackFolder) -> None:
    """Ports are kept, because addresses are written down elsewhere; the identity is not."""
    with folder.locked():
        state = folder.load()
        assert state is not None
        state.ports["kafka"] = 12345
        for name in ("kafka", "postgres"):
            (folder.path / name / "data").mkdir(parents=True)
        (folder.path / "notes.txt").write_text("mine")
        fresh = folder.wipe(state)
    assert not (folder.path / "kafka").exists()
    assert not (folder.path / "postgres").exists()
    assert (folder.path / "notes.txt").read_text() == "mine"
    assert fresh.ports == {"kafka": 12345}
    assert fresh.instance != state.instance
    assert folder.load() == fresh


@pytest.mark.parametrize(("lines", "expected"), [(0, []), (1, ["c"]), (2, ["b", "c"]), (9, ["a", "b", "c"])])
def test_the_tail_of_a_log(folder: StackFolder, lines: int, expected: list[str]) -> None:
    """As many lines as asked for, or all."""
    with folder.locked():
        folder.log("kafka").write_text("a\nb\nc\n")
    assert folder.tail("kafka", lines) == expected


def test_the_tail_of_no_log_is_empty(folder: StackFolder) -> None:
    """A part that was never started has said nothing."""
    assert folder.tail("kafka", 5) == []


def test_following_goes_on_in_the_log_that_takes_its_place(folder: StackFolder) -> None:
    """Who watches a part through its restart misses no line, and gets none twice or in parts."""
    with folder.locked():
        log = folder.log("kafka")
    log.write_text("old\n")
    got: list[str] = []

    def collect() -> None:
        for line in folder.follow("kafka"):
            got.append(line)
            if line == "after":
                return

    watcher = Thread(target=collect, daemon=True)
    watcher.start()
    with log.open("a", buffering=1) as out:
        # It has begun to watch when it sees one of these.
        while not wait_until(lambda: bool(got), 0.3):
            out.write("begin\n")
        out.write("one\ntw")
        out.write("o\n")
    log.replace(log.with_name("kafka.log.1"))
    log.write_text("after\n")
    watcher.join(10)
    assert [line for line in got if line != "begin"] == ["one", "two", "after"]
