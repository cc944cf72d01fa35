"""Records as text: complete for programs, harmless on a terminal."""

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill.reading.show import (
    document,
    excerpt,
    headers_text,
    json_text,
    key_text,
    printable,
    record_time,
    time_text,
    value_text,
)
from eventmill.reading.values import Seen
from eventmill_schemas.events import RawRecord, Source

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
BIDI = "safe\u202egnp.exe"
ESCAPE = "\x1b[2J\x07\x9b31m"


def record(
    key: bytes | None = b"k",
    value: bytes | None = b"v",
    headers: tuple[tuple[str, bytes | None], ...] = (),
    timestamp_ms: int = 0,
) -> RawRecord:
    """Make a record."""
    return RawRecord(Source("t", 2, 7), key, value, headers, timestamp_ms)


@given(st.recursive(TEXT | st.integers() | st.none() | st.booleans(), lambda inner: st.dictionaries(TEXT, inner)))
def test_json_means_the_same_and_holds_nothing_a_terminal_acts_on(value: Any) -> None:
    """Escapes, bidi marks and odd spaces are escaped, and a reader gets them back."""
    text = json_text(value)
    assert json.loads(text) == value
    assert text.isprintable()


@given(TEXT, TEXT, TEXT)
def test_no_line_for_people_breaks_or_acts(key: str, name: str, value: str) -> None:
    """Whatever stands in keys, header names and values: one printable line."""
    seen = Seen(record(), value)
    for line in (key_text(key.encode()), headers_text([(name, value.encode()), (name, None)]), value_text(seen)):
        assert line.isprintable()


@pytest.mark.parametrize("text", [BIDI, ESCAPE])
def test_what_would_deceive_is_seen(text: str) -> None:
    """As an escape."""
    assert "\\u" in printable(text)
    assert printable(text).isprintable()


def test_values_that_json_lacks_have_a_text() -> None:
    """The forms that `produce` reads again."""
    values = {
        "at": datetime(2026, 9, 14, 6, 12, 40, 123000, tzinfo=UTC),
        "day": date(2026, 9, 14),
        "time": time(6, 12),
        "cost": Decimal("1E-12"),
        "id": UUID(int=1),
        "raw": b"\x00\xff",
        "nan": float("nan"),
        "far": [float("inf"), {"x": float("-inf")}],
    }
    assert json.loads(json_text(values)) == {
        "at": "2026-09-14T06:12:40.123000Z",
        "day": "2026-09-14",
        "time": "06:12:00",
        "cost": "0.000000000001",
        "id": "00000000-0000-0000-0000-000000000001",
        "raw": "AP8=",
        "nan": "NaN",
        "far": ["Infinity", {"x": "-Infinity"}],
    }


def test_a_document_has_all_of_a_record() -> None:
    """Headers in their order with repeated names (case 81), bytes that are no text as base64."""
    headers = (("a", b"1"), ("a", None), ("b", b"\xff"))
    shown = json.loads(json_text(document(Seen(record(b"\xff", headers=headers, timestamp_ms=1), {"x": 1}))))
    assert shown == {
        "topic": "t",
        "partition": 2,
        "offset": 7,
        "timestamp": "1970-01-01T00:00:00.001Z",
        "key": {"base64": "/w=="},
        "headers": [["a", "1"], ["a", None], ["b", {"base64": "/w=="}]],
        "value": {"x": 1},
    }


def test_an_undecodable_value_is_kept_whole_in_a_document() -> None:
    """With the reason; a tombstone is null and no problem."""
    shown = document(Seen(record(value=b"\x00\x01"), None, "too short"))
    assert (shown["value"], shown["undecodable"]) == ({"base64": "AAE="}, "too short")
    tombstone = document(Seen(record(value=None), None))
    assert tombstone["value"] is None
    assert "undecodable" not in tombstone


@pytest.mark.parametrize(
    ("key", "text"),
    [(None, "-"), (b"k-1", "k-1"), (b"", '""'), (b"a\nb", '"a\\nb"'), (b"\xff\x00", "0xff00"), (b"\x1b", '"\\u001b"')],
)
def test_a_key_is_told_from_every_other(key: bytes | None, text: str) -> None:
    """No key, an empty one and one that is no text look different."""
    assert key_text(key) == text


def test_what_is_no_event_is_marked() -> None:
    """Reason and beginning of the bytes; long ones are cut."""
    assert value_text(Seen(record(value=None), None)) == "<tombstone>"
    assert value_text(Seen(record(value=b"\x00\x01"), None, "bad \x1b")) == "<undecodable: bad \\u001b> 0x0001"
    long = value_text(Seen(record(value=b"ab" * 100), None, "x"))
    assert long == f"<undecodable: x> {'ab' * 16}... (200 bytes)"
    assert excerpt(b"\xff" * 3, 2) == "0xffff... (3 bytes)"


@pytest.mark.parametrize("millis", [-1, 1 << 62])
def test_a_record_without_a_date_has_none(millis: int) -> None:
    """No timestamp, or one beyond the calendar."""
    assert time_text(record_time(record(timestamp_ms=millis))) is None
