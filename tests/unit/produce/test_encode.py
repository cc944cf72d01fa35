"""Records made of rows: value, key, id, headers."""

import json
from typing import Any
from uuid import UUID

import pytest

from eventmill.produce.columns import Columns
from eventmill.produce.convert import Conversion
from eventmill.produce.encode import AvroValues, CloudEvent, Encoder, JsonValues, Unfit
from eventmill.produce.rows import Row
from eventmill_schemas.codec import AvroReader, AvroWriter, frame

SCHEMA = {
    "type": "record",
    "name": "R",
    "fields": [
        {"name": "id", "type": ["string", "long"]},
        {"name": "key", "type": ["null", "string", "long", "double"], "default": None},
    ],
}
EVENT = CloudEvent("eventmill/produce/mails.jsonl", "support_mail.Mail", "application/avro")


def row(**values: Any) -> Row:
    """Make a row of JSON."""
    return Row(3, 3, values, json.dumps(values, indent=1).encode())


def avro(key: str | None = None, id_field: str | None = None, event: CloudEvent | None = None) -> Encoder:
    """Make an encoder for SCHEMA."""
    values = AvroValues(Conversion(SCHEMA, ()), AvroWriter(json.dumps(SCHEMA), 7))
    return Encoder(Columns({}, ["id", "key"]), values, key, id_field, event)


def decoded(value: bytes) -> tuple[int, dict[str, Any]]:
    """Take a framed value apart."""
    schema_id, payload = frame(value)
    return schema_id, AvroReader(json.dumps(SCHEMA)).decode(payload)


def test_a_value_is_framed_with_its_schema() -> None:
    """So that any consumer finds the schema."""
    record = avro().encode(row(id="a", key="b"))
    assert decoded(record.value) == (7, {"id": "a", "key": "b"})
    assert (record.key, record.headers) == (None, [])


@pytest.mark.parametrize(("value", "key"), [("caf\u00e9", "caf\u00e9".encode()), (42, b"42"), (None, None)])
def test_the_key_is_the_fields_text(value: Any, key: bytes | None) -> None:
    """Text in UTF-8, integers in digits, null a null key."""
    assert avro(key="key").encode(row(id="a", key=value)).key == key


def test_a_uuid_is_a_key_too() -> None:
    """As its usual text."""
    encoder = Encoder(Columns({}, None), JsonValues(), "key", None)
    identity = UUID(int=5)
    assert encoder.encode(Row(1, 1, {"key": identity}, b"{}")).key == str(identity).encode()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"id": "a", "key": 1.5}, "'key' holds 1.5, neither text nor an integer"),
        ({"id": "a"}, "'key' is not in the event"),
    ],
)
def test_what_is_no_key_is_told(values: dict[str, Any], told: str) -> None:
    """A float has many texts, a missing field none."""
    with pytest.raises(Unfit, match=told):
        avro(key="key").encode(row(**values))


def test_repetitions_have_ids_of_their_own() -> None:
    """The first is as it stands in the file, the others end in their number; the key stays."""
    encoder = avro(key="key", id_field="id")
    values = [decoded(encoder.encode(row(id="a", key="k"), number).value)[1]["id"] for number in (1, 2, 10)]
    assert values == ["a", "a-r2", "a-r10"]
    assert encoder.encode(row(id="a", key="k"), 2).key == b"k"
    with pytest.raises(Unfit, match="only a text can be made a new id"):
        encoder.encode(row(id=5, key="k"), 2)


@pytest.mark.parametrize("value", ["", None])
def test_an_event_without_id_is_told(value: Any) -> None:
    """An id that is named must identify."""
    encoder = Encoder(Columns({}, None), JsonValues(), None, "id")
    with pytest.raises(Unfit, match="'id' is empty"):
        encoder.encode(row(id=value))


def test_cloudevents_headers_name_the_event() -> None:
    """The attributes that the specification demands (binary mode), with the id of this repetition."""
    record = avro(id_field="id", event=EVENT).encode(row(id="a"), 2)
    assert record.headers == [
        ("ce_specversion", "1.0"),
        ("ce_id", "a-r2"),
        ("ce_source", "eventmill/produce/mails.jsonl"),
        ("ce_type", "support_mail.Mail"),
        ("content-type", "application/avro"),
    ]


def test_json_is_the_files_own_line_where_nothing_changes() -> None:
    """Bytes that another reader may depend on are not written anew."""
    plain = Encoder(Columns({}, None), JsonValues(), None, "id")
    original = row(id="a", n=10**30)
    assert plain.encode(original).value == original.raw
    assert plain.encode(row(id="a", n=10**30), 2).value == b'{"id":"a-r2","n":' + str(10**30).encode() + b"}"
    mapped = Encoder(Columns({"text": "q", "line": "#line"}, None), JsonValues(), None, None)
    assert json.loads(mapped.encode(row(q="a")).value) == {"text": "a", "line": "3"}


def test_values_of_csv_are_texts_in_json() -> None:
    """There is no schema that could say more."""
    encoder = Encoder(Columns({}, None), JsonValues(), None, None)
    assert encoder.encode(Row(2, 2, {"n": "1", "t": "\u00e9"})).value == '{"n":"1","t":"\u00e9"}'.encode()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"id": 1.5}, "the field 'id' holds 1.5"),
        ({}, "the field 'id' has no value"),
        ({"id": "a", "mood": 1}, "the field 'mood' is not in the schema"),
    ],
)
def test_what_does_not_fit_the_schema_is_told_with_its_field(values: dict[str, Any], told: str) -> None:
    """Whether conversion, encoding or the columns find it."""
    with pytest.raises(Unfit, match=told):
        avro().encode(row(**values))
