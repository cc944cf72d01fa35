"""Values that JSON and CSV write as text: times, dates, decimals, bytes. Text in, what Avro's encoder takes out."""

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from eventmill_schemas.avro_scalars import Misfit
from eventmill_schemas.avro_types import AvroType, kind, logical

Read = Callable[[str], Any]
T = TypeVar("T")

_SHOWN = 60


def reader(avro_type: AvroType) -> Read | None:
    """Return the function that reads a type's text form; None for a type that has none.

    Times are ISO 8601, a timestamp with its offset from UTC; finer parts than the type holds are cut. Bytes are
    base64. The functions raise Misfit.
    """
    what = kind(avro_type)
    if logical(avro_type) == "decimal" and what in {"bytes", "fixed"}:
        return read_decimal
    if what in {"bytes", "fixed"}:
        return _bytes
    return _READERS.get((what, logical(avro_type) or ""))


def is_decimal(avro_type: AvroType) -> bool:
    """Whether a type is a decimal number."""
    return isinstance(avro_type, Mapping) and logical(avro_type) == "decimal" and kind(avro_type) in {"bytes", "fixed"}


def shown(value: Any) -> str:
    """Return a value as a message shows it: short, on one line."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def read_decimal(text: str) -> Decimal:
    """Read a decimal number, digit for digit."""
    try:
        number = Decimal(text.strip()) if _NUMBER.fullmatch(text.strip()) else None
    except InvalidOperation:   # an exponent beyond all bounds
        number = None
    if number is None:
        raise Misfit(f"holds {shown(text)}, not a number")
    return number


def read_integer(text: str) -> int:
    """Read an integer; 12.0 is one too (spreadsheets write so)."""
    if (digits := _INTEGER.fullmatch(text.strip())) is None or len(text) > 100:
        raise Misfit(f"holds {shown(text)}, not an integer")
    return int(digits[1])


def read_float(text: str) -> float:
    """Read a finite number."""
    if _NUMBER.fullmatch(text.strip()) is None:
        raise Misfit(f"holds {shown(text)}, not a number")
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise Misfit(f"holds {shown(text)}, more than a 64-bit float can hold")
    return number


def read_boolean(text: str) -> bool:
    """Read true or false, yes or no, 1 or 0, in capitals or not."""
    try:
        return _BOOLEANS[text.strip().lower()]
    except KeyError:
        raise Misfit(f"holds {shown(text)}, not true or false") from None


_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"([+-]?[0-9]+)(?:\.0*)?")
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _timestamp(text: str) -> datetime:
    moment = _iso(datetime.fromisoformat, text, "a time such as 2026-09-14T06:12:40+02:00")
    if moment.tzinfo is None:
        raise Misfit(f"holds {shown(text)}, a time without its offset from UTC: end it with Z or an offset like +02:00")
    return moment


def _local_timestamp(text: str) -> datetime:
    moment = _iso(datetime.fromisoformat, text, "a time such as 2026-09-14T06:12:40")
    if moment.tzinfo is not None:
        raise Misfit(f"holds {shown(text)}, a time with an offset, where a local one belongs")
    return moment


def _date(text: str) -> date:
    return _iso(date.fromisoformat, text, "a date such as 2026-09-14")


def _time(text: str) -> time:
    moment = _iso(time.fromisoformat, text, "a time of day such as 06:12:40")
    if moment.tzinfo is not None:
        raise Misfit(f"holds {shown(text)}, a time of day with an offset, where a local one belongs")
    return moment


def _iso(read: Callable[[str], T], text: str, wanted: str) -> T:
    try:
        return read(text.strip())
    except ValueError:
        raise Misfit(f"holds {shown(text)}, not {wanted}") from None


def _bytes(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Misfit(f"holds {shown(text)}, not bytes in base64") from None


_READERS: dict[tuple[str, str], Read] = {
    ("int", "date"): _date,
    ("int", "time-millis"): _time,
    ("long", "time-micros"): _time,
    ("long", "timestamp-millis"): _timestamp,
    ("long", "timestamp-micros"): _timestamp,
    ("long", "local-timestamp-millis"): _local_timestamp,
    ("long", "local-timestamp-micros"): _local_timestamp,
}
