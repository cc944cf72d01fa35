"""From outcomes to the records of a tick: keys, partitions, headers, sizes, costs."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventmill_agents.outcome import DeadLetter, Provenance, Result
from eventmill_schemas.chat import Usage
from eventmill_schemas.codec import AvroReader, AvroWriter, frame
from eventmill_schemas.cost import Certainty, CostEvent
from eventmill_schemas.dead_letter import PREFIX, from_headers, record_size
from eventmill_schemas.errors import CallFailed, InvalidReply, RecordTooLarge, SetupError, UnstorableResult
from eventmill_schemas.events import Event, RawRecord, Source
from eventmill_schemas.pipeline import Format
from eventmill_schemas.records import cost_event_schema
from eventmill_schemas.result_schema import published, schema_text
from eventmill_streams.preflight import Outputs, OutputTopic
from eventmill_streams.publish import TOMBSTONE_SOURCE, Publisher, may_succeed_again
from eventmill_streams.settlement import End

AVRO = {"type": "record", "name": "Digest", "fields": [{"name": "summary", "type": "string"}]}
RESULT_SCHEMA = schema_text(published(AVRO, "digest.avsc"))
RESULTS, COSTS = AvroWriter(RESULT_SCHEMA, 11), AvroWriter(cost_event_schema(), 12)
AMPLE = 1 << 20
BYTES = st.binary(max_size=40)
HEADERS = st.lists(st.tuples(st.text(max_size=8), BYTES | st.none()), max_size=4)


def publisher(
    *, results: int = AMPLE, dlq: int = AMPLE, aligned: bool = True, input_format: Format = Format.AVRO
) -> Publisher:
    """Build a publisher whose topics take so many bytes."""
    outputs = Outputs(
        OutputTopic("results", aligned, results),
        OutputTopic("costs", aligned, AMPLE),
        OutputTopic("dlq", aligned, dlq),
        AMPLE,
    )
    return Publisher("p", "s", input_format, outputs, RESULTS, COSTS)


def record(
    key: bytes | None = b"k",
    value: bytes | None = b"\x00\x00\x00\x00\x09body",
    headers: Sequence[tuple[str, bytes | None]] = (),
    timestamp_ms: int = 1_700_000_000_000,
) -> RawRecord:
    """Build an input record."""
    return RawRecord(Source("in", 3, 41), key, value, headers, timestamp_ms)


def event(of: RawRecord | None = None) -> Event:
    """Build its event."""
    return Event("e1", "acme", {"body": "text"}, of or record())


def cost(attempt: int, amount: str | None = "0.000012") -> CostEvent:
    """Build the cost of one attempt."""
    return CostEvent(
        cost_id=f"cost-{attempt}",
        call_id="call",
        event_id="e1",
        tenant="acme",
        pipeline="p",
        stage="s",
        step="complete",
        source=Source("in", 3, 41),
        attempt=attempt,
        provider="openai",
        model="gpt-5-mini",
        prompt="triage@3",
        outcome="ok",
        usage=None if amount is None else Usage(10, 5),
        certainty=Certainty.UNCERTAIN if amount is None else Certainty.EXACT,
        cost=None if amount is None else Decimal(amount),
        price_row="row",
        started_at=datetime(2026, 11, 21, tzinfo=UTC),
        duration_ms=120,
    )


def decoded(value: bytes | None, schema: str) -> dict[str, object]:
    """Decode what was published."""
    assert value is not None
    return AvroReader(schema).decode(frame(value)[1])


@given(BYTES | st.none(), st.booleans(), st.integers(0, 4))
def test_a_result_keeps_key_and_partition_and_its_costs_follow_in_order(
    key: bytes | None, aligned: bool, attempts: int
) -> None:
    """Result first, then one record per attempt; the key is the input's, the partition too where topics match."""
    costs = [cost(attempt + 1) for attempt in range(attempts)]
    made = publisher(aligned=aligned).result(
        event(record(key)), Result({"summary": "short"}, Provenance("gpt-5-mini", "triage@3")), costs
    )
    assert made.end is End.RESULT
    assert made.kind is None
    assert [out.topic for out in made.records] == ["results"] + ["costs"] * attempts
    assert {out.key for out in made.records} == {key}
    assert {out.partition for out in made.records} == {3 if aligned else None}
    assert [decoded(out.value, cost_event_schema())["cost_id"] for out in made.records[1:]] == [
        one.cost_id for one in costs
    ]
    assert made.costs == tuple(costs)


