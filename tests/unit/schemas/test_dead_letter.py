"""Dead letters: headers that say what failed, beside a record that is untouched."""

import dataclasses
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avro_strategies import LONGS, MOMENTS, TEXTS, decimals, millis
from eventmill_schemas.dead_letter import (
    CAUSE_BYTES,
    MESSAGE_BYTES,
    PREFIX,
    UNKNOWN,
    DeadLetterReport,
    Header,
    cause_text,
    dead_letter_headers,
    fit,
    from_headers,
    headers_size,
    record_size,
    to_headers,
)
from eventmill_schemas.errors import CallFailed, RateLimited, RecordTooLarge
from eventmill_schemas.records import declared_schema

REPORT = DeadLetterReport(
    pipeline="mail",
    stage="triage",
    step="complete",
    kind="call_failed",
    message="every attempt failed",
    remedy="wait",
    cause="x" * 3000,
    retryable=True,
    topic="mails",
    partition=3,
    offset=42,
    group="mail.triage",
    event_id="e-1",
    attempts=3,
    cost=Decimal("0.000000000001"),
    failed_at=datetime(2026, 11, 21, 10, 0, 0, 123000, tzinfo=UTC),
    app_version="0.1.0",
)

reports = st.builds(
    DeadLetterReport,
    **dict.fromkeys(("pipeline", "stage", "kind", "message", "topic", "group", "app_version"), TEXTS),
    **dict.fromkeys(("step", "remedy", "cause", "event_id", "tenant", "model", "prompt"), st.none() | TEXTS),
    **dict.fromkeys(("partition", "offset", "attempts"), LONGS),
    **dict.fromkeys(("input_tokens", "output_tokens", "schema_id"), st.none() | LONGS),
    retryable=st.booleans(),
    cost=st.none() | decimals(38, 12),
    timestamp=st.none() | MOMENTS.map(millis),
    failed_at=st.none() | MOMENTS.map(millis),
)
raw_headers = st.lists(
    st.tuples(TEXTS.filter(lambda name: not name.startswith(PREFIX)), st.none() | st.binary(max_size=30)), max_size=4
)


def test_the_schema_declares_exactly_the_reports_fields() -> None:
    """`dead_letter.avsc` is the one declaration of the headers: the value has its fields, in its order."""
    declared = [field["name"] for field in declared_schema("dead_letter")["fields"]]
    assert [field.name for field in dataclasses.fields(DeadLetterReport)] == declared


@given(reports)
def test_a_report_comes_back_from_its_headers(report: DeadLetterReport) -> None:
    """Text, numbers, money and times survive; None has no header at all."""
    headers = to_headers(report)
    assert from_headers(headers) == report
    filled = {name for name, value in dataclasses.asdict(report).items() if value is not None}
    assert {name for name, _ in headers} == {PREFIX + name for name in filled}


@given(raw_headers, reports, reports)
def test_a_dead_letter_that_dies_again_does_not_grow(
    original: list[Header], first: DeadLetterReport, second: DeadLetterReport
) -> None:
    """The record's own headers stay as they are, duplicates and nulls included; only the newest report is there."""
    once = dead_letter_headers(original, first)
    twice = dead_letter_headers(once, second)
    assert once[: len(original)] == original
    assert twice == [*original, *to_headers(second)]


def test_the_last_header_of_a_name_counts() -> None:
    """Other tools may have added headers of our names: all readers agree on one."""
    report = from_headers([(PREFIX + "kind", b"old"), ("x", b"y"), (PREFIX + "kind", b"new")])
    assert report is not None
    assert report.kind == "new"


@pytest.mark.parametrize("value", [b"\xff", b"abc", b"", None])
def test_missing_and_unreadable_headers_do_no_harm(value: bytes | None) -> None:
    """A dead letter of somebody else's making is still shown."""
    report = from_headers([(PREFIX + name, value) for name in ("offset", "cost", "failed_at", "attempts", "schema_id")])
    assert report is not None
    assert (report.offset, report.partition, report.attempts) == (UNKNOWN, UNKNOWN, 0)
    assert (report.cost, report.failed_at, report.schema_id, report.stage) == (None, None, None, "")


