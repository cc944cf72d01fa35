"""What a stage does to one event, from `when` to the outcome."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill_agents.cost import total_cost
from eventmill_agents.enrich import Enricher
from eventmill_agents.outcome import DeadLetter, Outcome, Provenance, Result, Skip
from eventmill_connectors.testing import ScriptedChat, replied, silence
from eventmill_schemas.chat import ChatReply, ChatRequest, Finish
from eventmill_schemas.errors import (
    Ambiguous,
    EventError,
    InvalidReply,
    ModelUnreachable,
    Overloaded,
    RateLimited,
    RequestRefused,
    Unavailable,
    UsageError,
)
from eventmill_schemas.events import Event
from eventmill_schemas.pipeline import CompleteStep, PythonStep, Stage

CATEGORY = {"name": "category", "type": {"type": "enum", "name": "Category", "symbols": ["URGENT", "LATER"]}}
SUMMARY = {"name": "summary", "type": "string"}
SUBJECT = {"name": "subject", "type": "string", "from": "event.subject"}
BROKEN = {"name": "subject", "type": "string", "from": "event.subject |"}
GOOD = replied('{"category": "URGENT", "summary": "It burns."}')


@dataclass(frozen=True)
class Kit:
    """What the tests make their stages and events with."""

    stage: Callable[..., Stage]
    enricher: Callable[..., Enricher]
    complete: Callable[..., CompleteStep]
    event: Callable[..., Event]
    gate: Callable[[], Any]


@pytest.fixture(scope="session")
def kit(stage: Any, enricher: Any, complete_step: Any, event: Any, make_gate: Any) -> Kit:
    """Give the makers of this folder in one piece."""
    return Kit(stage, enricher, complete_step, event, make_gate)


def python(name: str) -> PythonStep:
    """Return a python step whose function is called like it."""
    return PythonStep(name, f"user:{name}")


def functions(**by_name: Any) -> dict[str, Any]:
    """Return functions by target."""
    return {f"user:{name}": function for name, function in by_name.items()}


async def test_complete_and_computed(kit: Kit) -> None:
    """A model's answer and the computed fields are the result, with the model and prompt that made it and its cost."""
    made = kit.enricher(kit.stage(kit.complete(), fields=[CATEGORY, SUMMARY, SUBJECT]), ScriptedChat(GOOD))
    outcome = await made.enrich(kit.event(body="Fire!", subject="Help"), kit.gate())
    assert outcome.end == Result(
        {"category": "URGENT", "summary": "It burns.", "subject": "Help"}, Provenance("gpt-5-mini", "triage@3")
    )
    (cost,) = outcome.costs
    assert (cost.stage, cost.step, cost.prompt, cost.outcome) == ("triage", "complete", "triage@3", "ok")
    assert total_cost(outcome.costs) == Decimal("0.0000125")


async def test_what_the_model_is_asked(kit: Kit) -> None:
    """The request holds the rendered prompt, its parameters, and a schema of exactly the fields that a model fills."""
    chat = ScriptedChat(GOOD)
    fields = [CATEGORY, {**SUMMARY, "doc": "One sentence."}, SUBJECT, {"name": "tenant", "type": ["null", "string"]}]
    made = kit.enricher(kit.stage(kit.complete(), fields=fields), chat)
    await made.enrich(kit.event(body="It is on fire", subject="x"), kit.gate())
    request = chat.asked[0].request
    assert request.system.startswith("Sort the mail.\n\nText between a tag")
    assert "\nIt is on fire\n</data-" in request.user
    assert dict(request.parameters) == {"max_output_tokens": 100}
    assert request.schema is not None
    assert list(request.schema["properties"]) == ["category", "summary"]
    assert request.schema["properties"]["summary"]["description"] == "One sentence."


async def test_answers_become_avro_values(kit: Kit) -> None:
    """Dates, times and decimals in the answer have the types of the result schema."""
    fields = [
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "sum", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "note", "type": ["null", "string"], "default": None},
    ]
    text = '{"day": "2026-02-03", "at": "2026-02-03T04:05:06Z", "sum": "12.5", "note": null}'
    made = kit.enricher(kit.stage(kit.complete(), fields=fields), ScriptedChat(replied(text)))
    end = (await made.enrich(kit.event(body="x"), kit.gate())).end
    assert isinstance(end, Result)
    assert end.fields == {
        "day": date(2026, 2, 3),
        "at": datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC),
        "sum": Decimal("12.50"),
        "note": None,
    }


