"""Columns of a file and fields of an event: which fills which, and what is told where they don't fit."""

from typing import Any

import pytest

from eventmill.produce.columns import Columns, parse_mapping
from eventmill_schemas.avro_scalars import Misfit
from eventmill_schemas.errors import UsageError

FIELDS = ("id", "text", "label")


@pytest.mark.parametrize("option", ["text", "=query", "text=", "", "="])
def test_a_mapping_is_field_equals_column(option: str) -> None:
    """Anything else is told with an example."""
    with pytest.raises(UsageError, match="FIELD=COLUMN") as caught:
        parse_mapping([option])
    assert "#line" in str(caught.value)


def test_a_mapping_may_take_any_column_once_per_field() -> None:
    """Columns may hold = and #, one may fill two fields, a field has one column."""
    assert parse_mapping(["text=a=b", "id=#1", "label=a=b"]) == {"text": "a=b", "id": "#1", "label": "a=b"}
    with pytest.raises(UsageError, match="'text' twice"):
        parse_mapping(["text=a", "text=b"])


@pytest.mark.parametrize(
    ("header", "mapping", "told"),
    [
        (["id", "text", "mood"], {}, "no field for the column 'mood'"),
        (["id", "text", "category", "a", "b"], {}, "no field for the columns 'category', 'a', 'b'"),
        (["id", "text"], {"label": "category"}, "no column 'category' for the field 'label'"),
        (["id", "text"], {"lable": "text"}, "no field 'lable'"),
        (["text", "label"], {}, "no column for the field 'id', which every event must have"),
        (["id", "text", "text"], {}, "'text' is there 2 times"),
        (["id", "text", "query"], {"text": "query"}, "no field for the column 'text'"),
    ],
)
def test_a_header_that_does_not_fit_is_told_before_the_first_row(
    header: list[str], mapping: dict[str, str], told: str
) -> None:
    """A column left over may be a misspelt field: it is an error unless the user says otherwise."""
    with pytest.raises(UsageError, match=told) as caught:
        Columns(mapping, FIELDS).check(header, ["id", "text"])
    assert caught.value.remedy or "times" in told


@pytest.mark.parametrize(
    ("header", "mapping", "drop"),
    [
        (["id", "text", "label"], {}, False),
        (["query"], {"text": "query", "id": "#line"}, False),
        (["query"], {"text": "query", "id": "query"}, False),
        (["id", "text", "mood", "mood", ""], {}, True),
        (["id", "text", "query"], {"text": "query"}, True),
    ],
)
def test_a_header_that_fits_is_silent(header: list[str], mapping: dict[str, str], drop: bool) -> None:
    """One column may fill several fields, none is needed for #line, and dropped ones may even repeat."""
    Columns(mapping, FIELDS, drop).check(header, ["id", "text"])


@pytest.mark.parametrize(
    ("mapping", "values", "expected"),
    [
        ({}, {"id": 1, "text": "a"}, {"id": 1, "text": "a"}),
        ({"text": "q", "id": "#line"}, {"q": "a"}, {"text": "a", "id": "17"}),
        ({"text": "id", "id": "text"}, {"id": 1, "text": 2}, {"text": 1, "id": 2}),
        ({"text": "q", "label": "q"}, {"q": "a", "id": 1}, {"id": 1, "text": "a", "label": "a"}),
        ({"text": "q"}, {"id": 1}, {"id": 1}),
    ],
)
def test_values_go_to_their_fields(mapping: dict[str, str], values: dict[str, Any], expected: dict[str, Any]) -> None:
    """Also where two change places; a column that this row does not have leaves its field out."""
    assert Columns(mapping, FIELDS).arrange(values, 17) == expected


@pytest.mark.parametrize(
    ("mapping", "values", "field"),
    [({}, {"id": 1, "mood": 2}, ".mood"), ({"text": "q"}, {"q": 1, "text": 2}, ".text")],
)
def test_a_value_without_a_place_is_told_or_dropped(
    mapping: dict[str, str], values: dict[str, Any], field: str
) -> None:
    """Rows of JSON are checked one by one: each may have other names."""
    with pytest.raises(Misfit) as caught:
        Columns(mapping, FIELDS).arrange(dict(values), 1)
    assert caught.value.path == [field]
    kept = Columns(mapping, FIELDS, drop_unknown=True).arrange(dict(values), 1)
    assert kept in ({"id": 1}, {"text": 1})


def test_without_a_schema_every_column_is_a_field() -> None:
    """JSON values may hold anything."""
    columns = Columns({"text": "q"}, None)
    columns.check(["q", "mood"], [])
    assert columns.arrange({"q": 1, "mood": 2}, 1) == {"text": 1, "mood": 2}
