"""Model calls on behalf of one event."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill_agents.calls import Calls
from eventmill_agents.outcome import Provenance
from eventmill_connectors.testing import ScriptedChat, replied, silence
from eventmill_schemas.chat import ChatReply, ChatRequest, Finish
from eventmill_schemas.cost import Certainty
from eventmill_schemas.errors import (
    AccountClosed,
    Ambiguous,
    CallFailed,
    EventError,
    EventmillError,
    InvalidReply,
    ModelUnreachable,
    Overloaded,
    RateLimited,
    RefusedReply,
    RequestRefused,
    TruncatedReply,
    UsageError,
)
from eventmill_schemas.pipeline import ModelRef

MakeCalls = Callable[..., Calls]

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
GOOD = replied('{"a": 1}')
FIRST = ModelRef("openai", "gpt-5-mini")
SECOND = ModelRef("openai", "gpt-5")


async def ask(calls: Calls, user: str = "How many?", **asked: Any) -> Any:
    """Ask as the step `count`, with what the test says otherwise."""
    port = calls.port(asked.pop("step", "count"))
    return await port.complete(
        **{"route": "writer", "system": "Count.", "user": user, "schema": SCHEMA, "prompt": "count@1", **asked}
    )


def account(calls: Calls) -> list[tuple[int, str, str, Certainty]]:
    """Return what the cost events say in short."""
    return [(cost.attempt, cost.model, cost.outcome, cost.certainty) for cost in calls.costs]


async def test_answer(calls: MakeCalls, gate: Any) -> None:
    """A good reply is the answer, one exact cost event, and the result's provenance."""
    chat = ScriptedChat(GOOD)
    made = calls(chat)
    assert await ask(made, parameters={"seed": 1}) == {"a": 1}
    assert account(made) == [(1, "gpt-5-mini", "ok", Certainty.EXACT)]
    assert made.provenance == Provenance("gpt-5-mini", "count@1")
    assert made.costs[0].call_id != made.costs[0].cost_id
    (asked,) = chat.asked
    assert asked.request == ChatRequest("Count.", "How many?", "count", SCHEMA, {"seed": 1})
    assert asked.timeout == 120
    assert set(gate.opens) == {"model_unreachable", "account_closed"}


async def test_schema_name_fits_every_provider(calls: MakeCalls) -> None:
    """A step's name becomes a schema name of letters, digits, - and _, at most 64 long."""
    chat = ScriptedChat(GOOD)
    await ask(calls(chat), step="schritt für kunden." + "x" * 80)
    name = chat.asked[0].request.schema_name
    assert name is not None
    assert name.startswith("schritt_f_r_kunden_x")
    assert len(name) == 64


async def test_request_is_storable(calls: MakeCalls) -> None:
    """Text from a python step is made storable before it is hashed and sent."""
    chat = ScriptedChat(GOOD)
    await ask(calls(chat), "a\0\ud800", system="b\0\ud800")
    assert (chat.asked[0].request.user, chat.asked[0].request.system) == ("a\ufffd", "b\ufffd")


@pytest.mark.parametrize(
    ("reply", "error", "kind"),
    [
        pytest.param(replied('{"a": 1}', finish=Finish.TRUNCATED), TruncatedReply, "truncated_reply", id="case_25"),
        pytest.param(replied("", finish=Finish.TRUNCATED), TruncatedReply, "truncated_reply", id="case_35"),
        pytest.param(replied("No.", finish=Finish.REFUSED), RefusedReply, "refused_reply", id="case_24"),
        pytest.param(replied("", finish=Finish.FILTERED), RefusedReply, "refused_reply", id="filtered"),
        pytest.param(replied('{"a": 1}', finish=Finish.UNKNOWN), InvalidReply, "invalid_reply", id="case_28"),
        pytest.param(replied('{"a": "1"}'), InvalidReply, "invalid_reply", id="case_33"),
        pytest.param(replied('```{"a": 1}```'), InvalidReply, "invalid_reply", id="case_34"),
    ],
)
async def test_unusable_reply_ends_the_call(
    calls: MakeCalls, gate: Any, reply: ChatReply, error: type[EventError], kind: str
) -> None:
    """A reply that can't be used is paid for and not asked for again, neither here nor at the next model."""
    made = calls(ScriptedChat(reply), route=(FIRST, SECOND))
    with pytest.raises(error):
        await ask(made)
    assert account(made) == [(1, "gpt-5-mini", kind, Certainty.EXACT)]
    assert made.costs[0].cost
    assert made.provenance == Provenance()
    assert gate.pauses == []


