"""Framing, encoding and decoding: what is written is read, and no bytes do harm."""

import contextlib
import io
import json
import signal
import struct
import subprocess
import sys
import tracemalloc
from copy import deepcopy
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avro_strategies import Typed, records
from eventmill_schemas.codec import AvroReader, AvroWriter, frame
from eventmill_schemas.errors import SetupError, Undecodable, UnstorableResult


def schema_of(**fields: Any) -> str:
    """Return the text of a record schema with these fields."""
    listed = [{"name": name, "type": avro} for name, avro in fields.items()]
    return json.dumps({"type": "record", "name": "R", "fields": listed})


def varint(number: int) -> bytes:
    """Encode a long as Avro does: zigzag, seven bits a byte."""
    number = (number << 1) ^ (number >> 63)
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


@given(records(), st.integers(0, (1 << 32) - 1))
def test_what_is_encoded_is_decoded(typed: Typed, schema_id: int) -> None:
    """Every type comes back equal: no digit, microsecond or character is lost on the way."""
    text = json.dumps(typed.avro)
    value = AvroWriter(text, schema_id).encode(typed.value)
    found, payload = frame(value)
    assert found == schema_id
    assert AvroReader(text).decode(payload) == typed.value


@given(records())
def test_the_bytes_are_fastavros_behind_the_frame(typed: Typed) -> None:
    """The value is plain Avro binary: our preparation changes no byte of a good value."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(typed.avro), typed.value)
    assert AvroWriter(json.dumps(typed.avro), 7).encode(typed.value) == b"\x00" + struct.pack(">I", 7) + out.getvalue()


@given(records(), st.binary(max_size=200))
def test_any_bytes_are_decoded_or_undecodable(typed: Typed, noise: bytes) -> None:
    """Whatever stands behind the frame, nothing but Undecodable comes out (case 78)."""
    reader = AvroReader(json.dumps(typed.avro), schema_id=3)
    with contextlib.suppress(Undecodable):
        assert isinstance(reader.decode(noise), dict)


@given(records(), st.data())
def test_a_value_with_a_flaw_is_decoded_or_undecodable(typed: Typed, data: st.DataObject) -> None:
    """A good value with a bit turned, cut or with bytes behind it never raises anything else."""
    text = json.dumps(typed.avro)
    payload = bytearray(frame(AvroWriter(text, 1).encode(typed.value))[1])
    if payload:
        payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    reader = AvroReader(text)
    with contextlib.suppress(Undecodable):
        assert isinstance(reader.decode(bytes(payload[: data.draw(st.integers(0, len(payload)))])), dict)


@given(records(), st.binary(min_size=1, max_size=5))
def test_bytes_behind_the_value_are_undecodable(typed: Typed, rest: bytes) -> None:
    """A value that ends before its record does was written with another schema."""
    text = json.dumps(typed.avro)
    payload = frame(AvroWriter(text, 1).encode(typed.value))[1]
    with pytest.raises(Undecodable, match="left after its end"):
        AvroReader(text).decode(payload + rest)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"", "is empty"),
        (b"\x00", "1 byte long (00)"),
        (b"\x00\x00\x00\x01", "4 bytes long (00000001)"),
        (b"\x01\x00\x00\x00\x01x", "begins with byte 0x01"),
        (b'{"id": 1}', "looks like JSON"),
        (b" \n [1]", "looks like JSON"),
        (b"Obj\x01abc", "an Avro file"),
    ],
)
def test_what_is_not_framed_says_what_it_is(value: bytes, message: str) -> None:
    """The message tells the producer's mistake, and JSON has its remedy."""
    with pytest.raises(Undecodable) as raised:
        frame(value)
    assert message in raised.value.message
    assert ("format: json" in (raised.value.remedy or "")) == ("JSON" in message)


HUGE = 1 << 62


@pytest.mark.parametrize(
    ("avro", "payload"),
    [
        ("string", varint(HUGE)),
        ("bytes", varint((1 << 63) - 1) + b"x"),
        ("string", varint(-1) + b"abc"),
        ({"type": "array", "items": "string"}, varint(HUGE)),
        ({"type": "array", "items": "int"}, varint(-HUGE) + varint(HUGE)),
        ({"type": "map", "values": "int"}, varint(HUGE)),
        (["null", "string"], varint(9)),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, varint(9)),
        ("long", b"\xff" * 100_000),
        ("string", varint(2) + b"\xff\xfe"),
        ({"type": "long", "logicalType": "timestamp-millis"}, varint(HUGE)),
        ({"type": "int", "logicalType": "date"}, varint(HUGE)),
        ({"type": "int", "logicalType": "time-millis"}, varint(1 << 40)),
        ({"type": "string", "logicalType": "uuid"}, varint(3) + b"abc"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 9}, varint(2_000_000) + b"\x55" * 2_000_000),
    ],
)
def test_claims_that_are_not_kept_are_undecodable_at_once(avro: Any, payload: bytes) -> None:
    """Huge lengths, counts, indexes and numbers cost neither time nor memory."""
    reader = AvroReader(schema_of(a=avro))
    tracemalloc.start()
    try:
        with pytest.raises(Undecodable):
            reader.decode(payload)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(payload) + (1 << 20)


