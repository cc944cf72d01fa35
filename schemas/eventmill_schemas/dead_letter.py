"""Dead letters: the input record untouched, with headers that say what failed.

`avro/dead_letter.avsc` declares the headers: each of its fields is one, `eventmill.error.<field>`, as UTF-8 text.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any

from eventmill_schemas.avro_types import kind, logical, record_fields, without_null
from eventmill_schemas.errors import RecordTooLarge
from eventmill_schemas.records import declared_schema
from eventmill_schemas.storable_text import storable_text

PREFIX = "eventmill.error."
CAUSE_BYTES = 8 << 10
MESSAGE_BYTES = 2 << 10
UNKNOWN = -1   # a partition or offset that a dead letter of somebody else's making does not tell

Header = tuple[str, bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterReport:
    """Why and where an event failed for good. The fields are described in `avro/dead_letter.avsc`."""

    pipeline: str
    stage: str
    step: str | None = None
    kind: str
    message: str
    remedy: str | None = None
    cause: str | None = None
    retryable: bool
    topic: str
    partition: int
    offset: int
    timestamp: datetime | None = None
    group: str
    event_id: str | None = None
    tenant: str | None = None
    attempts: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: Decimal | None = None
    model: str | None = None
    prompt: str | None = None
    schema_id: int | None = None
    failed_at: datetime | None
    app_version: str


def cause_text(error: BaseException) -> str:
    """Return class and text of an error and of those behind it, one a line, the outermost first, within CAUSE_BYTES."""
    lines: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        name = type(current).__qualname__
        module = type(current).__module__
        lines.append(f"{name if module == 'builtins' else f'{module}.{name}'}: {current}")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return _cut(storable_text("\n".join(lines)).encode(), CAUSE_BYTES).decode()


def to_headers(report: DeadLetterReport) -> list[tuple[str, bytes]]:
    """Return the headers of a report; what is None has none."""
    headers = []
    for part in fields(report):
        value = getattr(report, part.name)
        if value is not None:
            headers.append((PREFIX + part.name, _cut(_text(value).encode(), _LIMITS.get(part.name))))
    return headers


def from_headers(headers: Sequence[Header]) -> DeadLetterReport | None:
    """Return the report in a record's headers, None where there is no part of one.

    The last header of a name counts. What is missing or unreadable is None, else empty text, UNKNOWN, 0 or False.
    """
    found = {name.removeprefix(PREFIX): value for name, value in headers if name.startswith(PREFIX)}
    values: dict[str, Any] = {}
    for name, (read, missing) in _readers().items():
        raw = found.get(name)
        try:
            values[name] = missing if raw is None else read(raw.decode())
        except (ValueError, InvalidOperation):
            values[name] = missing
    return DeadLetterReport(**values) if found else None


def dead_letter_headers(original: Sequence[Header], report: DeadLetterReport) -> list[Header]:
    """Return the headers of a dead letter: the record's own, in their order, then those of `report`.

    The report of an earlier failure is replaced: a record that comes back again and again does not grow.
    """
    return [*(header for header in original if not header[0].startswith(PREFIX)), *to_headers(report)]


def fit(headers: Sequence[Header], limit: int) -> list[Header]:
    """Return a dead letter's headers in at most `limit` bytes (as `headers_size` counts): only the report is shortened.

    The cause goes first, then what may help and what was spent, last the message; the stage, the kind and the place of
    the input record stay. Raises RecordTooLarge where even they have no room.
    """
    kept = list(headers)
    excess = headers_size(kept) - limit
    for name in _SHORTENED:
        if excess <= 0:
            break
        at = next((i for i, (key, value) in enumerate(kept) if key == PREFIX + name and value is not None), None)
        if at is None:
            continue
        key, value = kept[at]
        before = headers_size([kept[at]])
        if name in _LIMITS and value is not None and len(value) - excess >= _WORTH_KEEPING:
            kept[at] = (key, _cut(value, len(value) - excess))
            excess -= before - headers_size([kept[at]])
        else:
            del kept[at]
            excess -= before
    if excess > 0:
        raise RecordTooLarge(
            f"with the least that a dead letter must say, its headers take {headers_size(kept)} bytes, {limit} fit",
            remedy="Raise max.message.bytes of the dead letter topic above the input topic's",
        )
    return kept


def headers_size(headers: Sequence[Header]) -> int:
    """Return the bytes that headers take in a record (Kafka record format v2: each length a zigzag varint)."""
    return sum(_sized(len(name.encode())) + (1 if value is None else _sized(len(value))) for name, value in headers)


def record_size(key: bytes | None, value: bytes | None, headers: Sequence[Header] = ()) -> int:
    """Return the bytes of a batch with this record alone, at most (Kafka record format v2), uncompressed.

    That is what a topic's `max.message.bytes` bounds.
    """
    content = sum(1 if part is None else _sized(len(part)) for part in (key, value))
    return _BATCH_OVERHEAD + content + headers_size(headers)


_BATCH_OVERHEAD = 61 + 5 + 1 + 10 + 5 + 5   # batch header; record length, attributes, time, offset, number of headers
_WORTH_KEEPING = 64   # bytes: a shorter rest of a text says nothing
_LIMITS: Mapping[str, int] = {"cause": CAUSE_BYTES, "message": MESSAGE_BYTES, "remedy": MESSAGE_BYTES}
_SHORTENED = (
    "cause",
    "remedy",
    "attempts",
    "input_tokens",
    "output_tokens",
    "cost",
    "model",
    "prompt",
    "app_version",
    "group",
    "schema_id",
    "timestamp",
    "failed_at",
    "retryable",
    "tenant",
    "event_id",
    "step",
    "pipeline",
    "message",
)


def _sized(length: int) -> int:
    """Return `length` and the bytes of its zigzag varint."""
    return length + max(1, ((2 * length).bit_length() + 6) // 7)


def _cut(text: bytes, limit: int | None) -> bytes:
    """Return UTF-8 text in at most `limit` bytes, whole characters, with a mark where it was cut."""
    if limit is None or len(text) <= limit:
        return text
    mark = "…".encode()
    return text[: max(0, limit - len(mark))].decode(errors="ignore").encode() + mark


def _text(value: str | bool | int | Decimal | datetime) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case Decimal():
            return f"{value:f}"
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case _:
            return storable_text(str(value))


def _read_bool(text: str) -> bool:
    return text == "true"


def _read_time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


@cache
def _readers() -> Mapping[str, tuple[Callable[[str], Any], Any]]:
    """Return how to read each header, and what stands for a missing one, by the declared type of its field."""
    readers: dict[str, tuple[Callable[[str], Any], Any]] = {}
    for name, field in record_fields(declared_schema("dead_letter")).items():
        declared, nullable = without_null(field["type"])
        match logical(declared) or kind(declared):
            case "timestamp-millis":
                readers[name] = _read_time, None
            case "decimal":
                readers[name] = Decimal, None
            case "int" | "long":
                readers[name] = int, None if nullable else field.get("default", UNKNOWN)
            case "boolean":
                readers[name] = _read_bool, False
            case _:
                readers[name] = str, None if nullable else ""
    return readers
