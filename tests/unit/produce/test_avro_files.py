"""Avro object container files: what other programs write is read, and what is damaged or hostile is told."""

import json
import tracemalloc
import zlib
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import cramjam
import fastavro
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from avro_strategies import Typed, records
from eventmill.produce.avro_blocks import MAX_BLOCK
from eventmill.produce.avro_rows import AvroRows
from eventmill.produce.encode import Unfit
from eventmill.produce.lines import Unreadable
from eventmill.produce.options import Options
from eventmill.produce.prepare import Plan
from eventmill.produce.rows import BadRow, Row
from eventmill.produce.schema import WriterSchema
from eventmill.produce.source import FileFormat, Head, Reader, Source, file_source
from eventmill_schemas.codec import AvroReader, frame
from eventmill_schemas.errors import InputFileError, UsageError
from eventmill_schemas.pipeline import Format

ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [{"name": "id", "type": "string"}, {"name": "amount", "type": "int"}],
}
ORDERS = [{"id": f"o{number}", "amount": number} for number in range(1, 101)]
CODECS = ["null", "deflate", "bzip2", "xz", "snappy"]


def written(schema: Any, rows: list[Any], codec: str = "null", block: int = 200) -> bytes:
    """Write a container file."""
    out = BytesIO()
    fastavro.writer(out, fastavro.parse_schema(schema, {}), rows, codec=codec, sync_interval=block)
    return out.getvalue()


def read(data: bytes, skip: int = 0) -> list[Row | BadRow]:
    """Read a container file."""
    return list(AvroRows(BytesIO(data), skip=skip))


@settings(max_examples=60)
@given(records(), st.integers(0, 5), st.sampled_from(CODECS))
@example(Typed({"type": "record", "name": "Empty", "fields": [{"name": "f", "type": "null"}]}, {"f": None}), 1, "null")
def test_what_another_program_writes_is_read(typed: Typed, count: int, codec: str) -> None:
    """Every type with its value, in every codec, numbered from 1."""
    found = read(written(typed.avro, [typed.value] * count, codec))
    assert found == [Row(number, number, typed.value) for number in range(1, count + 1)]


@pytest.mark.parametrize("codec", CODECS)
def test_the_rest_of_a_file_is_its_end(codec: str) -> None:
    """After any number of skipped records, also in the middle of a block."""
    data = written(ORDER, ORDERS, codec)
    whole = read(data)
    assert [row.values for row in whole if isinstance(row, Row)] == ORDERS
    for skip in (1, 50, 99, 100, 200):
        assert read(data, skip) == whole[skip:]


def test_zstandard_is_read() -> None:
    """The codec of newer writers: here its container is put together by hand."""
    plain = written(ORDER, ORDERS, block=1 << 20)
    sync = plain[-16:]
    header, body = plain[: plain.index(sync) + 16], plain[plain.index(sync) + 16 : -16]
    content = body[len(body) - sum(len(written_record(order)) for order in ORDERS) :]
    packed = bytes(cramjam.zstd.compress(content))
    made = header.replace(b"avro.codec\x08null", b"avro.codec\x12zstandard")
    found = read(made + varint(100) + varint(len(packed)) + packed + sync)
    assert [row.values for row in found if isinstance(row, Row)] == ORDERS


def written_record(order: dict[str, Any]) -> bytes:
    """Encode one record without a frame."""
    out = BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(ORDER, {}), order)
    return out.getvalue()


def varint(number: int) -> bytes:
    """Encode a long as Avro does."""
    left, out = number << 1, b""
    while left > 0x7F:
        out += bytes([left & 0x7F | 0x80])
        left >>= 7
    return out + bytes([left])


@settings(max_examples=80)
@given(st.integers(0, 3_000), st.binary(min_size=1, max_size=20), st.sampled_from(CODECS))
def test_no_damage_stops_the_reading_with_another_error(at: int, noise: bytes, codec: str) -> None:
    """Any bytes anywhere give rows, bad rows with a number and a reason, or one refusal of the file."""
    data = bytearray(written(ORDER, ORDERS, codec))
    data[at % len(data) : at % len(data) + len(noise)] = noise
    try:
        found = read(bytes(data))
    except Unreadable:
        return
    numbers = [row.line for row in found]
    assert numbers == sorted(numbers)
    assert all(isinstance(row, Row) or row.reason for row in found)