NODE = json.dumps({"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]})


def test_a_type_that_contains_itself_is_read_and_bounded() -> None:
    """Deep nesting is a dead letter; in fastavro's compiled reader it would be the end of the process."""
    reader = AvroReader(NODE)
    assert reader.decode(b"\x02\x02\x00") == {"next": {"next": {"next": None}}}
    with pytest.raises(Undecodable, match="nested too deep"):
        reader.decode(b"\x02" * 1_000_000 + b"\x00")


def test_fastavros_compiled_reader_still_needs_that_guard() -> None:
    """The reason for the slower reader: when this fails, fastavro bounds its recursion and the guard can go."""
    script = (
        "import fastavro, io, json, sys; schema = fastavro.parse_schema(json.loads(sys.argv[1])); "
        "fastavro.schemaless_reader(io.BytesIO(b'\\x02' * 1_000_000 + b'\\x00'), schema, None)"
    )
    done = subprocess.run([sys.executable, "-c", script, NODE], capture_output=True, check=False)
    assert done.returncode == -signal.SIGSEGV


@pytest.mark.parametrize(
    "items",
    [
        "null",
        {"type": "fixed", "name": "F", "size": 0},
        {"type": "record", "name": "Empty", "fields": []},
        {"type": "record", "name": "Nulls", "fields": [{"name": "n", "type": "null"}]},
    ],
)
def test_arrays_of_nothing_are_refused(items: Any) -> None:
    """Five bytes could claim 2^62 items that take no space: such a schema is not read at all."""
    with pytest.raises(Undecodable, match="items without content"):
        AvroReader(schema_of(deep={"type": "map", "values": {"type": "array", "items": items}}))


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("{", "not a valid Avro schema"),
        ('{"type": "recrd"}', "not a valid Avro schema"),
        ('"string"', "an event is a record"),
        ('["null", {"type": "record", "name": "R", "fields": []}]', "an event is a record"),
        (schema_of(a={"type": "bytes", "logicalType": "decimal", "precision": 1, "scale": 2}), "scale must be"),
    ],
)
def test_a_schema_that_can_not_be_read_with_is_undecodable(schema: str, message: str) -> None:
    """A registry may hold anything; the message names the schema."""
    with pytest.raises(Undecodable, match=message) as raised:
        AvroReader(schema, schema_id=12)
    assert "schema 12" in raised.value.message


def test_decimals_keep_digits_beyond_their_precision() -> None:
    """A producer that writes more digits than it declared is read exactly, where fastavro would round."""
    schema = schema_of(a={"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2})
    assert AvroReader(schema).decode(varint(4) + b"\x55\x55\x55\x55") == {"a": Decimal("14316557.65")}


def test_references_between_schemas_are_resolved() -> None:
    """A schema may use types of others, which may use types of others."""
    inner = {"type": "enum", "name": "Kind", "namespace": "shared", "symbols": ["A", "B"]}
    price = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
    middle = {
        "type": "record",
        "name": "Item",
        "namespace": "shared",
        "fields": [{"name": "kind", "type": "shared.Kind"}, {"name": "price", "type": price}],
    }
    outer = schema_of(item="shared.Item", again="shared.Kind")
    reader = AvroReader(outer, references=[json.dumps(inner), json.dumps(middle)])
    assert reader.decode(b"\x02" + b"\x04\x04\xd2" + b"\x00") == {
        "item": {"kind": "B", "price": Decimal("12.34")},
        "again": "A",
    }


def test_a_reader_schema_resolves_what_avro_can() -> None:
    """Promotions and defaults are applied; what does not resolve is undecodable (case 80)."""
    old, new = schema_of(a="int", gone="string"), json.loads(schema_of(a="long"))
    new["fields"].append({"name": "added", "type": "string", "default": "d"})
    payload = frame(AvroWriter(old, 1).encode({"a": 5, "gone": "x"}))[1]
    assert AvroReader(old, reader_schema=json.dumps(new)).decode(payload) == {"a": 5, "added": "d"}
    with pytest.raises(Undecodable, match="schema 1"):
        AvroReader(old, schema_id=1, reader_schema=schema_of(a="string")).decode(payload)
    with pytest.raises(SetupError, match="reader schema"):
        AvroReader(old, reader_schema="{")


DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}
TIMESTAMP = {"type": "long", "logicalType": "timestamp-millis"}


@pytest.mark.parametrize(
    ("avro", "value", "problem"),
    [
        ("int", 1 << 31, "holds 2147483648, not a 32-bit integer"),
        ("int", True, "holds True, not a 32-bit integer"),
        ("long", 1 << 63, "not a 64-bit integer"),
        ("long", 1.5, "holds 1.5, not a 64-bit integer"),
        pytest.param("long", 10**5000, "an integer of 16610 bits", id="long-of-5001-digits"),
        ("double", "1.5", "a value of type str, not a number"),
        ("double", (1 << 53) + 1, "holds exactly"),
        pytest.param("double", 10**400, "not a 64-bit float", id="double-of-401-digits"),
        ("float", 1e300, "not a 32-bit float"),
        ("boolean", "false", "not true or false"),
        ("boolean", 1, "not true or false"),
        ("string", 5, "holds 5, not text"),
        ("string", None, "holds null, not text"),
        ("bytes", "x", "not bytes"),
        ("null", 1, "not null"),
        (DECIMAL, Decimal("1E+4"), "at most 4 digits before and 2 after"),
        (DECIMAL, Decimal("0.001"), "at most 4 digits before and 2 after"),
        (DECIMAL, Decimal("NaN"), "holds NaN"),
        (DECIMAL, 1.5, "holds 1.5"),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "C", "not one of A, B"),
        ({"type": "array", "items": "string"}, "abc", "not a list"),
        ({"type": "map", "values": "int"}, {1: 1}, "not text"),
        (["null", "string", "long"], 1.5, "not one of null, string, long"),
        (TIMESTAMP, datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None), "without time zone"),
        (TIMESTAMP, "2026-01-01", "not a timestamp"),
        ({"type": "long", "logicalType": "local-timestamp-millis"}, datetime(2026, 1, 1, tzinfo=UTC), "local one"),
        ({"type": "int", "logicalType": "date"}, datetime(2026, 1, 1, tzinfo=UTC), "not a date"),
        ({"type": "string", "logicalType": "uuid"}, "nope", "not a UUID"),
        ({"type": "fixed", "name": "F", "size": 2}, b"abc", "holds 3 bytes, not 2"),
        ({"type": "record", "name": "In", "fields": [{"name": "b", "type": "int"}]}, 5, "not a record"),
    ],
)
def test_values_that_do_not_fit_are_refused_by_field(avro: Any, value: Any, problem: str) -> None:
    """Nothing is truncated, rounded or reinterpreted to make it fit; the message names the field."""
    with pytest.raises(UnstorableResult) as raised:
        AvroWriter(schema_of(a=avro), 1).encode({"a": value})
    assert "the field 'a" in raised.value.message
    assert problem in raised.value.message


