"""From JSON and CSV to Avro: what `tail` shows can be produced again, and nothing is guessed."""

import json
import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given

from avro_strategies import Typed, leaves, records
from eventmill.produce.convert import Conversion
from eventmill.reading.show import json_text
from eventmill_schemas.avro_scalars import Misfit
from eventmill_schemas.codec import AvroReader, AvroWriter, frame
from eventmill_schemas.errors import UnstorableResult


def schema(**fields: Any) -> dict[str, Any]:
    """Make a record schema; a field given as (type, default) has a default."""
    made = []
    for name, avro in fields.items():
        made.append(
            {"name": name, "type": avro[0], "default": avro[1]}
            if isinstance(avro, tuple)
            else {"name": name, "type": avro}
        )
    return {"type": "record", "name": "R", "fields": made}


def through(avro: dict[str, Any], values: dict[str, Any], *, text: bool) -> dict[str, Any]:
    """Convert, encode and decode again."""
    text_schema = json.dumps(avro)
    fields = Conversion(avro, None if text else ()).convert(values)
    _, payload = frame(AvroWriter(text_schema, 1).encode(fields))
    return AvroReader(text_schema).decode(payload)


def has_no_json(value: Any) -> bool:
    """Whether a value has a number that JSON can't write."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(has_no_json(inner) for inner in value.values())
    return isinstance(value, list) and any(has_no_json(inner) for inner in value)


@given(records())
def test_what_is_shown_as_json_can_be_produced_again(typed: Typed) -> None:
    """For any schema and value: the JSON that `tail --json` prints gives the same Avro value."""
    if has_no_json(typed.value):
        return
    values = json.loads(json_text(typed.value))
    assert through(typed.avro, values, text=False) == typed.value


@given(leaves("Leaf"))
def test_text_of_every_type_is_read_from_csv(typed: Typed) -> None:
    """For any scalar type: the text that stands for a value gives the value."""
    if has_no_json(typed.value):
        return
    shown = json.loads(json_text([typed.value]))[0]
    cell = "" if shown is None else shown if isinstance(shown, str) else json_text(shown)
    assert through(schema(f=typed.avro), {"f": cell}, text=True) == {"f": typed.value}


@given(records())
def test_lists_maps_and_records_are_json_in_csv(typed: Typed) -> None:
    """A cell holds the whole structure."""
    if has_no_json(typed.value):
        return
    assert through(schema(f=typed.avro), {"f": json_text(typed.value)}, text=True) == {"f": typed.value}


MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
LOCAL = {"type": "long", "logicalType": "local-timestamp-millis"}
TIME = {"type": "int", "logicalType": "time-millis"}
MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}
COLOUR = {"type": "enum", "name": "Colour", "symbols": ["RED", "GREEN"]}


@pytest.mark.parametrize(
    ("avro", "cell", "value"),
    [
        ("int", " 12 ", 12),
        ("long", "-9223372036854775808", -(1 << 63)),
        ("long", "12.0", 12),
        ("double", "1e3", 1000.0),
        ("double", ".5", 0.5),
        ("boolean", "TRUE", True),
        ("boolean", "no", False),
        ("boolean", "1", True),
        (MILLIS, "2026-09-14T06:12:40+02:00", datetime(2026, 9, 14, 4, 12, 40, tzinfo=UTC)),
        (MILLIS, "2026-09-14 06:12:40Z", datetime(2026, 9, 14, 6, 12, 40, tzinfo=UTC)),
        (MILLIS, "1757830360000", datetime(2025, 9, 14, 6, 12, 40, tzinfo=UTC)),
        (LOCAL, "2026-09-14T06:12:40", datetime(2026, 9, 14, 6, 12, 40)),  # noqa: DTZ001 - local is what the type says
        ({"type": "int", "logicalType": "date"}, "2026-09-14", date(2026, 9, 14)),
        (TIME, "06:12", time(6, 12)),
        (MONEY, "1234.5", Decimal("1234.50")),
        (COLOUR, "RED", "RED"),
        (["null", "int"], "", None),
        (["null", "string"], "", None),
        ("string", "", ""),
        (["null", "int", "string"], "12", 12),
        (["null", "int", "string"], "12a", "12a"),
        ({"type": "array", "items": "int"}, "[1, 2]", [1, 2]),
        ("null", "", None),
    ],
)
def test_csv_text_means_what_the_schema_says(avro: Any, cell: str, value: Any) -> None:
    """As spreadsheets and databases write it."""
    assert through(schema(f=avro), {"f": cell}, text=True) == {"f": value}


@pytest.mark.parametrize(
    ("avro", "cell", "told"),
    [
        ("int", "", "holds '', not an integer"),
        ("int", "1_000", "not an integer"),
        ("int", "1,000", "not an integer"),
        ("int", "\u0661\u0662", "not an integer"),
        ("int", "12.5", "not an integer"),
        ("int", "9" * 5_000, "not an integer"),
        ("double", "NaN", "not a number"),
        ("double", "1e999", "more than a 64-bit float can hold"),
        ("double", "0x10", "not a number"),
        ("boolean", "maybe", "not true or false"),
        (MILLIS, "2026-09-14T06:12:40", "without its offset from UTC"),
        (MILLIS, "14.09.2026", "not a time such as"),
        (MILLIS, "2026-02-30T00:00:00Z", "not a time such as"),
        (LOCAL, "2026-09-14T06:12:40Z", "a time with an offset"),
        ({"type": "int", "logicalType": "date"}, "2026-02-30", "not a date such as"),
        (TIME, "06:12Z", "a time of day with an offset"),
        (MONEY, "1e9999999999999999999", "not a number"),
        (MONEY, "twelve", "not a number"),
        ("bytes", "not base64!", "not bytes in base64"),
        ({"type": "array", "items": "int"}, "[1", "not a list in JSON"),
        ({"type": "array", "items": "int"}, "{}", "not a list in JSON"),
        ({"type": "map", "values": "int"}, "[NaN]", "not a map in JSON"),
        ("null", "x", "not null"),
    ],
)
def test_csv_text_that_means_nothing_is_told(avro: Any, cell: str, told: str) -> None:
    """With the field's name and the text, never guessed."""
    with pytest.raises(Misfit, match=told) as caught:
        Conversion(schema(f=avro), None).convert({"f": cell})
    assert caught.value.path == [".f"]


