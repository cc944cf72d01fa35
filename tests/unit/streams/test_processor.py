"""What one event becomes, on every path, and that each is counted once."""

import json
from decimal import Decimal
from typing import Any

import pytest
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from eventmill_agents.enrich import Enricher
from eventmill_agents.outcome import DeadLetter, Skip
from eventmill_connectors.testing import FixedPrices, ScriptedChat, replied
from eventmill_schemas.codec import AvroReader, AvroWriter
from eventmill_schemas.cost import Certainty
from eventmill_schemas.dead_letter import from_headers
from eventmill_schemas.errors import InvalidReply, RateLimited, RecordTooLarge, RegistryUnreachable, Unavailable
from eventmill_schemas.events import RawRecord, Source
from eventmill_schemas.pipeline import Format, Kafka, ModelRef, Pipeline, PythonStep, ResultSchema, Stage
from eventmill_schemas.records import cost_event_schema
from eventmill_schemas.result_schema import published, schema_text
from eventmill_streams.decode import Decoder
from eventmill_streams.metrics import Metrics
from eventmill_streams.preflight import Outputs, OutputTopic
from eventmill_streams.processor import MODEL_LABELS, StageProcessor
from eventmill_streams.publish import Publisher
from eventmill_streams.settlement import End, Settlement

INPUT = json.dumps({"type": "record", "name": "Mail", "fields": [{"name": "id", "type": "string"}]})
ASKED = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
MODEL = ModelRef("openai", "gpt-5-mini")
PRICES = {("openai", "gpt-5-mini"): (Decimal(1), Decimal(2))}
FIELD: dict[str, Any] = {"name": "word", "type": "string"}
COMPUTED = {"name": "word", "type": "string", "from": "event.id"}


class Registry:
    """Knows every schema as INPUT. Satisfies Schemas."""

    async def schema(self, schema_id: int) -> AvroReader:
        """Answer."""
        return AvroReader(INPUT, schema_id=schema_id)


class Gate:
    """Lets everybody go on at once."""

    async def pause(self, seconds: float, reason: str) -> None:
        """Do not wait."""

    async def wait_open(self, unavailable: Unavailable, attempt: int) -> None:
        """Nothing is away here."""
        raise AssertionError(unavailable)

    def opened(self, kind: type[Unavailable]) -> None:
        """There is no door."""


async def ask(event: Any, so_far: Any, call: Any) -> dict[str, Any]:
    """Ask the model for a word, as a user's step would."""
    answer = await call.complete(route="writer", system="s", user=event.id, schema=ASKED)
    return {"word": answer["word"]}


class Site:
    """A processor with a step, or none, around a scripted model."""

    def __init__(self, step: Any = None, *script: Any, when: str | None = None, room: int = 1 << 20) -> None:
        """Build it. `room`: bytes that the results topic takes."""
        steps = (PythonStep("step", "user:step"),) if step else ()
        avro = {"type": "record", "name": "R", "fields": [FIELD if step else COMPUTED]}
        stage = Stage("s", ("in",), Format.AVRO, "id", None, when, steps, ResultSchema(avro, "r.avsc"))
        pipeline = Pipeline("p", "/p", Kafka("k", "http://r"), (stage,), {"writer": (MODEL,)})
        self.metrics = Metrics()
        self.chat = ScriptedChat(*script)
        functions = {"user:step": step} if step else {}
        enricher = Enricher(pipeline, stage, self.chat, FixedPrices(PRICES), functions)
        schema = schema_text(published(avro, "r.avsc"))
        rooms = {"results": room, "costs": 1 << 20, "dlq": 1 << 20}
        outputs = Outputs(*(OutputTopic(name, True, size) for name, size in rooms.items()), largest_input=1)
        publisher = Publisher(
            "p", "s", stage.format, outputs, AvroWriter(schema, 1), AvroWriter(cost_event_schema(), 2)
        )
        self.processor = StageProcessor(Decoder(stage, Registry()), enricher, publisher, self.metrics, stage)

    async def settle(self, value: bytes | None) -> Settlement:
        """Settle a record as a replica does: at once, else by waiting; and commit it."""
        record = RawRecord(Source("in", 0, 4), b"k", value, (), 0)
        settlement = self.processor.now(record) or await self.processor.run(record, Gate())
        assert self.counts() == {}, "an outcome is not counted before it is committed"
        self.processor.committed(settlement)
        return settlement

    def counts(self) -> dict[tuple[str, str], float]:
        """Return what the metrics count of events and dead letters."""
        return {
            (sample.name, sample.labels.get("outcome") or sample.labels["kind"]): sample.value
            for family in self.metrics.registry.collect()
            for sample in family.samples
            if sample.name in {"eventmill_events_total", "eventmill_dead_letters_total"}
        }

    def metric(self, name: str, **labels: str) -> float | None:
        """Return one value."""
        return self.metrics.registry.get_sample_value(name, {"stage": "s", **labels})


