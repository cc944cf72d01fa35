"""One check per scalar type of Avro: takes a Python value, returns what fastavro writes for it, or raises Misfit."""

import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from typing import Any
from uuid import UUID

from eventmill_schemas.storable_text import storable_text

Check = Callable[[Any], Any]

INT_BOUND = 1 << 31
LONG_BOUND = 1 << 63
EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)   # moves a decimal's point, rounds nothing
_FLOAT_MAX = 3.4028235677973366e38   # half a step above the largest 32-bit float: the first that rounds to infinity


class Misfit(Exception):
    """A value that does not fit its type. `path` is filled from the inside out."""

    def __init__(self, problem: str, *path: str) -> None:
        super().__init__(problem)
        self.path = list(path)


def wrong(value: Any, wanted: str) -> Misfit:
    """Return the Misfit of a value that is not what is wanted."""
    return Misfit(f"holds {_described(value)}, not {wanted}")


def _described(value: Any) -> str:
    """Say what a value is, without repeating text of the event in a message."""
    if value is None:
        return "null"
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, int | float | Decimal | date | time):
        text = str(value)
        return text if len(text) <= 60 else f"{text[:60]}..."
    return f"a value of type {type(value).__name__}"


def _null(value: Any) -> None:
    if value is not None:
        raise wrong(value, "null")


def _boolean(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise wrong(value, "true or false")


def _integer(bound: int, wanted: str) -> Check:
    def integer(value: Any) -> int:
        if type(value) is not int:
            if isinstance(value, bool) or not hasattr(value, "__index__"):
                raise wrong(value, wanted)
            value = value.__index__()   # an int's subclass, or another library's integer
        if -bound <= value < bound:
            return int(value)
        raise wrong(value, wanted)

    return integer


_long = _integer(LONG_BOUND, "a 64-bit integer")
_int = _integer(INT_BOUND, "a 32-bit integer")


def _double(value: Any) -> float:
    if type(value) is float:
        return value
    if isinstance(value, bool) or not (isinstance(value, float) or hasattr(value, "__index__")):
        raise wrong(value, "a number")
    try:
        number = float(value)
    except OverflowError:
        raise wrong(value, "a 64-bit float") from None
    if number != value and not math.isnan(number):
        raise wrong(value, "a number that a 64-bit float holds exactly")
    return number


def _float(value: Any) -> float:
    number = _double(value)
    if _FLOAT_MAX <= abs(number) < float("inf"):
        raise wrong(value, "a 32-bit float")
    return number


def checked_text(value: Any) -> str:
    """Check a string, and make it storable."""
    if isinstance(value, str):
        return storable_text(value)
    raise wrong(value, "text")


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    raise wrong(value, "bytes")


def _uuid(value: Any) -> str:
    try:
        return str(value if isinstance(value, UUID) else UUID(value))
    except (ValueError, AttributeError, TypeError):
        raise wrong(value, "a UUID") from None


def _date(value: Any) -> Any:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    return _raw(value, _int, "a date")


def _timestamp(value: Any) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise Misfit("holds a timestamp without time zone")
        return value
    return _raw(value, _long, "a timestamp")


def _local_timestamp(value: Any) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            raise Misfit("holds a timestamp with time zone, where a local one belongs")
        return value
    return _raw(value, _long, "a local timestamp")


def _time_of_day(raw: Check) -> Check:
    def time_of_day(value: Any) -> Any:
        return value if isinstance(value, time) else _raw(value, raw, "a time of day")

    return time_of_day


def _raw(value: Any, raw: Check, wanted: str) -> Any:
    """Let the number on the wire pass too: that is what another schema's reader may have given."""
    if type(value) is int:
        return raw(value)
    raise wrong(value, wanted)


def fixed(size: int) -> Check:
    """Return the check for exactly `size` bytes."""

    def exactly(value: Any) -> bytes:
        data = _bytes(value)
        if len(data) != size:
            raise Misfit(f"holds {len(data)} bytes, not {size}")
        return data

    return exactly


def decimal(avro: Mapping[str, Any]) -> Check:
    """Return the check for a decimal (bytes or fixed): it gives the unscaled number, big-endian, as on the wire."""
    precision, scale, size = avro["precision"], avro.get("scale", 0), avro.get("size")
    wanted = f"a decimal with at most {precision - scale} digits before and {scale} after the point"

    def unscaled(value: Any) -> bytes:
        if type(value) is not Decimal:
            if isinstance(value, bool) or not isinstance(value, int | Decimal):
                raise wrong(value, wanted)
            value = Decimal(value)
        if not value.is_finite() or (value and value.adjusted() >= precision - scale):
            raise wrong(value, wanted)
        scaled = value.scaleb(scale, EXACT)
        number = int(scaled)
        if number != scaled:
            raise wrong(value, wanted)
        return number.to_bytes(size or (abs(number).bit_length() + 8) // 8, signed=True)

    return unscaled


PRIMITIVE: dict[str, Check] = {
    "null": _null,
    "boolean": _boolean,
    "int": _int,
    "long": _long,
    "float": _float,
    "double": _double,
    "string": checked_text,
    "bytes": _bytes,
}
LOGICAL: dict[tuple[str, str], Check] = {
    ("string", "uuid"): _uuid,
    ("int", "date"): _date,
    ("int", "time-millis"): _time_of_day(_int),
    ("long", "time-micros"): _time_of_day(_long),
    ("long", "timestamp-millis"): _timestamp,
    ("long", "timestamp-micros"): _timestamp,
    ("long", "local-timestamp-millis"): _local_timestamp,
    ("long", "local-timestamp-micros"): _local_timestamp,
}