def test_a_damaged_record_takes_only_its_block_with_it() -> None:
    """The message says so, and the records of later blocks are read."""
    data = written(ORDER, ORDERS)
    broken = data.replace(b"\x06o10", b"\x7fo10", 1)
    found = read(broken)
    (bad,) = [row for row in found if isinstance(row, BadRow)]
    assert bad.line == 10
    assert "with it the records up to" in bad.reason
    assert bad.last_line < 100
    assert [row.line for row in found if isinstance(row, Row)] == [*range(1, 10), *range(bad.last_line + 1, 101)]


def test_a_file_that_is_cut_short_is_told() -> None:
    """With the number of the first record that is missing; nothing follows."""
    found = read(written(ORDER, ORDERS)[:-30])
    last = found[-1]
    assert isinstance(last, BadRow)
    assert last.final
    assert "cut short" in last.reason
    assert last.line == len(found)


def bomb(codec: str, size: int) -> bytes:
    """Make a file whose one block unpacks to `size` bytes."""
    plain = written(ORDER, [])
    sync = plain[-16:]
    head = plain.replace(b"avro.codec\x08null", b"avro.codec" + varint(len(codec)) + codec.encode())
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packer.flush()
    return head + varint(1) + varint(len(packed)) + packed + sync


def test_a_block_that_unpacks_without_end_is_refused() -> None:
    """Within bounded memory: the file's own sizes are not believed."""
    data = bomb("deflate", 4 * MAX_BLOCK)
    assert len(data) < 1_000_000
    tracemalloc.start()
    (found,) = read(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(found, BadRow)
    assert "unpacks to more than" in found.reason
    assert peak < 3 * MAX_BLOCK


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "no Avro container file"),
        (b'{"id": 1}\n', "no Avro container file"),
        (written("int", [1, 2]), "describes a int: an event is a record"),
        (written(ORDER, []).replace(b"\x08null", b"\x08nail"), "its codec 'nail' is not known"),
        (b"Obj\x01" + b"\x02\x16avro.schema" + varint(1 << 40), "says that it has"),
        (written(ORDER, ORDERS)[:60], "no Avro container file"),
    ],
)
def test_a_file_that_is_none_is_told(data: bytes, told: str) -> None:
    """Before its first record."""
    with pytest.raises(Unreadable, match=told):
        read(data)


def test_a_block_that_claims_too_much_is_refused() -> None:
    """More records than bytes, or more bytes than a block may have."""
    plain = written(ORDER, [])
    sync = plain[-16:]
    (many,) = read(plain + varint(1 << 50) + varint(3) + b"abc" + sync)
    assert isinstance(many, BadRow)
    assert "1,125,899,906,842,624 records in 3 bytes" in many.reason
    (large,) = read(plain + varint(1) + varint(1 << 50))
    assert isinstance(large, BadRow)
    assert large.final


@pytest.fixture
def orders(tmp_path: Path) -> Iterator[Reader]:
    """Give an open file of orders."""
    file = tmp_path / "orders.avro"
    file.write_bytes(written(ORDER, ORDERS))
    reader = Reader(file_source(str(file)))
    reader.open()
    yield reader
    reader.close()


def schema(**fields: Any) -> dict[str, Any]:
    """Make a record schema."""
    made = [{"name": name, "type": avro} for name, avro in fields.items()]
    return {"type": "record", "name": "Other", "fields": made}


def test_the_files_schema_is_known_before_its_records(orders: Reader) -> None:
    """So that it can be registered where none is given."""
    assert orders.own_schema == ORDER


def test_the_files_schema_is_checked_against_the_topics(orders: Reader) -> None:
    """Wider types fit; the message has each field that does not, or that is left over."""
    source = Source("orders.avro", FileFormat.AVRO)
    orders.begin(Plan(source, Options(), schema(id="string", amount="double")).check_header)
    assert sum(1 for _ in orders.rows()) == 100
    with pytest.raises(InputFileError, match=r"the field 'amount' is int, which can't be read as string") as caught:
        orders.begin(Plan(source, Options(), schema(id="string", amount="string")).check_header)
    assert "orders.avro: the file's records don't fit" in str(caught.value)
    with pytest.raises(UsageError, match="there is no field for the column 'amount'"):
        orders.begin(Plan(source, Options(), schema(id="string")).check_header)
    mapped = Source("orders.avro", FileFormat.AVRO, {"total": "amount", "number": "#line"})
    plan = Plan(mapped, Options(), schema(id="string", total="long", number="int"))
    plan.check_header(head_of(orders))