async def test_answer_without_avro_value(kit: Kit) -> None:
    """An answer that JSON Schema lets pass and Avro has no value for is InvalidReply of that step, and paid for."""
    fields = [{"name": "day", "type": {"type": "int", "logicalType": "date"}}]
    made = kit.enricher(kit.stage(kit.complete(), fields=fields), ScriptedChat(replied('{"day": "2026-02-31"}')))
    outcome = await made.enrich(kit.event(body="x"), kit.gate())
    assert isinstance(outcome.end, DeadLetter)
    assert isinstance(outcome.end.error, InvalidReply)
    assert outcome.end.step == "complete"
    assert len(outcome.costs) == 1


async def test_steps_run_in_order_and_see_what_was_before(kit: Kit) -> None:
    """Each step sees the fields of those before it; later ones win; the last model is the result's."""

    async def shorten(event: Event, so_far: Any, call: Any) -> Any:
        return {"summary": so_far["summary"][:2]}

    steps = [
        kit.complete(name="first", fields=("summary",), user="{{ event.body }}"),
        python("shorten"),
        kit.complete(name="second", user="Sort: {{ result.summary }}"),
    ]
    replies = [replied('{"summary": "It burns."}'), replied('{"category": "LATER"}', model="gpt-5")]
    chat = ScriptedChat(*replies)
    made = kit.enricher(kit.stage(*steps, fields=[CATEGORY, SUMMARY]), chat, functions(shorten=shorten))
    outcome = await made.enrich(kit.event(body="x"), kit.gate())
    assert outcome.end == Result({"summary": "It", "category": "LATER"}, Provenance("gpt-5", "triage@3"))
    assert chat.asked[1].request.user == "Sort: It"
    assert [cost.step for cost in outcome.costs] == ["first", "second"]


@pytest.mark.parametrize(("when", "admitted"), [("event.n > 3", True), ("event.n > 9", False), ("meta.tenant", True)])
async def test_when(kit: Kit, when: str, admitted: bool) -> None:
    """Where `when` is false the event ends without a result and without any call."""
    chat = ScriptedChat(GOOD)
    made = kit.enricher(kit.stage(kit.complete(), fields=[CATEGORY, SUMMARY], when=when), chat)
    outcome = await made.enrich(kit.event(body="x", n=5), kit.gate())
    if admitted:
        assert isinstance(outcome.end, Result)
        assert made.enrich_now(kit.event(body="x", n=5)) is None
    else:
        assert outcome == made.enrich_now(kit.event(body="x", n=5)) == Outcome(Skip("when"))
        assert chat.asked == []


async def test_pass_through_needs_no_waiting(kit: Kit) -> None:
    """A stage of computed fields gives its outcome at once, the same as by waiting."""
    fields = [
        SUBJECT,
        {"name": "n", "type": "long", "from": "event.n * 2"},
        {"name": "twice", "type": "long", "from": "result.n * 2"},
        {"name": "where", "type": "string", "from": "meta.topic"},
        {"name": "x", "type": "string", "default": "d"},
    ]
    made = kit.enricher(kit.stage(fields=fields, when="event.n"))
    wanted = Outcome(Result({"subject": "s", "n": 6, "twice": 12, "where": "mails"}))
    assert made.enrich_now(kit.event(subject="s", n=3)) == wanted
    assert await made.enrich(kit.event(subject="s", n=3), kit.gate()) == wanted


@pytest.mark.parametrize(
    ("when", "fields", "kind", "part"),
    [
        ("event.missing", [SUBJECT], "missing_field", "`when` 'event.missing'"),
        ("event.n / 0", [SUBJECT], "template_failed", "division by zero"),
        (None, [{"name": "a", "type": "string", "from": "event.missing"}], "missing_field", "`from` of field 'a'"),
        (None, [{"name": "a", "type": "string", "from": "event.n ~ event.n / 0"}], "template_failed", "division"),
    ],
)
async def test_condition_failures_are_dead_letters(
    kit: Kit, when: str | None, fields: list[Any], kind: str, part: str
) -> None:
    """A condition or computed field that can't be evaluated is a dead letter of no step, at once and by waiting."""
    made = kit.enricher(kit.stage(fields=fields, when=when))
    for outcome in (made.enrich_now(kit.event(n=1)), await made.enrich(kit.event(n=1), kit.gate())):
        assert isinstance(outcome.end, DeadLetter)
        assert (outcome.end.error.kind, outcome.end.step, outcome.costs) == (kind, None, ())
        assert part in str(outcome.end.error)
        assert "stage 'triage'" in str(outcome.end.error)


