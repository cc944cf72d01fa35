"""From a row of a file to the record that is produced: value, key, headers, and a new id for every repetition."""

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from eventmill.produce.columns import Columns
from eventmill.produce.convert import Conversion
from eventmill.produce.rows import Row
from eventmill.produce.written import shown
from eventmill_schemas.avro_scalars import Misfit
from eventmill_schemas.codec import AvroWriter
from eventmill_schemas.errors import UnstorableResult

Headers = list[tuple[str, str | bytes | None]]
NO_HEADERS: Headers = []


class Unfit(Exception):
    """A row that can't become an event; the text says why."""


class Encoded(NamedTuple):
    """A record to produce."""

    key: bytes | None
    value: bytes
    headers: Headers


class Values(Protocol):
    """How the values of events are written."""

    def fields(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of an event; `values` may be changed. Raises Misfit."""

    def encode(self, fields: Mapping[str, Any], raw: bytes | None) -> bytes:
        """Return the record's value. `raw`: the line, where nothing was changed. Raises UnstorableResult."""


class AvroValues:
    """Values in Avro, framed with the id of their schema."""

    def __init__(self, conversion: Conversion, writer: AvroWriter) -> None:
        self.fields = conversion.convert
        self._writer = writer

    def encode(self, fields: Mapping[str, Any], raw: bytes | None) -> bytes:
        """Return the framed value."""
        del raw
        return self._writer.encode(fields)


class JsonValues:
    """Values in JSON: the file's own line where nothing was changed. Values of CSV are texts.

    Of Avro files times are ISO 8601, decimals text, bytes base64: what an Avro schema reads from JSON.
    """

    def fields(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the values."""
        return values

    def encode(self, fields: Mapping[str, Any], raw: bytes | None) -> bytes:
        """Return the JSON."""
        if raw is not None:
            return raw
        try:
            text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"), default=_as_json, allow_nan=False)
        except ValueError:
            raise Unfit("it holds a number that JSON has not: NaN or infinity") from None
        return text.encode()


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """What the CloudEvents headers of all events say (Kafka protocol binding 1.0, binary mode)."""

    source: str
    type: str
    content_type: str

    def headers(self, event_id: str) -> Headers:
        """Return the headers of one event."""
        return [
            ("ce_specversion", "1.0"),
            ("ce_id", event_id),
            ("ce_source", self.source),
            ("ce_type", self.type),
            ("content-type", self.content_type),
        ]


@dataclass(frozen=True, slots=True)
class Encoder:
    """Encodes rows. `key_field` and `id_field` are fields of the event; None: no key, no id."""

    columns: Columns
    values: Values
    key_field: str | None
    id_field: str | None
    cloud_event: CloudEvent | None = None

    def encode(self, row: Row, repetition: int = 1) -> Encoded:
        """Return the record of a row. From the second `repetition` on, the id ends in `-r2`, `-r3`, ...

        Raises Unfit where the row does not fit the schema, or has no id.
        """
        try:
            arranged = self.columns.arrange(row.values, row.line)
            raw = row.raw if arranged is row.values and repetition == 1 else None
            fields = self.values.fields(arranged)
            headers = NO_HEADERS
            if self.id_field is not None:
                event_id = self._id(fields, self.id_field, repetition)
                if self.cloud_event is not None:
                    headers = self.cloud_event.headers(event_id)
            key = None if self.key_field is None else _key(fields, self.key_field)
            return Encoded(key, self.values.encode(fields, raw), headers)
        except Misfit as misfit:
            path = "".join(reversed(misfit.path)).removeprefix(".")
            raise Unfit(f"the field {path!r} {misfit}") from None
        except UnstorableResult as error:
            raise Unfit(error.message) from None

    @staticmethod
    def _id(fields: dict[str, Any], name: str, repetition: int) -> str:
        value = _plain_text(fields, name)
        if not value:
            raise Misfit("is empty, and is the event's id", f".{name}")
        if repetition > 1:
            if not isinstance(fields[name], str):
                raise Misfit(f"holds {shown(fields[name])}: only a text can be made a new id", f".{name}")
            value = fields[name] = f"{value}-r{repetition}"
        return value


def _as_json(value: Any) -> Any:
    match value:
        case bytes():
            return b64encode(value).decode()
        case date() | time():
            return value.isoformat()
        case Decimal():
            return f"{value:f}"
        case _:
            return str(value)


def _key(fields: Mapping[str, Any], name: str) -> bytes | None:
    text = _plain_text(fields, name)
    return None if text is None else text.encode()


def _plain_text(fields: Mapping[str, Any], name: str) -> str | None:
    """Return a field as text, None where it is null. Raises Misfit: it is not there, or neither text nor an integer."""
    if name not in fields:
        raise Misfit("is not in the event", f".{name}")
    value = fields[name]
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | UUID) and not isinstance(value, bool):
        return str(value)
    raise Misfit(f"holds {shown(value)}, neither text nor an integer", f".{name}")