async def test_refused_request_ends_the_call(calls: MakeCalls) -> None:
    """A request that the server calls wrong is not repeated and costs exactly nothing."""
    made = calls(ScriptedChat(RequestRefused("400 bad schema")), route=(FIRST, SECOND))
    with pytest.raises(RequestRefused):
        await ask(made)
    assert account(made) == [(1, "gpt-5-mini", "request_refused", Certainty.EXACT)]
    assert made.costs[0].cost == 0


async def test_failed_attempts_are_repeated_and_accounted(calls: MakeCalls, gate: Any) -> None:
    """Each attempt is one cost event, numbered, with what came of it; the pauses name their reason."""
    made = calls(ScriptedChat(RateLimited("slow down", retry_after=2), Ambiguous("reset"), GOOD))
    assert await ask(made) == {"a": 1}
    assert account(made) == [
        (1, "gpt-5-mini", "rate_limited", Certainty.EXACT),
        (2, "gpt-5-mini", "ambiguous", Certainty.UNCERTAIN),
        (3, "gpt-5-mini", "ok", Certainty.EXACT),
    ]
    assert [reason for _, reason in gate.pauses] == ["rate_limited", "ambiguous"]
    assert gate.pauses[0][0] == 2
    assert len({cost.cost_id for cost in made.costs}) == 3
    assert len({cost.call_id for cost in made.costs}) == 1


async def test_case_73_a_call_that_always_fails(calls: MakeCalls) -> None:
    """After the last attempt at the last model the call has failed: how often, at what, and why the last time."""
    chat = ScriptedChat(then=Overloaded("503 busy"))
    made = calls(chat, route=(FIRST, SECOND), attempts=2)
    with pytest.raises(CallFailed) as caught:
        await ask(made)
    assert "4 attempts at openai/gpt-5-mini, openai/gpt-5" in str(caught.value)
    assert "overloaded: 503 busy" in str(caught.value)
    assert isinstance(caught.value.__cause__, Overloaded)
    assert [(attempt, model) for attempt, model, _, _ in account(made)] == [
        (1, "gpt-5-mini"), (2, "gpt-5-mini"), (3, "gpt-5"), (4, "gpt-5"),
    ]


@pytest.mark.parametrize(
    "error", [Overloaded("x"), RateLimited("x"), Ambiguous("x"), RateLimited("x", retry_after=1e6)]
)
async def test_next_model_when_the_first_is_used_up(calls: MakeCalls, error: EventmillError) -> None:
    """The route's next model is asked once the first has failed for good, with the same request."""
    chat = ScriptedChat(error, replied('{"a": 2}', model="gpt-5"))
    made = calls(chat, route=(FIRST, SECOND), attempts=1)
    assert await ask(made) == {"a": 2}
    assert [asked.model for asked in chat.asked] == [FIRST, SECOND]
    assert chat.asked[0].request == chat.asked[1].request
    assert made.provenance.model == "gpt-5"


async def test_case_09_server_that_forbids_repeating_is_asked_once(calls: MakeCalls, gate: Any) -> None:
    """A server that fails and asks not to be asked again ends its model's part, not the route; it may have billed."""
    chat = ScriptedChat(CallFailed("500, do not repeat"), replied('{"a": 2}', model="gpt-5"))
    made = calls(chat, route=(FIRST, SECOND))
    assert await ask(made) == {"a": 2}
    assert [certainty for _, _, _, certainty in account(made)] == [Certainty.UNCERTAIN, Certainty.EXACT]
    alone = calls(ScriptedChat(CallFailed("500, do not repeat")))
    with pytest.raises(CallFailed, match="1 attempts at openai/gpt-5-mini failed, the last with call_failed: 500"):
        await ask(alone)
    assert gate.pauses == []


@pytest.mark.parametrize("error", [ModelUnreachable("no route"), AccountClosed("no money")])
async def test_an_absent_model_is_waited_for_without_limit(calls: MakeCalls, gate: Any, error: EventmillError) -> None:
    """Waiting at the door is no attempt: it has no limit, costs nothing, and the waits are counted for the gate."""
    made = calls(ScriptedChat(*[error] * 50, GOOD), attempts=1, deadline=1.5)
    assert await ask(made) == {"a": 1}
    assert gate.waits == [(error.kind, n) for n in range(1, 51)]
    assert account(made) == [(1, "gpt-5-mini", "ok", Certainty.EXACT)]
    assert gate.pauses == []