@pytest.mark.parametrize(
    ("entry", "kind", "costs"),
    [
        (RequestRefused("400"), "request_refused", 1),
        (replied("nonsense"), "invalid_reply", 1),
        (replied("{}", finish=Finish.TRUNCATED), "truncated_reply", 1),
        (replied("", finish=Finish.REFUSED), "refused_reply", 1),
        (RateLimited("x"), "call_failed", 3),
        (Overloaded("x"), "call_failed", 3),
        (Ambiguous("x"), "call_failed", 3),
    ],
)
async def test_failed_call_is_a_dead_letter_with_its_costs(kit: Kit, entry: Any, kind: str, costs: int) -> None:
    """Whatever a call ends in: the dead letter names step and kind, and every attempt is in the costs."""
    made = kit.enricher(kit.stage(kit.complete(name="ask"), fields=[SUMMARY]), ScriptedChat(then=entry))
    outcome = await made.enrich(kit.event(body="x"), kit.gate())
    assert isinstance(outcome.end, DeadLetter)
    assert (outcome.end.error.kind, outcome.end.step, len(outcome.costs)) == (kind, "ask", costs)


async def test_prompt_failure_is_a_dead_letter_without_a_call(kit: Kit) -> None:
    """An event without the field that a prompt needs is never asked about."""
    chat = ScriptedChat()
    outcome = await kit.enricher(kit.stage(kit.complete(), fields=[SUMMARY]), chat).enrich(kit.event(), kit.gate())
    assert isinstance(outcome.end, DeadLetter)
    assert (outcome.end.error.kind, outcome.end.step, outcome.costs) == ("missing_field", "complete", ())


async def test_failure_after_a_paid_call_keeps_its_cost(kit: Kit) -> None:
    """What was paid before a later step failed is in the outcome, whether that is a dead letter or a skip."""

    async def fail(event: Event, so_far: Any, call: Any) -> Any:
        raise ValueError("no")

    async def skip(event: Event, so_far: Any, call: Any) -> Any:
        return Skip("late")

    for function, end in ((fail, DeadLetter), (skip, Skip)):
        steps = [kit.complete(fields=("category", "summary")), python("last")]
        made = kit.enricher(kit.stage(*steps, fields=[CATEGORY, SUMMARY]), ScriptedChat(GOOD), functions(last=function))
        outcome = await made.enrich(kit.event(body="x"), kit.gate())
        assert isinstance(outcome.end, end)
        assert len(outcome.costs) == 1


async def test_computed_field_that_fails_after_the_steps(kit: Kit) -> None:
    """A computed field is no step's fault: the dead letter names none, and what was paid is in it."""
    made = kit.enricher(kit.stage(kit.complete(), fields=[CATEGORY, SUMMARY, SUBJECT]), ScriptedChat(GOOD))
    outcome = await made.enrich(kit.event(body="x"), kit.gate())
    assert isinstance(outcome.end, DeadLetter)
    assert (outcome.end.error.kind, outcome.end.step, len(outcome.costs)) == ("missing_field", None, 1)


async def test_every_field_must_be_filled(kit: Kit) -> None:
    """A field without default that no step has filled is UnstorableResult that names it."""

    async def half(event: Event, so_far: Any, call: Any) -> Any:
        return {"summary": "x"}

    fields = [SUMMARY, CATEGORY, {"name": "note", "type": ["null", "string"], "default": None}]
    made = kit.enricher(kit.stage(python("half"), fields=fields), None, functions(half=half))
    outcome = await made.enrich(kit.event(), kit.gate())
    assert isinstance(outcome.end, DeadLetter)
    assert outcome.end.error.kind == "unstorable_result"
    assert "'category'" in str(outcome.end.error)


@pytest.mark.parametrize(
    ("build", "part"),
    [
        (lambda step: {"steps": [step()], "when": "evnt.x"}, "stage 'triage', `when` 'evnt.x': unknown name 'evnt'"),
        (lambda step: {"steps": [step()], "when": "result.x"}, "unknown name 'result'"),
        (lambda step: {"steps": [step(user="{{ result.sumary }}")]}, "result.sumary does not exist"),
        (lambda step: {"steps": [step()], "fields": [SUMMARY, BROKEN]}, "`from` of field 'subject'"),
        (lambda step: {"steps": [step(user="{{ event.x")]}, "prompts/triage.md"),
        (lambda step: {"steps": [step(route="nowhere")]}, "'nowhere', which does not exist. Routes: writer"),
        (lambda step: {"steps": [step(), step(name="b")]}, "more than one `complete` step without `fields`"),
        (lambda step: {"steps": [step(fields=("nope",))]}, "'nope'"),
        (lambda step: {"steps": [step(fields=("summary",)), step(name="b")]}, "step 'b' has no field left to fill"),
        (lambda step: {"steps": [step()], "fields": [{"name": "x", "type": "bytes"}]}, "'x'"),
        (lambda step: {"steps": [python("gone")]}, "'user:gone', which is not loaded"),
        (lambda step: {"steps": []}, "no step that fills the field 'summary'"),
    ],
)
def test_what_can_never_work_is_told_at_the_start(kit: Kit, build: Any, part: str) -> None:
    """A mistake in stage, prompt, schema or route is a UsageError before the first event."""
    built = build(kit.complete)
    with pytest.raises(UsageError) as caught:
        kit.enricher(kit.stage(*built.pop("steps"), **{"fields": [SUMMARY], **built}))
    assert part in str(caught.value)