def test_a_record_without_report_has_none() -> None:
    """An ordinary record is not a dead letter."""
    assert from_headers([("ce_id", b"1"), ("eventmill.other", b"x")]) is None


def test_the_cause_names_every_error_of_the_chain_once() -> None:
    """Who reads the dead letter sees what was behind the failure, and no endless chain."""
    inner = OSError("connection reset")
    outer = CallFailed("every attempt failed")
    middle = RateLimited("slow down")
    outer.__cause__, middle.__context__, inner.__context__ = middle, inner, outer
    assert cause_text(outer).splitlines() == [
        "eventmill_schemas.errors.CallFailed: every attempt failed",
        "eventmill_schemas.errors.RateLimited: slow down",
        "OSError: connection reset",
    ]


def test_long_texts_are_cut_at_whole_characters() -> None:
    """A header is bounded, and still UTF-8."""
    report = dataclasses.replace(REPORT, message="é" * 5000, cause=cause_text(ValueError("😀" * 5000)))
    headers = dict(to_headers(report))
    assert len(headers[PREFIX + "message"]) <= MESSAGE_BYTES
    assert CAUSE_BYTES - 4 <= len(headers[PREFIX + "cause"]) <= CAUSE_BYTES
    assert headers[PREFIX + "cause"].decode().endswith("😀…")


def test_unstorable_text_is_made_storable() -> None:
    """A message with a lone surrogate or U+0000 can be written as a header."""
    assert dict(to_headers(dataclasses.replace(REPORT, message="a\ud800\x00b")))[PREFIX + "message"] == "a�b".encode()


@given(raw_headers, reports, st.integers(0, 4000))
def test_only_the_report_is_shortened_and_the_limit_is_kept(
    original: list[Header], report: DeadLetterReport, limit: int
) -> None:
    """Whatever the limit: it is kept with the record's own headers whole, or there is a clear error (case 83)."""
    headers = dead_letter_headers(original, report)
    try:
        fitted = fit(headers, limit)
    except RecordTooLarge:
        least = [*original, *(header for header in to_headers(report) if header[0].removeprefix(PREFIX) in CORE)]
        assert headers_size(least) > limit
        return
    assert headers_size(fitted) <= limit
    assert fitted[: len(original)] == original
    assert {name.removeprefix(PREFIX) for name, _ in fitted[len(original) :]} >= CORE


CORE = {"stage", "kind", "topic", "partition", "offset"}


def test_what_is_shortened_first_is_the_cause() -> None:
    """A dead letter that is a little too large loses the end of its cause and nothing else."""
    headers: list[Header] = [("own", b"x"), *to_headers(REPORT)]
    fitted = fit(headers, headers_size(headers) - 500)
    changed = [name for (name, value), (_, before) in zip(fitted, headers, strict=True) if value != before]
    assert changed == [PREFIX + "cause"]
    assert headers_size(headers) - 510 <= headers_size(fitted) <= headers_size(headers) - 500
    assert fit(headers, headers_size(headers)) == headers


def test_the_message_outlives_everything_but_the_core() -> None:
    """What happened is the last thing to go."""
    headers = dead_letter_headers([], REPORT)
    core = [header for header in headers if header[0].removeprefix(PREFIX) in CORE]
    message = next(header for header in headers if header[0] == PREFIX + "message")
    fitted = fit(headers, headers_size([*core, message]))
    assert sorted(fitted) == sorted([*core, message])


def test_sizes_are_kafkas() -> None:
    """A header takes its name, its value and a varint for each; the bound of a batch covers everything around."""
    assert headers_size([("ab", b"c" * 63)]) == 1 + 2 + 1 + 63
    assert headers_size([("ab", b"c" * 64)]) == 1 + 2 + 2 + 64
    assert headers_size([("é", None)]) == 1 + 2 + 1
    assert headers_size([("a", b"c" * 8192)]) == 1 + 1 + 3 + 8192
    assert record_size(None, None) < record_size(b"", b"") + 1 <= record_size(b"k", b"v")
