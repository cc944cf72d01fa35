"""How long a server asks us to wait is understood in all its spellings, and nonsense is not believed."""

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventmill_connectors.chat.retry_after import LONGEST, retry_after

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
VALUES = st.one_of(
    st.text(st.characters(codec="ascii", exclude_characters="\r\n\0"), max_size=40),
    st.floats().map(str),
    st.integers().map(str),
    st.datetimes(timezones=st.just(UTC)).map(lambda moment: format_datetime(moment, usegmt=True)),
)
NAMES = st.sampled_from(["retry-after", "retry-after-ms", "date"])


def wait(*headers: tuple[str, str]) -> float | None:
    """Return the wait that the headers ask for at NOW."""
    return retry_after(httpx.Headers(headers), NOW)


def test_case_01_seconds() -> None:
    """Whole and broken seconds are taken as they are."""
    assert wait(("retry-after", "2")) == 2.0
    assert wait(("Retry-After", " 0.25 ")) == 0.25
    assert wait(("retry-after", "0")) == 0.0


@pytest.mark.parametrize("skew", [timedelta(hours=1), timedelta(hours=-1), timedelta(0)])
def test_case_02_a_date_counts_against_the_server_s_clock(skew: timedelta) -> None:
    """Whatever our clock says, a date is as far away as it is from the response's own date."""
    server = NOW + skew
    date = ("date", format_datetime(server, usegmt=True))
    ahead = format_datetime(server + timedelta(seconds=7), usegmt=True)
    assert wait(("retry-after", ahead), date) == 7.0
    assert wait(("retry-after", format_datetime(server - timedelta(hours=3), usegmt=True)), date) == 0.0


def test_case_02_without_a_date_header_our_clock_serves() -> None:
    """A date is then as far away as we see it; all three date forms of RFC 9110 are read."""
    for text in ("Sat, 21 Nov 2026 12:00:09 GMT", "Saturday, 21-Nov-26 12:00:09 GMT", "Sat Nov 21 12:00:09 2026"):
        assert wait(("retry-after", text)) == 9.0


def test_case_03_milliseconds_come_first() -> None:
    """`retry-after-ms` is preferred, and `retry-after` serves where it is nonsense."""
    assert wait(("retry-after-ms", "150"), ("retry-after", "2")) == 0.15
    assert wait(("retry-after-ms", "soon"), ("retry-after", "2")) == 2.0


NONSENSE = ["1e9", "NaN", "inf", "Infinity", "-5", "", " ", "abc", "1_000", "٣", "0x10", "86401", "1" * 400, "2s"]


@pytest.mark.parametrize("text", NONSENSE)
def test_case_04_nonsense_is_ignored(text: str) -> None:
    """What is no number of seconds up to a day asks for nothing."""
    value = text.encode()
    assert retry_after(httpx.Headers([(b"retry-after", value)]), NOW) is None
    in_milliseconds = retry_after(httpx.Headers([(b"retry-after-ms", value), (b"retry-after", b"3")]), NOW)
    assert in_milliseconds == (86.401 if text == "86401" else 3.0)


def test_case_04_a_day_is_the_longest_wait() -> None:
    """A day is passed on, so that the caller can put the event off; a date beyond it is ignored."""
    assert wait(("retry-after", "86400")) == LONGEST
    assert wait(("retry-after", format_datetime(NOW + timedelta(days=30), usegmt=True))) is None


def test_case_05_no_hint() -> None:
    """Without the headers there is no wait to keep."""
    assert wait() is None
    assert wait(("x-ratelimit-reset-requests", "6m0s"), ("x-ratelimit-remaining-requests", "-1")) is None


def test_case_22_of_repeated_headers_the_longest_wait_counts() -> None:
    """A server that says two things is given the longer time."""
    assert wait(("retry-after", "2"), ("retry-after", "5"), ("retry-after", "x")) == 5.0


@given(st.lists(st.tuples(NAMES, VALUES), max_size=5))
@example([("retry-after", "Mon, 00 Jan 0000 99:99:99 -9999"), ("date", "31 Dec 9999 23:59:59 -2359")])
def test_any_header_gives_a_bounded_wait_or_none(headers: list[tuple[str, str]]) -> None:
    """No header raises, and no wait is negative, infinite, not a number or longer than LONGEST."""
    found = retry_after(httpx.Headers(headers), NOW)
    assert found is None or (math.isfinite(found) and 0 <= found <= LONGEST)


@given(st.floats(0, LONGEST).map(lambda seconds: round(seconds, 3)))
def test_every_plain_number_up_to_a_day_is_understood(seconds: float) -> None:
    """A number of seconds in plain decimals comes back as it is."""
    assert wait(("retry-after", f"{seconds:.3f}")) == pytest.approx(seconds)
