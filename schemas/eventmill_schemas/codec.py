"""Avro values in Confluent's framing: a zero byte, the schema id in four bytes (big-endian), the value in Avro binary.

Sources: Confluent's wire format, Avro 1.12 specification. Byte-equal to confluent-kafka's AvroSerializer.
"""

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from io import BytesIO
from struct import Struct
from typing import Any

import fastavro
from fastavro import _read_py

from eventmill_schemas.avro_scalars import EXACT
from eventmill_schemas.avro_types import AvroType, has_weightless_items, kind, recursive_type
from eventmill_schemas.conform import conformer
from eventmill_schemas.errors import SetupError, Undecodable, UnstorableResult
from eventmill_schemas.events import Fields

MAGIC = 0
_FRAME = Struct(">bI")
_JSON_START = re.compile(rb"(?:\xef\xbb\xbf)?\s*[{\[\"]")


def frame(value: bytes) -> tuple[int, bytes]:
    """Take a record's value apart: the id of the schema it was written with, and the Avro binary.

    Raises Undecodable for a value that is not framed so, saying what it looks like. (A tombstone has no value to take
    apart: that is the caller's case.)
    """
    if len(value) > 4 and value[0] == MAGIC:
        return int.from_bytes(value[1:5]), value[5:]
    if _JSON_START.match(value) is not None:
        raise Undecodable("the value looks like JSON, not like framed Avro", remedy="Set `format: json` for this stage")
    if not value:
        raise Undecodable("the value is empty: framed Avro has at least 5 bytes")
    if len(value) < 5:
        raise Undecodable(f"the value is {_bytes(len(value))} long ({value.hex()}): framed Avro has at least 5 bytes")
    hint = " (an Avro file, not a framed value)" if value.startswith(b"Obj\x01") else ""
    raise Undecodable(f"the value begins with byte 0x{value[0]:02x}, framed Avro with 0x00{hint}")


class AvroWriter:
    """Encodes fields with one registered schema; built once, used for every record."""

    def __init__(self, schema: str, schema_id: int) -> None:
        avro = json.loads(schema)
        self.schema_id = schema_id
        self._schema = fastavro.parse_schema(avro)
        self._conform = conformer(avro)
        self._frame = _FRAME.pack(MAGIC, schema_id)

    def encode(self, fields: Fields) -> bytes:
        """Return `fields` as a framed value.

        Guarantees that any reader of the schema can read it, and that its text is storable. Raises UnstorableResult,
        naming the field, where the fields don't fit the schema; nothing is rounded, cut or dropped to make them fit.
        """
        fitted = self._conform(fields)
        out = BytesIO()
        out.write(self._frame)
        try:
            fastavro.schemaless_writer(out, self._schema, fitted)
        except (ValueError, TypeError, OverflowError) as error:   # a default of a wrong type, an odd union
            raise UnstorableResult(f"the result can't be encoded: {error}") from error
        return out.getvalue()


class AvroReader:
    """Decodes values written with one schema; built once per schema id, used for every record.

    `references`: the texts of the schemas that `schema` refers to by name, those they need first. `reader_schema`: the
    schema to read as (Avro schema resolution); None: as written.
    """

    def __init__(
        self,
        schema: str,
        *,
        schema_id: int | None = None,
        references: Sequence[str] = (),
        reader_schema: str | None = None,
    ) -> None:
        self._name = "the writer's schema" if schema_id is None else f"schema {schema_id}"
        try:
            self._writer, names = _parse([*references, schema])
        except Exception as error:   # fastavro raises whatever its way through the tree meets
            raise Undecodable(f"{self._name} is not a valid Avro schema: {error}") from error
        if kind(self._writer) != "record":
            raise Undecodable(f"{self._name} describes a {kind(self._writer)}: an event is a record")
        if has_weightless_items(self._writer, names):
            raise Undecodable(f"{self._name} has an array of items without content: a few bytes could fill the memory")
        self._reader = None
        if reader_schema is not None:
            try:
                self._reader, _ = _parse([reader_schema])
            except Exception as error:
                raise SetupError(f"the reader schema is not a valid Avro schema: {error}") from error
        # fastavro's compiled reader recurses on the C stack: 10 KB of a self-containing type would end the process.
        bounded = recursive_type(self._writer, names) is None
        self._read = fastavro.schemaless_reader if bounded else _read_py.schemaless_reader

    def decode(self, payload: bytes) -> dict[str, Any]:
        """Return the fields of one value, given without its frame.

        Guarantees an answer in time and memory proportional to the payload. Raises Undecodable, also where the value
        ends before or after the payload does.
        """
        data = BytesIO(payload)
        fields = self.read(data)
        if (read := data.tell()) != len(payload):
            left = _bytes(len(payload) - read)
            raise Undecodable(f"the value was not written with {self._name}: {left} are left after its end")
        return fields

    def read(self, data: BytesIO) -> dict[str, Any]:
        """Return the fields of the next value in `data`, which then stands at its end. Raises Undecodable."""
        try:
            fields: dict[str, Any] = self._read(data, self._writer, self._reader)
        except Exception as error:   # any bytes can stand here: fastavro raises what its way through them meets
            raise Undecodable(f"the value was not written with {self._name}: {_reason(error)}") from error
        return fields


def _parse(schemas: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """Parse the last of `schemas` with the others as its named types, decimals made exact; return the names too."""
    checked: dict[str, Any] = {}
    names: dict[str, Any] = {}
    for text in schemas:
        avro = json.loads(text)
        fastavro.parse_schema(avro, checked)   # it checks scale and precision of decimals by that name only
        parsed = fastavro.parse_schema(_exact_decimals(avro), names)
    return parsed, names


_EXACT = "eventmill-decimal"
_WIDEST_DECIMAL = 1024   # bytes; the conversion takes the square of the length


def _exact_decimals(avro: Any) -> Any:
    if isinstance(avro, list):
        return [_exact_decimals(part) for part in avro]
    if isinstance(avro, Mapping):
        changed = {key: _exact_decimals(part) for key, part in avro.items()}
        if avro.get("logicalType") == "decimal" and avro.get("type") in {"bytes", "fixed"} and "precision" in avro:
            changed["logicalType"] = _EXACT
        return changed
    return avro


def _read_decimal(data: bytes, writer_schema: AvroType, _reader_schema: AvroType | None = None) -> Decimal:
    """Read a decimal digit for digit; fastavro's own reader rounds to the declared precision without a word."""
    if len(data) > _WIDEST_DECIMAL:
        raise ValueError(f"a decimal has {len(data)} bytes, {_WIDEST_DECIMAL} are taken")
    scale = writer_schema.get("scale", 0) if isinstance(writer_schema, Mapping) else 0
    return Decimal(int.from_bytes(data, signed=True)).scaleb(-scale, EXACT)


# fastavro's documented way to add a logical type; the name is ours, so nobody else's decimals change.
fastavro.read.LOGICAL_READERS.update({f"bytes-{_EXACT}": _read_decimal, f"fixed-{_EXACT}": _read_decimal})


def _reason(error: Exception) -> str:
    match error:
        case EOFError() | IndexError():
            return "it is cut short, or says so"
        case OverflowError():
            return "a date or time is outside the years 1 to 9999"
        case RecursionError():
            return "it is nested too deep"
        case _:
            return str(error) or type(error).__name__


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"