def test_the_path_leads_to_the_value() -> None:
    """A misfit deep inside is named by its way there."""
    inner = {"type": "record", "name": "In", "fields": [{"name": "n", "type": "int"}]}
    writer = AvroWriter(schema_of(rows={"type": "array", "items": inner}), 1)
    with pytest.raises(UnstorableResult, match=r"'rows\[\]\.n' holds a value of type str"):
        writer.encode({"rows": [{"n": 1}, {"n": "x"}]})


def test_fields_too_many_and_too_few() -> None:
    """An unknown field is not dropped; a missing one is null or its default, else an error."""
    avro = json.loads(schema_of(a="string", b=["null", "string"]))
    avro["fields"].append({"name": "c", "type": "int", "default": 9})
    writer, reader = AvroWriter(json.dumps(avro), 1), AvroReader(json.dumps(avro))
    assert reader.decode(frame(writer.encode({"a": "x"}))[1]) == {"a": "x", "b": None, "c": 9}
    with pytest.raises(UnstorableResult, match="'a' has no value"):
        writer.encode({})
    with pytest.raises(UnstorableResult, match="'d' is not in the result schema"):
        writer.encode({"a": "x", "d": 1})


def test_text_is_made_storable() -> None:
    """U+0000 and lone surrogates never reach a sink, in values and in keys of maps (case 39)."""
    schema = schema_of(a="string", m={"type": "map", "values": "string"})
    value = AvroWriter(schema, 1).encode({"a": "x\x00\ud800", "m": {"k\x00": "\x00"}})
    assert AvroReader(schema).decode(frame(value)[1]) == {"a": "x�", "m": {"k": ""}}


def test_nesting_without_end_is_refused() -> None:
    """A value that contains itself does not take the process with it."""
    value: dict[str, Any] = {}
    value["next"] = value
    with pytest.raises(UnstorableResult, match="nested too deep"):
        AvroWriter(NODE, 1).encode(value)


class Color(str):
    """Text of a subclass, as Python's enums make it."""

    __slots__ = ()

    def __str__(self) -> str:
        return "not the value"


def test_other_libraries_numbers_and_enums_are_taken_by_value() -> None:
    """An index-like integer and an enum member that is text are what they stand for."""

    class Seven:
        def __index__(self) -> int:
            return 7

    schema = schema_of(n="int", d="double", e={"type": "enum", "name": "E", "symbols": ["RED"]}, x=DECIMAL)
    value = AvroWriter(schema, 1).encode({"n": Seven(), "d": 3, "e": Color("RED"), "x": 12})
    assert AvroReader(schema).decode(frame(value)[1]) == {"n": 7, "d": 3.0, "e": "RED", "x": Decimal("12.00")}


@given(records())
def test_encoding_leaves_the_fields_alone(typed: Typed) -> None:
    """The caller's values are not changed in place."""
    before = deepcopy(typed.value)
    AvroWriter(json.dumps(typed.avro), 1).encode(typed.value)
    assert typed.value == before
