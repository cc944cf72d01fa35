"""How long a server asks us to wait before the next attempt. Pure."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

_NUMBER = re.compile(r"[0-9]{1,12}(?:\.[0-9]{0,12})?", re.ASCII)

LONGEST = 86_400.0   # seconds; a server that asks for more than a day is not believed


def retry_after(headers: httpx.Headers, now: datetime) -> float | None:
    """Return the wait in seconds that the headers ask for, None where they ask for none or for nonsense.

    Read in this order: `retry-after-ms` (milliseconds), `retry-after` as seconds, `retry-after` as an HTTP date
    (RFC 9110, 10.2.3) against the response's own `date`, so that a wrong clock on either side does not count;
    without a `date`, against `now` (UTC). Of repeated headers the longest wait counts.
    Guarantees: never raises; the result lies in [0, LONGEST]; a date in the past gives 0. Negative, infinite,
    not-a-number and larger values are ignored.
    """
    waits = [_number(value, 1000.0) for value in headers.get_list("retry-after-ms")]
    if all(wait is None for wait in waits):
        date = _date(headers.get("date", "")) or now
        for value in headers.get_list("retry-after"):
            waits.append(_number(value, 1.0))
            waits.append(_until(value, date))
    return max((wait for wait in waits if wait is not None), default=None)


def _number(text: str, per_second: float) -> float | None:
    text = text.strip()
    return _believed(float(text) / per_second) if _NUMBER.fullmatch(text) else None


def _until(text: str, date: datetime) -> float | None:
    then = _date(text)
    return None if then is None else _believed(max(0.0, (then - date).total_seconds()))


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _believed(seconds: float) -> float | None:
    return seconds if seconds <= LONGEST else None