async def test_replay_gives_the_same(kit: Kit) -> None:
    """The same event and replies give the same fields, call ids and cost ids; another offset other cost ids."""

    async def run(**settings: Any) -> Outcome:
        chat = ScriptedChat(RateLimited("x"), GOOD)
        made = kit.enricher(kit.stage(kit.complete(), fields=[CATEGORY, SUMMARY]), chat)
        return await made.enrich(kit.event(body="It is on fire", **settings), kit.gate())

    first, second, other = await run(), await run(), await run(id="e-2")
    assert first.end == second.end
    ids = [[(cost.call_id, cost.cost_id) for cost in outcome.costs] for outcome in (first, second, other)]
    assert ids[0] == ids[1]
    assert not {identity for pair in ids[0] for identity in pair} & {identity for pair in ids[2] for identity in pair}


async def test_defects_go_through(kit: Kit) -> None:
    """What no event can cause is no dead letter: a defect stops the process, it does not empty the topic."""
    made = kit.enricher(kit.stage(kit.complete(), fields=[SUMMARY]), ScriptedChat())   # an empty script: LookupError
    with pytest.raises(LookupError):
        await made.enrich(kit.event(body="x"), kit.gate())


class StuckGate:
    """A gate that keeps everybody."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()

    async def pause(self, seconds: float, reason: str) -> None:
        """Wait for ever."""
        self.reached.set()
        await asyncio.Event().wait()

    async def wait_open(self, unavailable: Unavailable, attempt: int) -> None:
        """Wait for ever."""
        self.reached.set()
        await asyncio.Event().wait()

    def opened(self, kind: type[Unavailable]) -> None:
        """Nothing is closed here."""


@pytest.mark.parametrize("where", ["call", "pause", "door", "async step", "thread", "queue for the call"])
async def test_cancellation_at_every_wait(kit: Kit, where: str) -> None:
    """Cancelled at any wait, enrich raises CancelledError at once and leaves no task behind."""
    gate = StuckGate()

    async def hang(model: Any, request: ChatRequest) -> ChatReply:
        gate.reached.set()
        return await silence(model, request)

    async def wait(event: Event, so_far: Any, call: Any) -> Any:
        gate.reached.set()
        await asyncio.sleep(3600)

    def ask_in_thread(event: Event, so_far: Any, call: Any) -> Any:
        return call.complete(route="writer", system="s", user="u", schema={"type": "object"})

    async def ask_twice(event: Event, so_far: Any, call: Any) -> Any:
        asked = {"route": "writer", "system": "s", "schema": {"type": "object"}}
        await asyncio.gather(*(call.complete(user=str(n), **asked) for n in range(3)))

    script = {"call": hang, "pause": RateLimited("x"), "door": ModelUnreachable("x")}
    python_steps = {"async step": wait, "thread": ask_in_thread, "queue for the call": ask_twice}
    if where in script:
        made = kit.enricher(kit.stage(kit.complete(), fields=[SUMMARY]), ScriptedChat(script[where]))
    else:
        loaded = functions(f=python_steps[where])
        made = kit.enricher(kit.stage(python("f"), fields=[SUMMARY]), ScriptedChat(hang), loaded)
    before = asyncio.all_tasks()
    task = asyncio.create_task(made.enrich(kit.event(body="x"), gate))
    await gate.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == before


ANY_FIELDS = st.dictionaries(
    st.sampled_from(["body", "subject", "n", "list"]),
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=5,
    ),
)


@given(fields=ANY_FIELDS, id=st.text(max_size=5), reply=st.text(max_size=20) | st.just('{"summary": "\\ud800"}'))
async def test_no_event_and_no_reply_raises(
    kit: Kit,
    fields: dict[str, Any], id: str, reply: str,   # noqa: A002 - the event's own word
) -> None:
    """Over any event and any reply: an outcome, and never an exception; the request is sendable."""
    step = kit.complete(user="{{ event.body }}{{ event.list | join(',') }}{% for x in event.n %}{{ x }}{% endfor %}")
    chat = ScriptedChat(then=replied(reply))
    made: Enricher = kit.enricher(kit.stage(step, fields=[SUMMARY, SUBJECT], when="event.n != 3"), chat)
    outcome = await made.enrich(kit.event(id=id, **fields), kit.gate())
    assert isinstance(outcome.end, Result | DeadLetter | Skip)
    assert len(outcome.costs) == len(chat.asked)
    for asked in chat.asked:
        json.dumps([asked.request.system, asked.request.user], ensure_ascii=False).encode()
    if isinstance(outcome.end, DeadLetter):
        assert isinstance(outcome.end.error, EventError)
