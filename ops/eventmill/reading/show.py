"""Records as text: JSON documents for programs, lines for people. Nothing in a record reaches a terminal raw."""

import json
import math
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from eventmill.reading.values import Seen
from eventmill_schemas.events import RawRecord

_PRINTABLE = re.compile(r"[ -~]+")
_SHOWN_BYTES = 32


def document(seen: Seen) -> dict[str, Any]:
    """Return a record as a JSON object, for `json_text`.

    Headers are [name, value] pairs: names may repeat. Keys, header values and values that are no text are
    {"base64": ...}. `undecodable` is there only where the value could not be decoded.
    """
    record = seen.record
    shown: dict[str, Any] = {
        "topic": record.source.topic,
        "partition": record.source.partition,
        "offset": record.source.offset,
        "timestamp": time_text(record_time(record)),
        "key": _text_or_base64(record.key),
        "headers": [[name, _text_or_base64(value)] for name, value in record.headers],
        "value": seen.value,
    }
    if seen.problem is not None:
        shown["value"] = {"base64": b64encode(record.value or b"").decode()}
        shown["undecodable"] = seen.problem
    return shown


def json_text(value: Any, indent: int | None = None) -> str:
    """Return JSON of what events hold, printable on any terminal.

    Times are ISO 8601, decimals and UUIDs text, bytes base64, floats that JSON has not "NaN", "Infinity", "-Infinity".
    """
    separators = (",", ":") if indent is None else None
    try:
        text = json.dumps(
            value, ensure_ascii=False, default=_plain, separators=separators, indent=indent, allow_nan=False
        )
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, default=_plain, separators=separators, indent=indent)
    return "\n".join(printable(line) for line in text.split("\n"))


def key_text(key: bytes | None) -> str:
    """Return a record's key for people: text, 0x... for other bytes, "-" for none."""
    if key is None:
        return "-"
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return _hex(key)
    return printable(text) if text.isprintable() and text else json_text(text)


def value_text(seen: Seen) -> str:
    """Return a record's value on one line."""
    if seen.problem is not None:
        return f"<undecodable: {printable(seen.problem)}> {excerpt(seen.record.value or b'')}"
    if seen.value is None:
        return "<tombstone>"
    return json_text(seen.value)


def headers_text(headers: Sequence[tuple[str, bytes | None]]) -> str:
    """Return headers on one line, as name=value pairs in their order."""
    return " ".join(f"{printable(name)}={_header_value(value)}" for name, value in headers)


def excerpt(data: bytes, limit: int = _SHOWN_BYTES) -> str:
    """Return the beginning of bytes: as they are where they are plain text, else in hex."""
    text = data[:limit].decode("ascii", "replace")
    more = f"... ({len(data):,} bytes)" if len(data) > limit else ""
    return (text if _PRINTABLE.fullmatch(text) else _hex(data[:limit])) + more


def record_time(record: RawRecord) -> datetime | None:
    """Return a record's time in UTC, None where it has none, or one that is no date."""
    if record.timestamp_ms < 0:
        return None
    try:
        return datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def time_text(moment: datetime | None) -> str | None:
    """Return a time with its zone as text in UTC."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def printable(text: str) -> str:
    """Return text on one line, with escapes for what a terminal would act on or not show: controls, bidi marks."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _header_value(value: bytes | None) -> str:
    if value is None:
        return "<null>"
    try:
        return printable(value.decode())
    except UnicodeDecodeError:
        return excerpt(value)


def _text_or_base64(data: bytes | None) -> str | dict[str, str] | None:
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(data).decode()}


def _hex(data: bytes) -> str:
    return f"0x{data.hex()}"


def _plain(value: Any) -> Any:
    match value:
        case bytes():
            return b64encode(value).decode()
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case date() | time():
            return value.isoformat()
        case Decimal():
            return f"{value:f}"
        case UUID():
            return str(value)
        case Mapping():
            return dict(value)
    raise TypeError(f"a {type(value).__name__} has no JSON form")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
