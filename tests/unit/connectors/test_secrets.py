"""Keys are found, rotated without a restart, and never shown."""

import logging
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from eventmill_connectors.secrets import LOOK_EVERY, KeySource, Secret
from eventmill_schemas.errors import UsageError

WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)


class Clock:
    """A clock that stands still until it is told to move on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def look(self) -> None:
        """Move to the time of the next look at a key file."""
        self.now += LOOK_EVERY


def source(environ: dict[str, str], clock: Clock | None = None) -> KeySource:
    """Make a source for the key of these tests."""
    return KeySource("SOME_API_KEY", environ, clock=clock or Clock())


def revealed(keys: KeySource) -> str:
    """Return the key in use."""
    key = keys.current()
    assert key is not None
    return key.reveal()


@given(WORDS)
def test_a_secret_is_never_shown(word: str) -> None:
    """No way of printing, formatting, logging or nesting a secret tells its value."""
    secret = Secret(word)
    logged = logging.LogRecord("x", 20, "", 1, "%s", (secret,), None).getMessage()
    assert {str(secret), repr(secret), f"{secret}", "{}".format(secret), logged} == {"***"}  # noqa: UP032 - one of the ways
    assert f"{[secret]}" == "[***]"
    assert secret.reveal() == word


@given(st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=4, max_size=20), st.integers(0, 3))
def test_a_secret_can_be_taken_out_of_a_text(word: str, times: int) -> None:
    """Every occurrence is replaced, and nothing else."""
    assert Secret(word).hide_in(f"<{word}>" * times + " REST") == "<***>" * times + " REST"


def test_a_secret_leaves_the_process_only_on_purpose() -> None:
    """It can't be pickled, and is equal to the same secret only."""
    with pytest.raises(TypeError):
        pickle.dumps(Secret("abc"))
    assert Secret("abc") == Secret("abc")
    assert Secret("abc") != Secret("abd")
    assert Secret("abc") != "abc"
    assert hash(Secret("abc")) == hash(Secret("abc"))


def test_no_key_is_none() -> None:
    """Whether a key is needed is not the source's question."""
    assert source({}).current() is None
    assert source({"SOME_API_KEY": " "}).current() is None
    assert not source({}).is_set


def test_the_environment_s_key_is_used() -> None:
    """Blanks and line ends around it, which copying leaves behind, don't belong to it."""
    assert revealed(source({"SOME_API_KEY": " sk-1\n"})) == "sk-1"


@pytest.mark.parametrize("value", ["two words", "ключ", "a\tb", "x" * 5000])
def test_a_value_that_is_no_key_is_refused_without_showing_it(value: str) -> None:
    """The message names the variable, not the value."""
    with pytest.raises(UsageError) as caught:
        source({"SOME_API_KEY": value}).current()
    assert "SOME_API_KEY" in str(caught.value)
    assert value not in str(caught.value)


def test_two_sources_of_one_key_are_refused(tmp_path: Path) -> None:
    """Which account pays must not be a guess."""
    file = tmp_path / "key"
    file.write_text("sk-file")
    with pytest.raises(UsageError, match="Both SOME_API_KEY and SOME_API_KEY_FILE"):
        source({"SOME_API_KEY": "sk-1", "SOME_API_KEY_FILE": str(file)}).current()


@pytest.mark.parametrize("content", [None, b"", b"\n", b"two words", b"\xff\xfe"])
def test_a_key_file_that_holds_no_key_stops_the_start(tmp_path: Path, content: bytes | None) -> None:
    """Missing, empty or not a key: the message names variable and file."""
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        source({"SOME_API_KEY_FILE": str(file)}).current()
    assert "SOME_API_KEY_FILE" in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_changed_file_is_used_once_it_rests(tmp_path: Path) -> None:
    """A new key is taken at the second look that sees the same file, and logged without being shown."""
    file, clock = tmp_path / "key", Clock()
    file.write_text("sk-old\n")
    keys = source({"SOME_API_KEY_FILE": str(file)}, clock)
    assert revealed(keys) == "sk-old"
    file.write_text("sk-brand-new\n")
    assert revealed(keys) == "sk-old"   # between two looks the file is not even asked for
    with capture_logs() as logs:
        clock.look()
        assert revealed(keys) == "sk-old"
        clock.look()
        assert revealed(keys) == "sk-brand-new"
    assert [entry["event"] for entry in logs] == ["key_rotated"]
    assert "sk-brand-new" not in str(logs)


def test_a_replaced_file_is_noticed_though_time_and_size_are_the_same(tmp_path: Path) -> None:
    """Secrets of a cluster are swapped by renaming: the inode tells."""
    file, fresh, clock = tmp_path / "key", tmp_path / "fresh", Clock()
    file.write_text("sk-1")
    fresh.write_text("sk-2")
    os.utime(fresh, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    keys = source({"SOME_API_KEY_FILE": str(file)}, clock)
    assert revealed(keys) == "sk-1"
    fresh.rename(file)
    clock.look()
    keys.current()
    clock.look()
    assert revealed(keys) == "sk-2"


def test_case_70_a_half_written_file_keeps_the_old_key(tmp_path: Path) -> None:
    """A file that still changes is not read; an empty, broken or missing one is read and refused, once per change."""
    file, clock = tmp_path / "key", Clock()
    file.write_text("sk-old")
    keys = source({"SOME_API_KEY_FILE": str(file)}, clock)
    keys.current()
    for half in ("sk-n", "sk-ne", "sk-new"):
        file.write_text(half)
        clock.look()
        assert revealed(keys) == "sk-old"
    clock.look()
    assert revealed(keys) == "sk-new"
    with capture_logs() as logs:
        for broken in ("", "sk with blanks"):
            file.write_text(broken)
            for _ in range(4):
                clock.look()
                assert revealed(keys) == "sk-new"
        file.unlink()
        for _ in range(4):
            clock.look()
            assert revealed(keys) == "sk-new"
    assert [entry["event"] for entry in logs] == ["key_file_unusable"] * 3
