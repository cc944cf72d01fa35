"""Dead letters as values, and what is said about each kind."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from eventmill.reading.advice import advice
from eventmill.reading.dead_letters import UNKNOWN, DeadLetter
from eventmill_schemas.dead_letter import DeadLetterReport, dead_letter_headers, from_headers
from eventmill_schemas.errors import EventError
from eventmill_schemas.events import RawRecord, Source

FAILED = datetime(2026, 9, 14, 6, 12, 40, tzinfo=UTC)


def report(kind: str = "invalid_reply", *, remedy: str | None = None, retryable: bool = False) -> DeadLetterReport:
    """Make a report."""
    return DeadLetterReport(
        pipeline="p",
        stage="s",
        kind=kind,
        message="it failed",
        remedy=remedy,
        retryable=retryable,
        topic="mails",
        partition=3,
        offset=17,
        group="p.s",
        failed_at=FAILED,
        app_version="1",
    )


def letter(said: DeadLetterReport | None) -> DeadLetter:
    """Make a dead letter as it is read from its topic."""
    original: list[tuple[str, bytes | None]] = [("traceparent", b"00"), ("traceparent", None)]
    headers = original if said is None else dead_letter_headers(original, said)
    record = RawRecord(Source("p.s.dlq", 1, 4), b"k", b"v", headers, 1000)
    return DeadLetter("s", record, from_headers(headers))


def test_a_dead_letter_names_itself_and_its_source() -> None:
    """Two different places: in the dead letter topic, and where the input is."""
    found = letter(report())
    assert (found.where, found.source, found.kind) == ("s/1@4", Source("mails", 3, 17), "invalid_reply")
    assert found.failed_at == FAILED
    assert found.headers == [("traceparent", b"00"), ("traceparent", None)]


def test_a_record_of_another_program_is_shown_too() -> None:
    """Without a report: kind unknown, the time that of the record."""
    found = letter(None)
    assert (found.kind, found.source) == (UNKNOWN, None)
    assert found.failed_at == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert "another program" in advice(found)[0]


def kinds(error: type[EventError]) -> Iterator[str]:
    """Yield the kinds of all errors below one."""
    for below in error.__subclasses__():
        if below.__module__ == EventError.__module__:
            yield below.kind
            yield from kinds(below)


@pytest.mark.parametrize("kind", sorted(kinds(EventError)))
def test_every_kind_of_failure_has_an_advice(kind: str) -> None:
    """A new leaf of the error tree needs one."""
    assert len(advice(letter(report(kind)))) == 2


def test_the_errors_own_remedy_comes_first() -> None:
    """It knows more than what is said about the kind; a retryable event is named so."""
    found = advice(letter(report(remedy="Raise it")))
    assert found == ["Raise it.", "When the cause is mended, produce the event to mails again."]
    assert "The same event may succeed unchanged." in advice(letter(report(retryable=True)))
