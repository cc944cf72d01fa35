"""What a model is asked for, and what its answer becomes."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import jsonschema_rs
import pytest

from eventmill_schemas.codec import AvroReader, AvroWriter, frame
from eventmill_schemas.errors import InvalidReply, PipelineFileError
from eventmill_schemas.json_answer import from_json
from eventmill_schemas.json_schema import json_schema
from eventmill_schemas.result_schema import schema_text


def record(**fields: Any) -> dict[str, Any]:
    """Make a record schema with these fields."""
    return {"type": "record", "name": "R", "fields": [{"name": name, "type": avro} for name, avro in fields.items()]}


ENUM = {"type": "enum", "name": "Kind", "symbols": ["A", "B"], "doc": "The kind."}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}
TIMESTAMP = {"type": "long", "logicalType": "timestamp-millis"}
DATE = {"type": "int", "logicalType": "date"}
INNER = {"type": "record", "name": "In", "doc": "A part.", "fields": [{"name": "n", "type": "int", "doc": "How many."}]}

# Avro type, JSON Schema, an answer that follows it, and the value that is stored.
CASES: list[tuple[Any, dict[str, Any], Any, Any]] = [
    ("string", {"type": "string"}, "x", "x"),
    ("boolean", {"type": "boolean"}, True, True),
    ("int", {"type": "integer"}, 3, 3),
    ("long", {"type": "integer"}, 3.0, 3),
    ("double", {"type": "number"}, 3, 3.0),
    ("null", {"type": "null"}, None, None),
    (["null", "string"], {"type": ["string", "null"]}, None, None),
    (ENUM, {"type": "string", "enum": ["A", "B"], "description": "The kind."}, "A", "A"),
    (["null", ENUM], {"type": ["string", "null"], "enum": ["A", "B", None], "description": "The kind."}, None, None),
    ({"type": "array", "items": ["null", "int"]}, {"type": "array", "items": {"type": ["integer", "null"]}}, [1], [1]),
    (
        INNER,
        {
            "type": "object",
            "properties": {"n": {"type": "integer", "description": "How many."}},
            "required": ["n"],
            "additionalProperties": False,
            "description": "A part.",
        },
        {"n": 1},
        {"n": 1},
    ),
    (["null", "string", "long"], {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]}, 5, 5),
    (
        DATE,
        {"type": "string", "format": "date", "description": "A date as YYYY-MM-DD."},
        "2026-11-21",
        date(2026, 11, 21),
    ),
    (
        TIMESTAMP,
        {"type": "string", "format": "date-time", "description": "A time as YYYY-MM-DDTHH:MM:SSZ, with its zone."},
        "2026-11-21T12:00:00+02:00",
        datetime(2026, 11, 21, 10, tzinfo=UTC),
    ),
    (
        {"type": "int", "logicalType": "time-millis"},
        {"type": "string", "format": "time", "description": "A time of day as HH:MM:SS."},
        "23:59:01",
        time(23, 59, 1),
    ),
    (
        {"type": "string", "logicalType": "uuid"},
        {"type": "string", "format": "uuid", "description": "A UUID."},
        "00000000-0000-0000-0000-000000000005",
        "00000000-0000-0000-0000-000000000005",
    ),
    (
        DECIMAL,
        {"type": "string", "description": "A number as text, at most 4 digits before and 2 after the decimal point."},
        "12.5",
        Decimal("12.50"),
    ),
]


@pytest.mark.parametrize(("avro", "schema", "answer", "stored"), CASES)
def test_every_type_is_asked_for_answered_and_stored(avro: Any, schema: Any, answer: Any, stored: Any) -> None:
    """The schema is exactly this, accepts the answer, and the answer's value is one that can be encoded."""
    asked = json_schema(record(a=avro), ["a"])
    assert asked == {"type": "object", "properties": {"a": schema}, "required": ["a"], "additionalProperties": False}
    jsonschema_rs.Draft202012Validator(asked).validate({"a": answer})
    value = from_json(record(a=avro), "a", answer)
    assert value == stored
    assert type(value) is type(stored)
    AvroWriter(schema_text(record(a=avro)), 1).encode({"a": value})


def test_docs_become_descriptions_once_and_on_one_line() -> None:
    """The field's doc comes first, then the type's, then the form that the text must have."""
    avro = record(a=dict(ENUM))
    avro["fields"][0]["doc"] = "What\n  it is."
    avro["fields"].append({"name": "d", "type": ["null", DATE], "doc": "When."})
    properties = json_schema(avro, ["a", "d"])["properties"]
    assert properties["a"]["description"] == "What it is. The kind."
    assert properties["d"] == {
        "type": ["string", "null"],
        "format": "date",
        "description": "When. A date as YYYY-MM-DD.",
    }


