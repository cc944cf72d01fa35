"""From a model's answer, valid by its JSON Schema, to the values of the result's Avro schema."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from eventmill_schemas.avro_scalars import EXACT, INT_BOUND, LONG_BOUND
from eventmill_schemas.avro_types import (
    AvroType,
    Names,
    definition,
    kind,
    logical,
    named_types,
    record_fields,
    without_null,
)
from eventmill_schemas.errors import InvalidReply


class AnswerReader:
    """Reads a model's answers as fields of the record `avro`: text in a declared form becomes a date, a decimal ..."""

    def __init__(self, avro: Mapping[str, Any]) -> None:
        self._fields = record_fields(avro)
        self._names = named_types(avro)

    def read(self, field: str, value: Any) -> Any:
        """Return what `value`, which follows `json_schema`, means as the field called `field`.

        Raises InvalidReply, naming the field, for what JSON Schema can't check: an integer out of range, a date that is
        none, a decimal with too many digits.
        """
        try:
            return _value(self._fields[field]["type"], self._names, value)
        except _NoSuchValue as problem:
            raise InvalidReply(f"the answer's field {field!r} holds {problem}") from None


def from_json(avro: Mapping[str, Any], field: str, value: Any) -> Any:
    """Read one answer as the field of `avro`; see AnswerReader, which is built once for many."""
    return AnswerReader(avro).read(field, value)


class _NoSuchValue(Exception):
    """An answer that its Avro type has no value for."""


def _value(avro_type: AvroType, names: Names, value: Any) -> Any:
    bare, nullable = without_null(definition(avro_type, names))
    if nullable and value is None:
        return None
    if isinstance(bare, list):
        return _branch(bare, names, value)
    bare = definition(bare, names)
    if isinstance(bare, Mapping) and (kind(bare) not in _CHECKS or logical(bare) is not None):
        return _declared(bare, names, value)
    return _CHECKS[kind(bare)](value)


def _declared(avro: Mapping[str, Any], names: Names, value: Any) -> Any:
    what = kind(avro)
    if (read := _READERS.get((what, logical(avro) or ""))) is not None:
        return _read(read, value)
    if logical(avro) == "decimal":
        return _decimal(avro, value)
    match what:
        case "record" if isinstance(value, Mapping):
            return {f["name"]: _value(f["type"], names, value.get(f["name"])) for f in avro["fields"]}
        case "array" if isinstance(value, list):
            return [_value(avro["items"], names, inner) for inner in value]
        case "enum" if value in avro["symbols"]:
            return value
        case _ if what in _CHECKS:   # a logical type that Avro doesn't know means nothing
            return _CHECKS[what](value)
        case _:
            raise _NoSuchValue(f"{_shown(value)}, which is no {what}")


def _branch(branches: list[Any], names: Names, value: Any) -> Any:
    for branch in branches:
        try:
            return _value(branch, names, value)
        except _NoSuchValue:
            continue
    raise _NoSuchValue(f"{_shown(value)}, which fits none of its types")


def _shown(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _read(read: Callable[[str], Any], value: Any) -> Any:
    try:
        return read(value)
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise _NoSuchValue(_shown(value)) from None


def _timestamp(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    # Without zone it is read as UTC: that is what the events' own times are in, and models leave the Z out.
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _local_timestamp(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=None)


def _decimal(avro: Mapping[str, Any], value: Any) -> Decimal:
    precision, scale = avro["precision"], avro.get("scale", 0)
    try:
        number = Decimal(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite():
        raise _NoSuchValue(f"{_shown(value)}, which is no number")
    if number and number.adjusted() >= precision - scale:
        raise _NoSuchValue(f"{_shown(value)}, which has more than {precision - scale} digits before the point")
    scaled = number.scaleb(scale, EXACT)
    if int(scaled) != scaled:
        raise _NoSuchValue(f"{_shown(value)}, which has more than {scale} digits after the point")
    return Decimal(int(scaled)).scaleb(-scale, EXACT)


def _integer(bound: int) -> Callable[[Any], int]:
    def integer(value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)   # JSON Schema takes 3.0 for an integer
        if isinstance(value, bool) or not isinstance(value, int):
            raise _NoSuchValue(f"{_shown(value)}, which is no integer")
        if not -bound <= value < bound:
            raise _NoSuchValue(f"{_shown(value)}, which is out of range")
        return value

    return integer


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _NoSuchValue(f"{_shown(value)}, which is no number")
    try:
        return float(value)
    except OverflowError:
        raise _NoSuchValue(f"{_shown(value)}, which is out of range") from None


def _exactly(wanted: type | None) -> Callable[[Any], Any]:
    def exactly(value: Any) -> Any:
        if value is None if wanted is None else isinstance(value, wanted):
            return value
        raise _NoSuchValue(f"{_shown(value)}, which is no {'null' if wanted is None else wanted.__name__}")

    return exactly


_READERS: dict[tuple[str, str], Callable[[str], Any]] = {
    ("string", "uuid"): lambda text: str(UUID(text)),
    ("int", "date"): date.fromisoformat,
    ("int", "time-millis"): lambda text: time.fromisoformat(text).replace(tzinfo=None),
    ("long", "time-micros"): lambda text: time.fromisoformat(text).replace(tzinfo=None),
    ("long", "timestamp-millis"): _timestamp,
    ("long", "timestamp-micros"): _timestamp,
    ("long", "local-timestamp-millis"): _local_timestamp,
    ("long", "local-timestamp-micros"): _local_timestamp,
}
_CHECKS: dict[str, Callable[[Any], Any]] = {
    "null": _exactly(None),
    "boolean": _exactly(bool),
    "int": _integer(INT_BOUND),
    "long": _integer(LONG_BOUND),
    "float": _number,
    "double": _number,
    "string": _exactly(str),
}
