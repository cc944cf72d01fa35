"""The result schema: what users may declare, and what is published."""

import json
from copy import deepcopy
from typing import Any

import fastavro
import pytest
from hypothesis import given

from avro_strategies import Typed, records
from eventmill_schemas.codec import AvroWriter
from eventmill_schemas.errors import PipelineFileError
from eventmill_schemas.result_schema import (
    ENVELOPE,
    answer_fields,
    computed_fields,
    published,
    schema_text,
    validate_user_schema,
)
from eventmill_schemas.warehouse import warehouse_warnings


def record(*fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Make a user's schema."""
    return {"type": "record", "name": "Triage", "namespace": "acme", **more, "fields": list(fields)}


TRIAGE = record(
    {"name": "subject", "type": "string", "from": "event.subject", "doc": "As sent."},
    {"name": "category", "type": {"type": "enum", "name": "Category", "symbols": ["BUG", "OTHER"]}},
    {"name": "reply", "type": ["null", "string"], "default": None, "doc": "A polite answer."},
    doc="How a mail is handled.",
)


def test_computed_and_answered_fields_are_told_apart() -> None:
    """`from` makes a field computed; all others are the steps'."""
    assert computed_fields(TRIAGE) == {"subject": "event.subject"}
    assert answer_fields(TRIAGE) == ("category", "reply")


def test_the_published_schema_has_the_envelope_and_no_expressions() -> None:
    """event_id comes first, the user's fields next with their docs, then the rest of the envelope; all documented."""
    schema = published(TRIAGE, "t.avsc")
    names = [field["name"] for field in schema["fields"]]
    assert names == ["event_id", "subject", "category", "reply", *(name for name in ENVELOPE if name != "event_id")]
    assert "from" not in schema_text(schema)
    assert [field["doc"] for field in schema["fields"] if field["name"] in {"subject", "reply"}] == [
        "As sent.",
        "A polite answer.",
    ]
    assert all(field.get("doc") for field in schema["fields"] if field["name"] in ENVELOPE)
    assert schema["doc"] == "How a mail is handled."
    fastavro.parse_schema(schema)


def test_the_envelope_has_the_types_that_sinks_can_store() -> None:
    """What eventmill adds is free of warnings, and has the declared types."""
    schema = published(record({"name": "a", "type": "string"}), "t.avsc")
    assert warehouse_warnings(schema) == []
    types = {field["name"]: field["type"] for field in schema["fields"]}
    assert types["source_offset"] == "long"
    assert types["processed_at"] == {"type": "long", "logicalType": "timestamp-millis"}
    assert types["cost"] == ["null", {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 12}]


@given(records())
def test_publishing_is_deterministic_and_keeps_the_users_types(typed: Typed) -> None:
    """The same file gives the same text, so registering it again is no new version; the input is not changed."""
    before = deepcopy(typed.avro)
    text = schema_text(published(typed.avro, "t.avsc"))
    assert text == schema_text(published(json.loads(json.dumps(typed.avro)), "other.avsc"))
    assert typed.avro == before
    kept = [field for field in json.loads(text)["fields"] if field["name"] not in ENVELOPE]
    assert kept == typed.avro["fields"]
    AvroWriter(text, 1)


def test_a_declared_envelope_field_keeps_its_place_and_words() -> None:
    """A user may show an envelope field where it reads best; it is neither computed nor asked of the model."""
    schema = record(
        {"name": "answer", "type": "string"},
        {"name": "event_id", "type": {"type": "string"}, "doc": "The ticket."},
        {"name": "cost", "type": ["null", dict(ENVELOPE["cost"]["type"][1], doc="money")]},
    )
    fields = published(schema, "t.avsc")["fields"]
    assert [field["name"] for field in fields[:3]] == ["answer", "event_id", "cost"]
    assert fields[1]["doc"] == "The ticket."
    assert sorted(field["name"] for field in fields) == sorted({*ENVELOPE, "answer"})
    assert answer_fields(schema) == ("answer",)


def nested(avro: Any, **more: Any) -> dict[str, Any]:
    """Put a type inside a record."""
    return {"type": "record", "name": "Inner", "fields": [{"name": "x", "type": avro, **more}]}


@pytest.mark.parametrize(
    ("avro", "message"),
    [
        ({"type": "enum", "name": "E", "symbols": ["A"]}, "must be an Avro record"),
        ([], "must be an Avro record"),
        ({"type": "record", "name": "R"}, "needs a name and fields"),
        ({"type": "record", "name": "R", "fields": []}, "needs a name and fields"),
        ({"type": "record", "fields": [{"name": "a", "type": "int"}]}, "needs a name and fields"),
        (record({"name": "a", "type": "strin"}), "unknown type"),
        (record({"name": "a"}), "'a' is missing 'type'"),
        (record({"name": "a", "type": "int", "default": "x"}), "Default value"),
        (record({"name": "a-b", "type": "int"}), "'a-b' is no field name"),
        (record({"name": "a", "type": "int"}, {"name": "a", "type": "int"}), "'a' is there twice"),
        (record({"name": "a", "type": "int", "from": ""}), "'a': `from` must be an expression"),
        (record({"name": "a", "type": "int", "from": 1}), "'a': `from` must be an expression"),
        (record({"name": "a", "type": nested("int", **{"from": "event.x"})}), "'a' has a `from` inside"),
        (record({"name": "a", "type": ["null", "Triage"]}), "'acme.Triage' contains itself|'Triage' contains itself"),
        (record({"name": "a", "type": nested({"type": "bytes", "logicalType": "decimal"})}), "a decimal needs a prec"),
        (record({"name": "cost", "type": "double"}), "'cost' is filled by eventmill and has the type"),
        (record({"name": "source_offset", "type": "int"}), "'source_offset' is filled by eventmill"),
        (record({"name": "tenant", "type": "string"}), "'tenant' is filled by eventmill"),
        (record({"name": "event_id", "type": "string", "from": "event.id"}), "'event_id' is filled by eventmill"),
    ],
)
def test_schemas_that_can_not_be_results_are_refused(avro: Any, message: str) -> None:
    """The message names the file and the field, when checking and when publishing."""
    for check in (validate_user_schema, published):
        with pytest.raises(PipelineFileError, match=message) as raised:
            check(avro, "schemas/t.avsc")
        assert raised.value.file == "schemas/t.avsc"


def test_the_line_of_the_mistake_is_found() -> None:
    """With the file's text, the error points at the field's declaration."""
    text = json.dumps(record({"name": "ok", "type": "int"}, {"name": "cost", "type": "double"}), indent=2)
    with pytest.raises(PipelineFileError) as raised:
        validate_user_schema(json.loads(text), "t.avsc", text)
    assert raised.value.line is not None
    assert '"cost"' in text.splitlines()[raised.value.line - 1]
    assert str(raised.value).startswith(f"t.avsc:{raised.value.line}: ")


@pytest.mark.parametrize(
    ("avro", "warning"),
    [
        ({"type": "map", "values": "string"}, "is a map"),
        (["null", "string", "long"], "is a union of several types"),
        (["null", {"type": "long", "logicalType": "timestamp-micros"}], "use timestamp-millis"),
        ({"type": "long", "logicalType": "time-micros"}, "use time-millis"),
        (nested("int"), "needs the transform Flatten"),
        (nested({"type": "map", "values": "int"}), "is a map"),
        ({"type": "array", "items": nested("int")}, "is a list of records"),
        ({"type": "array", "items": {"type": "array", "items": "int"}}, "is a list of lists"),
        ({"type": "array", "items": ["null", {"type": "map", "values": "int"}]}, "is a map"),
    ],
)
def test_types_a_warehouse_can_not_store_are_named(avro: Any, warning: str) -> None:
    """Each such field is warned of, by name and with a way out."""
    warnings = warehouse_warnings(record({"name": "fine", "type": "string"}, {"name": "odd", "type": avro}))
    assert any("'odd'" in text and warning in text for text in warnings)
    assert not any("'fine'" in text for text in warnings)


@pytest.mark.parametrize(
    "avro",
    [
        "string",
        ["null", "double"],
        {"type": "array", "items": "string"},
        {"type": "enum", "name": "E", "symbols": ["A"]},
        {"type": "int", "logicalType": "date"},
        {"type": "long", "logicalType": "timestamp-millis"},
        {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 6},
    ],
)
def test_types_that_survive_are_not_warned_of(avro: Any) -> None:
    """What was seen to arrive in a table gives no warning."""
    assert warehouse_warnings(record({"name": "a", "type": avro})) == []