async def test_waiting_takes_nothing_off_the_attempts(calls: MakeCalls, gate: Any) -> None:
    """Attempts are counted over the waits in between, and the failures in between are attempts."""
    script = [Overloaded("1"), ModelUnreachable("a"), Overloaded("2"), ModelUnreachable("b"), Overloaded("3"), GOOD]
    made = calls(ScriptedChat(*script), attempts=3)
    with pytest.raises(CallFailed, match="3 attempts"):
        await ask(made)
    assert len(gate.waits) == 2


async def test_next_model_while_the_first_is_away(calls: MakeCalls, gate: Any) -> None:
    """Nobody waits at a door while another model of the route can be asked."""
    made = calls(ScriptedChat(ModelUnreachable("x"), replied('{"a": 2}', model="gpt-5")), route=(FIRST, SECOND))
    assert await ask(made) == {"a": 2}
    assert (gate.waits, [cost.attempt for cost in made.costs]) == ([], [1])


async def test_door_closes_when_no_model_can_be_reached(calls: MakeCalls, gate: Any) -> None:
    """With all models away the event waits, then begins at the first again; a used up model is not asked again."""
    script = [ModelUnreachable("1"), Overloaded("2"), ModelUnreachable("3"), GOOD]
    chat = ScriptedChat(*script)
    assert await ask(calls(chat, route=(FIRST, SECOND), attempts=1)) == {"a": 1}
    assert [asked.model.model for asked in chat.asked] == ["gpt-5-mini", "gpt-5", "gpt-5-mini", "gpt-5-mini"]
    assert gate.waits == [("model_unreachable", 1), ("model_unreachable", 2)]


async def test_attempt_has_what_is_left_of_the_time(calls: MakeCalls) -> None:
    """An attempt gets the model's timeout or what is left of the call's time, whichever is shorter."""
    chat = ScriptedChat(RateLimited("x", retry_after=4), GOOD)
    await ask(calls(chat, deadline=10))
    first, second = (asked.timeout for asked in chat.asked)
    assert first == pytest.approx(10, abs=0.5)
    assert second == pytest.approx(6, abs=0.5)
    quick = ModelRef("openai", "gpt-5-mini", timeout=timedelta(seconds=2))
    chat = ScriptedChat(GOOD)
    await ask(calls(chat, route=(quick,)))
    assert chat.asked[0].timeout == 2


async def test_no_further_model_without_time(calls: MakeCalls) -> None:
    """A fallback that would have less than a second is not tried: the call has failed."""

    async def slow(model: ModelRef, request: ChatRequest) -> ChatReply:
        await asyncio.sleep(0.25)
        raise Overloaded("busy")

    chat = ScriptedChat(slow, GOOD)
    made = calls(chat, route=(FIRST, SECOND), deadline=1.2)
    with pytest.raises(CallFailed, match="1 attempts"):
        await ask(made)
    assert made.costs[0].duration_ms >= 250


async def test_same_request_is_asked_once(calls: MakeCalls) -> None:
    """A repeated request gets the same answer without cost, even if the step has changed what it got first."""
    chat = ScriptedChat(GOOD)
    made = calls(chat)
    first = await ask(made)
    first["a"] = 99
    assert await ask(made) == {"a": 1}
    assert len(chat.asked) == len(made.costs) == 1


async def test_same_request_fails_the_same(calls: MakeCalls) -> None:
    """A failure is final for the request: asking again costs nothing and gives the same error."""
    made = calls(ScriptedChat(replied("nonsense")))
    errors = []
    for _ in range(2):
        with pytest.raises(InvalidReply) as caught:
            await ask(made)
        errors.append(caught.value)
    assert errors[0] is errors[1]
    assert len(made.costs) == 1


@pytest.mark.parametrize(
    "other",
    [{"user": "And now?"}, {"step": "other"}, {"parameters": {"seed": 2}}, {"prompt": "count@2"}, {"system": "x"}],
)
async def test_another_request_is_another_call(calls: MakeCalls, other: dict[str, Any]) -> None:
    """Another text, step, prompt or parameter is asked anew, under an id of its own."""
    made = calls(ScriptedChat(then=GOOD))
    await ask(made)
    await ask(made, **other)
    assert len({cost.call_id for cost in made.costs}) == 2
    assert len({cost.cost_id for cost in made.costs}) == 2