MAIL = AvroWriter(INPUT, 7).encode({"id": "m1"})
EVENTS = "eventmill_events_total"


def topics(settlement: Settlement) -> list[str]:
    """Return where the records go."""
    return [record.topic for record in settlement.records]


async def test_a_tombstone_needs_no_step_and_no_schema() -> None:
    """It is passed on at once, also by a stage that asks models."""
    site = Site(ask)
    settlement = await site.settle(None)
    assert (settlement.end, topics(settlement)) == (End.TOMBSTONE, ["results"])
    assert site.counts() == {(EVENTS, "tombstone"): 1}
    assert not site.chat.asked


async def test_without_steps_only_the_first_record_of_a_schema_waits() -> None:
    """Once the schema is known, a stage without steps settles without a task."""
    site = Site()
    record = RawRecord(Source("in", 0, 4), b"k", MAIL, (), 0)
    assert site.processor.now(record) is None
    assert (await site.processor.run(record, Gate())).end is End.RESULT
    settlement = site.processor.now(record)
    assert settlement is not None
    assert settlement.end is End.RESULT


async def test_an_undecodable_record_is_a_dead_letter_with_and_without_steps() -> None:
    """The bytes are kept, the kind is counted, and no model is asked."""
    for site in (Site(), Site(ask)):
        settlement = await site.settle(b"garbage")
        assert (settlement.end, settlement.kind) == (End.DEAD_LETTER, "undecodable")
        assert settlement.records[0].value == b"garbage"
        assert site.counts() == {(EVENTS, "dead_letter"): 1, ("eventmill_dead_letters_total", "undecodable"): 1}
        assert not site.chat.asked


async def test_an_answer_becomes_a_result_and_its_calls_are_counted() -> None:
    """Result and costs of both attempts; calls, tokens and money are counted by what happened."""
    site = Site(ask, RateLimited("slow down"), replied('{"word": "yes"}'))
    settlement = await site.settle(MAIL)
    assert (settlement.end, topics(settlement)) == (End.RESULT, ["results", "costs", "costs"])
    assert site.counts() == {(EVENTS, "result"): 1}
    call = {"provider": "openai", "model": "gpt-5-mini"}
    assert site.metric("eventmill_calls_total", outcome="rate_limited", **call) == 1
    assert site.metric("eventmill_calls_total", outcome="ok", **call) == 1
    assert site.metric("eventmill_tokens_total", model="gpt-5-mini", direction="input") == 10
    assert site.metric("eventmill_tokens_total", model="gpt-5-mini", direction="output") == 5
    assert site.metric("eventmill_cost_usd_total", model="gpt-5-mini") == pytest.approx(20e-6)
    assert site.metric("eventmill_call_seconds_count", model="gpt-5-mini") == 2


async def test_a_failed_step_is_a_dead_letter_that_keeps_its_costs() -> None:
    """What was paid before the failure is published with the dead letter."""

    async def fails(event: Any, so_far: Any, call: Any) -> DeadLetter:
        await ask(event, so_far, call)
        return DeadLetter(InvalidReply("no good"))

    site = Site(fails, replied('{"word": "yes"}'))
    settlement = await site.settle(MAIL)
    assert (settlement.end, settlement.kind, topics(settlement)) == (End.DEAD_LETTER, "invalid_reply", ["dlq", "costs"])
    report = from_headers(settlement.records[0].headers)
    assert report is not None
    assert (report.event_id, report.step, report.attempts) == ("m1", "step", 1)
    assert settlement.costs[0].certainty is Certainty.EXACT


