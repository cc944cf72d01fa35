"""What is printed: aligned for people, exact for programs."""

import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill.cli.output import is_coloured, show_json, show_table


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@dataclass(frozen=True)
class Row:
    """Something with money, time and a path in it."""

    cost: Decimal
    at: datetime
    file: Path


def test_json_keeps_money_exact(capsys: pytest.CaptureFixture[str]) -> None:
    """A Decimal is text, never a float that rounds it; the whole document is on one line where nobody looks."""
    show_json([Row(Decimal("0.000000012345678901"), datetime(2026, 1, 2, tzinfo=UTC), Path("a/b"))])
    text = capsys.readouterr().out
    assert text.count("\n") == 1
    assert json.loads(text) == [{"cost": "0.000000012345678901", "at": "2026-01-02T00:00:00+00:00", "file": "a/b"}]


def test_json_refuses_what_it_cannot_say(capsys: pytest.CaptureFixture[str]) -> None:
    """Rather than print the repr of an object."""
    with pytest.raises(TypeError):
        show_json({"x": object()})
    assert capsys.readouterr().out == ""


def test_a_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    """Text to the left, numbers to the right, nothing as a dash, no blanks at the end of a line."""
    show_table(("part", "port", "note"), [("kafka", 9092, None), ("registry", 81, "slow")])
    assert capsys.readouterr().out == "PART      PORT  NOTE\nkafka     9092  -\nregistry    81  slow\n"


def test_a_table_without_rows_has_its_heads(capsys: pytest.CaptureFixture[str]) -> None:
    """A script that skips the first line finds nothing after it."""
    show_table(("part", "port"), [])
    assert capsys.readouterr().out == "PART  PORT\n"


@given(st.lists(st.tuples(st.from_regex(r"[a-z]{1,30}", fullmatch=True), st.integers()), max_size=5))
def test_no_cell_is_cut(rows: list[tuple[str, int]]) -> None:
    """Whatever its width: output may go to a file or to grep."""
    with pytest.MonkeyPatch.context() as patch:
        out = io.StringIO()
        patch.setattr("sys.stdout", out)
        show_table(("name", "count"), rows)
    assert [tuple(line.split()) for line in out.getvalue().splitlines()[1:]] == [(n, str(c)) for n, c in rows]


@pytest.mark.parametrize(
    ("stream", "variables", "coloured"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_colours_are_for_terminals_that_want_them(
    stream: io.StringIO, variables: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NO_COLOR counts when it is not empty, as its convention says."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_coloured(stream) is coloured