async def test_calls_of_one_event_are_made_one_after_the_other(calls: MakeCalls) -> None:
    """An event never has two calls in flight, so it never needs more than its one slot."""
    running, most = 0, 0

    async def answer(model: ModelRef, request: ChatRequest) -> ChatReply:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return GOOD

    made = calls(ScriptedChat(then=answer))
    await asyncio.gather(*(ask(made, f"{n}") for n in range(5)), ask(made, "0"))
    assert (most, len(made.costs)) == (1, 5)


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ({"route": "nowhere"}, "'nowhere'.*Routes: writer"),
        ({"schema": {"type": "nonsense"}}, "not a JSON Schema"),
        ({"schema": None}, "without a schema"),
    ],
)
async def test_impossible_request(calls: MakeCalls, asked: dict[str, Any], part: str) -> None:
    """A route that is not there and a schema that is none are the step's mistake; nothing is sent."""
    chat = ScriptedChat()
    with pytest.raises(UsageError, match=part):
        await ask(calls(chat), **asked)
    assert chat.asked == []


async def test_defects_are_not_dead_letters(calls: MakeCalls) -> None:
    """An exception outside the error tree is a defect: it goes through, and no attempt hides it."""
    made = calls(ScriptedChat())   # an empty script raises LookupError
    with pytest.raises(LookupError):
        await ask(made)
    assert made.costs == []


async def test_cancelled_attempt_is_accounted_as_uncertain(calls: MakeCalls) -> None:
    """A step's own timeout leaves a cost event, and the next try of the same request goes on counting."""
    sent = asyncio.Event()

    async def hang(model: ModelRef, request: ChatRequest) -> ChatReply:
        sent.set()
        return await silence(model, request)

    made = calls(ScriptedChat(hang, GOOD))
    task = asyncio.create_task(ask(made))
    await sent.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await ask(made) == {"a": 1}
    assert account(made) == [
        (1, "gpt-5-mini", "ambiguous", Certainty.UNCERTAIN), (2, "gpt-5-mini", "ok", Certainty.EXACT),
    ]
    assert len({cost.cost_id for cost in made.costs}) == 2


ENTRIES = st.sampled_from(
    [
        RateLimited("x"),
        RateLimited("x", retry_after=3),
        RateLimited("x", retry_after=1e9),
        Overloaded("x"),
        Ambiguous("x"),
        ModelUnreachable("x"),
        AccountClosed("x"),
        RequestRefused("x"),
        replied("nonsense"),
        replied('{"a": 1}', usage=None),
        replied('{"a": 1}', model="unknown-model"),
        GOOD,
    ]
)


@given(script=st.lists(ENTRIES, max_size=12), models=st.integers(1, 3), attempts=st.integers(1, 3))
async def test_every_sent_attempt_is_one_cost_event(
    calls_with: Callable[..., Calls], script: list[Any], models: int, attempts: int
) -> None:
    """Over any course: one cost event per request sent, numbered, with an id of its own; a replay gives the same."""
    route = tuple(ModelRef("openai", f"model-{n}") for n in range(models))

    async def play() -> tuple[Any, list[Any], ScriptedChat]:
        chat = ScriptedChat(*script, then=GOOD)
        made = calls_with(chat, route=route, attempts=attempts)
        try:
            outcome: Any = await ask(made)
        except EventError as error:
            outcome = (type(error), str(error))
        return outcome, made.costs, chat

    outcome, costs, chat = await play()
    entries = (script + [GOOD] * 50)[: len(chat.asked)]
    sent = [entry for entry in entries if not isinstance(entry, ModelUnreachable | AccountClosed)]
    assert [cost.attempt for cost in costs] == list(range(1, len(sent) + 1))
    assert len({cost.cost_id for cost in costs}) == len(costs)
    for entry, cost in zip(sent, costs, strict=True):
        assert cost.outcome == (entry.kind if isinstance(entry, EventmillError) else cost.outcome)
        assert (cost.cost is None) == (cost.certainty is not Certainty.EXACT)
        assert isinstance(entry, ChatReply) == (cost.outcome in ("ok", "invalid_reply"))
    assert len(sent) <= models * attempts
    again, costs_again, _ = await play()
    assert again == outcome
    assert [(cost.cost_id, cost.call_id, cost.cost) for cost in costs_again] == [
        (cost.cost_id, cost.call_id, cost.cost) for cost in costs
    ]
