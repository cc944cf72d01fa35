"""The page about records says what is declared, no more and no less."""

import re
from pathlib import Path

import pytest

from eventmill_schemas.records import declared_schema
from eventmill_schemas.result_schema import ENVELOPE

PAGE = (Path(__file__).parents[3] / "docs/reference/records.md").read_text("utf-8")


def listed(title: str) -> set[str]:
    """Return the names in the first column of the tables in a chapter."""
    chapter = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0].split("\n### ")[0]
    cells = [row.split("|")[1] for row in chapter.splitlines() if row.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


@pytest.mark.parametrize(("title", "schema"), [("Cost events", "cost_event"), ("Dead letters", "dead_letter")])
def test_every_declared_field_is_described(title: str, schema: str) -> None:
    """A field that is added, renamed or removed changes the page too."""
    assert listed(title) == {field["name"] for field in declared_schema(schema)["fields"]}


def test_the_whole_envelope_is_described() -> None:
    """What every result has besides the user's fields is listed."""
    assert listed("Results") == set(ENVELOPE)