def test_the_envelope_tells_where_the_result_comes_from() -> None:
    """Identity, source, model, prompt and the exact total are in the value."""
    made = publisher().result(
        event(), Result({"summary": "short"}, Provenance("gpt-5-mini", "triage@3")), [cost(1), cost(2, "0.1")]
    )
    fields = decoded(made.records[0].value, RESULT_SCHEMA)
    assert fields["summary"] == "short"
    assert (fields["event_id"], fields["tenant"]) == ("e1", "acme")
    assert (fields["source_topic"], fields["source_partition"], fields["source_offset"]) == ("in", 3, 41)
    assert (fields["model"], fields["prompt"]) == ("gpt-5-mini", "triage@3")
    assert fields["cost"] == Decimal("0.100012")


def test_a_total_is_not_claimed_where_one_attempt_is_uncertain() -> None:
    """One attempt whose reply never came makes the total unknown, not smaller."""
    made = publisher().result(event(), Result({"summary": "short"}), [cost(1), cost(2, None)])
    assert decoded(made.records[0].value, RESULT_SCHEMA)["cost"] is None


def test_fields_that_do_not_fit_are_the_events_failure() -> None:
    """A missing field of the result is named."""
    with pytest.raises(UnstorableResult, match="summary"):
        publisher().result(event(), Result({}), [])


def test_a_result_may_fill_its_topic_to_the_last_byte() -> None:
    """At exactly the topic's limit the result is published; one byte more is refused with both numbers."""
    end = Result({"summary": "x" * 500})
    value = publisher().result(event(), end, []).records[0].value
    size = record_size(b"k", value)
    assert publisher(results=size).result(event(), end, []).records[0].value is not None
    with pytest.raises(RecordTooLarge, match=rf"{size} bytes, its topic results takes {size - 1}"):
        publisher(results=size - 1).result(event(), end, [])


def test_a_skipped_event_publishes_only_its_costs() -> None:
    """No result; what was paid for is still accounted."""
    made = publisher().skipped(event(), [cost(1)])
    assert made.end is End.SKIPPED
    assert [out.topic for out in made.records] == ["costs"]
    assert publisher().skipped(event(), []).records == ()


@given(BYTES, HEADERS)
def test_a_tombstone_is_passed_on_with_its_source(
    key: bytes, headers: list[tuple[str, bytes | None]]
) -> None:
    """The key is deleted downstream too; headers stay in order, and say which record this was."""
    stale = [(TOMBSTONE_SOURCE + "topic", b"an earlier stage")]
    made = publisher().tombstone(record(key, None, [*stale, *headers]))
    (out,) = made.records
    assert made.end is End.TOMBSTONE
    assert (out.topic, out.partition, out.key, out.value) == ("results", 3, key, None)
    source = [("topic", b"in"), ("partition", b"3"), ("offset", b"41")]
    assert list(out.headers) == [*headers, *((TOMBSTONE_SOURCE + name, value) for name, value in source)]


