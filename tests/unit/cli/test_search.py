"""How found passages are shown."""

import pytest

from eventmill.cli.search import show_passages
from eventmill_schemas.events import Source
from eventmill_schemas.local_models import Passage

TEXT = "Parcels leave our house\n\n   on the day of the order and take two days."
PASSAGES = [
    Passage("m1#0", TEXT, 0.87654, "m1", Source("mails", 3, 1200)),
    Passage("a-longer-id#2", "short", -0.1, "a-longer-id", Source("mails", 0, 7)),
]


def test_piped_a_passage_is_one_line_with_all_of_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Line breaks in a text break no line of the table."""
    show_passages(PASSAGES, None)
    assert capsys.readouterr().out.splitlines() == [
        "SIMILARITY  EVENT        SOURCE        TEXT",
        "      0.88  m1           mails/3@1200  Parcels leave our house on the day of the order and take two days.",
        "     -0.10  a-longer-id  mails/0@7     short",
    ]


@pytest.mark.parametrize("columns", [60, 80, 104, 105, 106])
def test_on_a_terminal_no_line_is_longer_than_it(capsys: pytest.CaptureFixture[str], columns: int) -> None:
    """What is cut ends in an ellipsis at the edge; what fits is not cut."""
    show_passages(PASSAGES, columns)
    _, first, second = capsys.readouterr().out.splitlines()
    assert len(first) == min(columns, 105)
    assert first.endswith("…") == (columns < 105)
    assert second.endswith("short")


def test_a_narrow_terminal_still_shows_some_text(capsys: pytest.CaptureFixture[str]) -> None:
    """At least 20 characters of each text, even where lines wrap then."""
    show_passages(PASSAGES, 10)
    assert capsys.readouterr().out.splitlines()[1].endswith("  Parcels leave our h…")