async def test_skipped_events_publish_no_result() -> None:
    """`when` and a step may leave an event out: it is settled, and counted as skipped."""

    async def skips(event: Any, so_far: Any, call: Any) -> Skip:
        return Skip("not today")

    for site in (Site(skips), Site(ask, when="event.id == 'other'"), Site(when="event.id == 'other'")):
        settlement = await site.settle(MAIL)
        assert (settlement.end, settlement.records) == (End.SKIPPED, ())
        assert site.counts() == {(EVENTS, "skipped"): 1}


async def test_a_result_that_does_not_fit_is_a_dead_letter_with_its_costs() -> None:
    """Too large for its topic: the event failed, and what it cost is kept."""
    site = Site(ask, replied(json.dumps({"word": "long" * 200})), room=500)
    settlement = await site.settle(MAIL)
    assert (settlement.kind, topics(settlement)) == ("record_too_large", ["dlq", "costs"])
    assert site.counts() == {
        (EVENTS, "dead_letter"): 1,
        ("eventmill_dead_letters_total", "record_too_large"): 1,
    }


async def test_fields_that_do_not_fit_the_schema_are_a_dead_letter() -> None:
    """A step that gives a number for a text fails its event, not the worker."""

    async def wrong(event: Any, so_far: Any, call: Any) -> dict[str, Any]:
        return {"word": 5}

    site = Site(wrong)
    assert (await site.settle(MAIL)).kind == "unstorable_result"


@pytest.mark.parametrize(("value", "event_id"), [(MAIL, "m1"), (b"garbage", None), (None, None)])
async def test_a_buried_event_keeps_its_costs_and_is_counted_as_what_it_became(
    value: bytes | None, event_id: str | None
) -> None:
    """Kafka refused its records: the dead letter has the same costs, names the event if it can, and counts once."""
    site = Site(ask, replied('{"word": "yes"}'))
    paid = await site.processor.run(RawRecord(Source("in", 0, 1), b"k", MAIL, (), 0), Gate())
    record = RawRecord(Source("in", 0, 4), b"k", value, (), 0)
    buried = site.processor.bury(record, paid, RecordTooLarge("refused"))
    assert (buried.end, buried.kind, buried.costs) == (End.DEAD_LETTER, "record_too_large", paid.costs)
    assert topics(buried) == ["dlq", "costs"]
    assert buried.records[0].value == value
    report = from_headers(buried.records[0].headers)
    assert report is not None
    assert report.event_id == event_id
    site.processor.committed(buried)
    assert site.counts() == {(EVENTS, "dead_letter"): 1, ("eventmill_dead_letters_total", "record_too_large"): 1}


async def test_what_is_away_is_not_an_events_failure() -> None:
    """While the registry is away an event waits at its gate: nothing is settled, nothing is counted."""

    class Away:
        async def schema(self, schema_id: int) -> AvroReader:
            raise RegistryUnreachable("no answer")

    class Waiting(Gate):
        async def wait_open(self, unavailable: Unavailable, attempt: int) -> None:
            raise TimeoutError

    site = Site(ask)
    stage = Stage("s", ("in",), Format.AVRO, "id", None, None, (), ResultSchema({}, "r.avsc"))
    site.processor._decoder = Decoder(stage, Away())
    with pytest.raises(TimeoutError):
        await site.processor.run(RawRecord(Source("in", 0, 1), b"k", MAIL, (), 0), Waiting())
    assert site.counts() == {}


async def test_case_100_hostile_model_names_stay_within_bounds() -> None:
    """What a server calls its models is any text: few are told apart, all is counted, and /metrics stays valid.

    Tenants are no label at all. The true names are in the cost events.
    """
    names = [f'm{number}"\n\\{{}}\u202e' + "x" * 150 for number in range(3 * MODEL_LABELS)]
    answers = [replied(json.dumps({"word": "w"}), model=name) for name in names]
    site = Site(ask, *answers)
    record = RawRecord(Source("in", 0, 4), b"k", MAIL, (), 0)
    costs = [cost for _ in names for cost in (await site.processor.run(record, Gate())).costs]
    assert [cost.model for cost in costs] == names
    page = generate_latest(site.metrics.registry).decode()
    families = {family.name: family for family in text_string_to_metric_families(page)}
    calls = [sample for sample in families["eventmill_calls"].samples if sample.name == "eventmill_calls_total"]
    assert len(calls) == MODEL_LABELS + 1
    assert sum(sample.value for sample in calls) == len(names)
    assert {sample.labels["model"] for sample in calls} == {*names[:MODEL_LABELS], "other"}
    assert len(page) < 1_000_000