def head_of(reader: Reader) -> Any:
    """Return what a file says of itself."""
    seen: list[Any] = []
    reader.begin(seen.append)
    return seen[0]


def test_json_values_of_avro_records_are_what_a_schema_reads_from_json() -> None:
    """Times, decimals and bytes as text; a number that JSON has not is told."""
    typed = {
        "type": "record",
        "name": "R",
        "fields": [
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "sum", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
            {"name": "raw", "type": "bytes"},
            {"name": "ratio", "type": "double"},
        ],
    }
    good = {"at": datetime(1970, 1, 1, tzinfo=UTC), "sum": Decimal("2.56"), "raw": b"\xff", "ratio": 0.5}
    rows = read(written(typed, [good, {**good, "ratio": float("nan")}]))
    encoder = Plan(Source("a.avro", FileFormat.AVRO), Options(value_format=Format.JSON), None).encoder("t", None)
    first, second = rows
    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert json.loads(encoder.encode(first).value) == {
        "at": "1970-01-01T00:00:00+00:00",
        "sum": "2.56",
        "raw": "/w==",
        "ratio": 0.5,
    }
    with pytest.raises(Unfit, match="NaN"):
        encoder.encode(second)


DAY = date(2026, 11, 21)
VALUES: dict[str, tuple[Any, Any]] = {   # a type and a value of it
    "int": ("int", 7),
    "long": ("long", 7),
    "float": ("float", 1.5),
    "double": ("double", 1.5),
    "string": ("string", str(UUID(int=7))),   # a text that means more in some types
    "bytes": ("bytes", b"hi"),
    "day": ({"type": "int", "logicalType": "date"}, DAY),
    "millis": ({"type": "long", "logicalType": "timestamp-millis"}, datetime(2026, 11, 21, tzinfo=UTC)),
    "micros": ({"type": "long", "logicalType": "timestamp-micros"}, datetime(2026, 11, 21, tzinfo=UTC)),
    "uuid": ({"type": "string", "logicalType": "uuid"}, UUID(int=7)),
    "decimal": ({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, Decimal("2.56")),
    "wide": ({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 3}, Decimal("2.561")),
    "enum": ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "B"),
    "fixed": ({"type": "fixed", "name": "F", "size": 2}, b"hi"),
    "list": ({"type": "array", "items": "int"}, [1, 2]),
    "map": ({"type": "map", "values": "long"}, {"k": 1}),
    "inner": ({**schema(x="int"), "name": "Inner"}, {"x": 1}),
    "null or day": (["null", {"type": "int", "logicalType": "date"}], DAY),
    "null or long": (["null", "long"], None),
}


@pytest.mark.parametrize("writer", VALUES)
def test_what_the_check_lets_pass_is_produced_as_it_was_meant(writer: str) -> None:
    """For every type of a topic: either the file is refused before its first record, or the value arrives as it is."""
    avro, value = VALUES[writer]
    (row,) = read(written(schema(a=avro), [{"a": value}]))
    assert isinstance(row, Row)
    for read_as, _ in VALUES.values():
        target = schema(a=read_as)
        source = Source("a.avro", FileFormat.AVRO)
        plan = Plan(source, Options(), target)
        try:
            plan.check_header(Head(("a",), schema(a=avro)))
        except UsageError:
            continue
        encoder = plan.encoder("t", WriterSchema(7, json.dumps(target), target))
        encoded = encoder.encode(row._replace(values=deepcopy(row.values)))
        found = AvroReader(json.dumps(target)).decode(frame(encoded.value)[1])["a"]
        if isinstance(found, date) and isinstance(value, int):
            continue   # a plain number that the topic says is a time: its reader counts from 1970
        assert found == value or (read_as, str(found)) == (VALUES["uuid"][0], value), (writer, read_as)