@given(BYTES | st.none(), BYTES | st.none(), HEADERS)
def test_a_dead_letter_holds_the_record_untouched(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    """Key, value and headers byte for byte, the report after them, the costs after that."""
    end = DeadLetter(InvalidReply("not JSON", remedy="Ask again"), "complete")
    of = record(key, value, headers)
    made = publisher().dead_letter(of, event(of), end, [cost(1), cost(2)])
    letter, *costs = made.records
    assert (made.end, made.kind) == (End.DEAD_LETTER, "invalid_reply")
    assert (letter.topic, letter.partition, letter.key, letter.value) == ("dlq", 3, key, value)
    assert list(letter.headers)[: len(headers)] == headers
    assert all(name.startswith(PREFIX) for name, _ in list(letter.headers)[len(headers) :])
    assert [out.topic for out in costs] == ["costs", "costs"]
    report = from_headers(letter.headers)
    assert report is not None
    assert (report.pipeline, report.stage, report.step, report.kind) == ("p", "s", "complete", "invalid_reply")
    assert (report.topic, report.partition, report.offset, report.group) == ("in", 3, 41, "p.s")
    assert (report.message, report.remedy, report.event_id, report.tenant) == ("not JSON", "Ask again", "e1", "acme")
    assert (report.attempts, report.input_tokens, report.output_tokens) == (2, 20, 10)
    assert (report.cost, report.model, report.prompt) == (Decimal("0.000024"), "gpt-5-mini", "triage@3")


def test_an_undecodable_record_has_no_event_to_name() -> None:
    """What is not known has no header; the schema id is told where the value has one."""
    end = DeadLetter(InvalidReply("damaged"))
    report = from_headers(publisher().dead_letter(record(), None, end, []).records[0].headers)
    assert report is not None
    assert (report.event_id, report.tenant, report.model, report.cost, report.schema_id) == (
        None,
        None,
        None,
        Decimal(0),
        9,
    )
    for value, input_format in ((b"garbage", Format.AVRO), (b"\x00\x00\x00\x00\x09", Format.JSON), (None, Format.AVRO)):
        made = publisher(input_format=input_format).dead_letter(record(value=value), None, end, [])
        report = from_headers(made.records[0].headers)
        assert report is not None
        assert report.schema_id is None


@given(st.integers())
def test_any_timestamp_can_be_reported(milliseconds: int) -> None:
    """A producer may write any number as a time: one that is no time is left out."""
    of = record(timestamp_ms=milliseconds)
    report = from_headers(publisher().dead_letter(of, None, DeadLetter(InvalidReply("x")), []).records[0].headers)
    assert report is not None
    if 0 <= milliseconds < 253_402_300_800_000:
        assert report.timestamp is not None
        assert abs(report.timestamp.timestamp() * 1000 - milliseconds) <= 1
    else:
        assert report.timestamp is None


@given(st.integers(0, 3000))
@example(0)
@example(1)
def test_a_dead_letter_is_shortened_to_its_topic_and_never_the_record(missing: int) -> None:
    """With too little room the report gives way, to the byte; the record itself is whole, or the worker must stop."""
    end = DeadLetter(InvalidReply("m" * 1000, remedy="r" * 1000), "complete")
    of = record(value=b"v" * 500, headers=[("mine", b"h")])
    least = {"stage": b"s", "kind": b"invalid_reply", "topic": b"in", "partition": b"3", "offset": b"41"}
    needed = record_size(b"k", of.value, [*of.headers, *((PREFIX + name, value) for name, value in least.items())])
    whole = publisher().dead_letter(of, event(of), end, []).records[0]
    limit = record_size(whole.key, whole.value, whole.headers) - missing
    if limit < needed:
        with pytest.raises(SetupError, match=r"in/3@41 does not fit its topic dlq.*max\.message\.bytes"):
            publisher(dlq=limit).dead_letter(of, event(of), end, [])
        return
    letter = publisher(dlq=limit).dead_letter(of, event(of), end, []).records[0]
    assert record_size(letter.key, letter.value, letter.headers) <= limit
    assert (letter.key, letter.value, letter.headers[0]) == (b"k", b"v" * 500, ("mine", b"h"))
    report = from_headers(letter.headers)
    assert report is not None
    assert (report.stage, report.kind, report.topic, report.offset) == ("s", "invalid_reply", "in", 41)
    assert missing or [name for name, _ in letter.headers] == [name for name, _ in whole.headers]


def test_only_failed_calls_may_succeed_again() -> None:
    """Trying an event again unchanged helps where the model's side failed, and nowhere else."""
    assert may_succeed_again(CallFailed("three attempts"))
    assert not may_succeed_again(InvalidReply("not JSON"))