@pytest.mark.parametrize(
    ("avro", "value"),
    [("int", "12"), ("string", 12), ("boolean", "true"), ("long", 1.5), (COLOUR, "red"), ("int", None)],
)
def test_json_types_are_not_bent(avro: Any, value: Any) -> None:
    """JSON has numbers and truth values of its own: text does not stand for them."""
    with pytest.raises(UnstorableResult, match="'f'"):
        through(schema(f=avro), {"f": value}, text=False)


def test_json_numbers_stand_for_decimals_as_far_as_they_are_exact() -> None:
    """A float keeps fifteen digits: more must be written as text."""
    assert through(schema(f=MONEY), {"f": 12.34}, text=False) == {"f": Decimal("12.34")}
    assert through(schema(f=MONEY), {"f": "12.34"}, text=False) == {"f": Decimal("12.34")}
    with pytest.raises(Misfit, match="write it as text"):
        Conversion(schema(f=MONEY), ()).convert({"f": 1234.5678901234567})


def test_json_times_keep_their_moment() -> None:
    """Whatever offset they are written in; a whole number is the count on the wire."""
    moment = datetime(2026, 9, 14, 6, 12, 40, 123000, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert through(schema(f=MILLIS), {"f": moment.isoformat()}, text=False) == {"f": moment}
    assert through(schema(f=MILLIS), {"f": 1000}, text=False) == {"f": datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)}


def test_a_union_takes_the_first_branch_that_fits() -> None:
    """Text stays text where the union has text before what text could stand for."""
    avro = schema(f=["null", "string", MILLIS])
    text = "2026-09-14T06:12:40Z"
    assert through(avro, {"f": text}, text=False) == {"f": text}
    moment = datetime(2026, 9, 14, 6, 12, 40, tzinfo=UTC)
    for other in (["null", "int", MILLIS], [COLOUR, MILLIS], ["boolean", MILLIS, "string"]):
        assert through(schema(f=other), {"f": text}, text=False) == {"f": moment}
    assert through(schema(f=["boolean", MILLIS, "string"]), {"f": "soon"}, text=False) == {"f": "soon"}


def test_what_is_missing_is_null_or_the_default() -> None:
    """As readers expect it; where neither is possible, encoding says so."""
    avro = schema(a=["null", "string"], b=("int", 7), c=(["null", "int"], None))
    assert through(avro, {}, text=False) == {"a": None, "b": 7, "c": None}
    assert through(avro, {"a": "", "b": "", "c": ""}, text=True) == {"a": None, "b": 7, "c": None}
    assert Conversion(schema(a="string", b=("int", 7), c=["null", "int"]), None).required == ("a",)
    with pytest.raises(UnstorableResult, match="'a' has no value"):
        through(schema(a="string"), {}, text=False)


def test_an_enum_with_a_default_may_be_empty_in_csv_and_a_text_stays_empty() -> None:
    """An empty text is a value of its own."""
    avro = schema(a=(COLOUR, "RED"), b=("string", "given"))
    assert through(avro, {"a": "", "b": ""}, text=True) == {"a": "RED", "b": ""}


def test_nested_values_are_named_by_their_path() -> None:
    """Down to the item."""
    inner = {"type": "record", "name": "Inner", "fields": [{"name": "at", "type": MILLIS}]}
    avro = schema(list={"type": "array", "items": inner}, map={"type": "map", "values": MILLIS})
    conversion = Conversion(avro, ())
    for values, path in (
        ({"list": [{"at": "soon"}]}, ".list[].at"),
        ({"list": [{"when": 1}]}, ".list[].when"),
        ({"map": {"k": "soon"}}, ".map{}"),
    ):
        with pytest.raises(Misfit) as caught:
            conversion.convert(values)
        assert "".join(reversed(caught.value.path)) == path


def test_a_type_that_contains_itself_is_converted_at_every_depth() -> None:
    """A tree of times."""
    node = {
        "type": "record",
        "name": "Node",
        "fields": [{"name": "at", "type": MILLIS}, {"name": "next", "type": ["null", "Node"]}],
    }
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    deep: Any = None
    expected: Any = None
    for _ in range(5):
        deep = {"at": moment.isoformat(), **({} if deep is None else {"next": deep})}
        expected = {"at": moment, "next": expected}
    assert through(schema(root=node), {"root": deep}, text=False) == {"root": expected}


def test_the_number_of_the_line_is_text_also_among_json() -> None:
    """It fills a text or a number, as the schema says."""
    for avro, value in (("string", "17"), ("long", 17)):
        fields = Conversion(schema(id=avro, n="int"), ["id"]).convert({"id": "17", "n": 1})
        assert fields == {"id": value, "n": 1}