def test_named_types_are_written_out_and_fields_keep_their_order() -> None:
    """A type that is used twice has no reference, and only the fields that are asked for are there."""
    rows = {"type": "array", "items": INNER}
    avro = record(one=dict(ENUM), rows=rows, two="Kind", three=["null", "In"], other="bytes")
    asked = json_schema(avro, ["three", "two", "one"])
    assert list(asked["properties"]) == asked["required"] == ["one", "two", "three"]
    assert asked["properties"]["two"]["enum"] == ["A", "B"]
    assert asked["properties"]["three"]["properties"]["n"]["type"] == "integer"
    assert asked["properties"]["three"]["type"] == ["object", "null"]
    assert from_json(avro, "three", {"n": 2}) == {"n": 2}
    assert from_json(avro, "two", "B") == "B"
    assert "$ref" not in str(asked)


@pytest.mark.parametrize(
    ("avro", "fields", "message"),
    [
        (record(a="bytes"), ["a"], "'a': a model can't answer with bytes"),
        (record(a=["null", "bytes"]), ["a"], "'a': a model can't answer with bytes"),
        (record(a={"type": "fixed", "name": "F", "size": 2}), ["a"], "'a': a model can't answer with bytes"),
        (record(a={"type": "array", "items": {"type": "map", "values": "int"}}), ["a"], "with a map: use a list"),
        (record(a=["null", "R"]), ["a"], "'R' contains itself"),
        (record(a="int"), ["b"], "no field 'b'"),
        (record(a="int"), [], "no field left for a model"),
    ],
)
def test_what_a_model_can_not_answer_is_a_mistake_in_the_file(avro: Any, fields: list[str], message: str) -> None:
    """The pipeline is refused before any call is made, naming file and field."""
    with pytest.raises(PipelineFileError, match=message) as raised:
        json_schema(avro, fields, "schemas/t.avsc")
    assert raised.value.file == "schemas/t.avsc"


@pytest.mark.parametrize(
    ("avro", "answer"),
    [
        ("int", 1 << 31),
        ("long", -(1 << 63) - 1),
        ("long", True),
        ("long", 1.5),
        pytest.param("long", 10**5000, id="long-of-5001-digits"),
        pytest.param("double", 10**400, id="double-of-401-digits"),
        (DATE, "2026-13-45"),
        (DATE, 5),
        (TIMESTAMP, "tomorrow"),
        (TIMESTAMP, "0001-01-01T00:00:00+14:00"),
        ({"type": "string", "logicalType": "uuid"}, "x"),
        (DECIMAL, "12345"),
        (DECIMAL, "0.001"),
        (DECIMAL, "NaN"),
        (DECIMAL, "1e999999999"),
        (DECIMAL, "about 5"),
        (DECIMAL, True),
        (ENUM, "C"),
        ({"type": "array", "items": DATE}, ["2026-01-01", "x"]),
        (INNER, {"n": "x"}),
        (["null", "string", "long"], 1.5),
        ("string", None),
    ],
)
def test_answers_without_a_value_are_invalid_replies(avro: Any, answer: Any) -> None:
    """What JSON Schema lets through and Avro can't hold is the reply's fault, and the field is named."""
    with pytest.raises(InvalidReply, match="'a' holds"):
        from_json(record(a=avro), "a", answer)


def test_a_time_without_zone_is_read_as_utc() -> None:
    """Models leave the zone out: the instant is the one in UTC."""
    assert from_json(record(a=TIMESTAMP), "a", "2026-11-21T10:00:00") == datetime(2026, 11, 21, 10, tzinfo=UTC)


def test_an_answer_survives_the_whole_way() -> None:
    """What a model said is what a consumer reads."""
    avro = record(d=DECIMAL, t=TIMESTAMP, e=dict(ENUM), rows={"type": "array", "items": INNER})
    answer = {"d": "-0.05", "t": "2026-11-21T10:00:00.123Z", "e": "B", "rows": [{"n": 1}, {"n": 2}]}
    fields = {name: from_json(avro, name, value) for name, value in answer.items()}
    text = schema_text(avro)
    assert AvroReader(text).decode(frame(AvroWriter(text, 1).encode(fields))[1]) == {
        "d": Decimal("-0.05"),
        "t": datetime(2026, 11, 21, 10, 0, 0, 123000, tzinfo=UTC),
        "e": "B",
        "rows": [{"n": 1}, {"n": 2}],
    }
