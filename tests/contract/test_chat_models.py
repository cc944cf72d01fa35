"""What every chat model guarantees, the real client and the double alike (eventmill_agents.ports.ChatModels)."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Protocol

import orjson
import pytest

from eventmill.dev.model.faults import Fates, Latency
from eventmill.dev.model.server import StandIn
from eventmill_agents.ports import ChatModels
from eventmill_connectors.chat.clients import ChatClients
from eventmill_connectors.testing import Entry, ScriptedChat, replied, silence
from eventmill_schemas.chat import ChatReply, ChatRequest, Finish
from eventmill_schemas.errors import (
    AccountClosed,
    Ambiguous,
    EventmillError,
    ModelUnreachable,
    Overloaded,
    RateLimited,
    RequestRefused,
)
from eventmill_schemas.pipeline import ModelRef

SCHEMA = {
    "type": "object",
    "properties": {"summary": {"type": "string"}},
    "required": ["summary"],
    "additionalProperties": False,
}
PLENTY = 20.0   # seconds
SHORT = 0.2


def question(text: str) -> ChatRequest:
    """Ask for a summary of a text."""
    return ChatRequest("Be brief.", text, "summary", SCHEMA)


class Kind(Protocol):
    """A chat model to test: `model` is what it is asked for."""

    chat: ChatModels
    model: ModelRef

    def prepare(self, *markers: str) -> list[str]:
        """Make ready for requests that end as the markers say ("" is a good reply); return their texts."""

    def asked(self) -> int:
        """How many requests have arrived."""


class Real:
    """The client against the stand-in, over a real connection."""

    def __init__(self, server: StandIn) -> None:
        self.server = server
        self.chat = ChatClients(environ={"OPENAI_API_KEY": "sk-contract"})
        self.model = ModelRef("openai", "gpt-5-mini", server.base_url)

    def prepare(self, *markers: str) -> list[str]:
        """Give texts whose marker tells the stand-in what to do."""
        marks = [f" [[stand-in:{marker}]]" if marker else "" for marker in markers]
        return [f"Text {number}.{mark}" for number, mark in enumerate(marks)]

    def asked(self) -> int:
        """Return the calls in the stand-in's account."""
        return len(self.server.ledger)


class Double:
    """The scripted double: its script says what the stand-in would do."""

    def __init__(self) -> None:
        self.chat = ScriptedChat()
        self.model = ModelRef("openai", "gpt-5-mini")

    def prepare(self, *markers: str) -> list[str]:
        """Write the script that belongs to the markers."""
        self.chat = ScriptedChat(*(_SCRIPT.get(marker, _summarise) for marker in markers))
        return [f"Text {number}." for number, _ in enumerate(markers)]

    def asked(self) -> int:
        """Return what the double recorded."""
        return len(self.chat.asked)


def _summarise(model: ModelRef, request: ChatRequest) -> ChatReply:
    return replied(orjson.dumps({"summary": request.user}).decode(), model=model.model)


_SCRIPT: dict[str, Entry] = {
    "truncate": replied('{"summ', finish=Finish.TRUNCATED),
    "refuse": replied("No.", finish=Finish.REFUSED),
    "429": RateLimited("too fast", retry_after=1.0),
    "503": Overloaded("busy", retry_after=1.0),
    "500": Ambiguous("broken"),
    "reset": Ambiguous("broken off"),
    "timeout": silence,
    "400": RequestRefused("wrong"),
    "401": AccountClosed("who are you"),
    "402": AccountClosed("no money"),
}


@pytest.fixture(params=["real", "double"])
async def kind(request: pytest.FixtureRequest) -> AsyncIterator[Kind]:
    """Give each kind of chat model."""
    if request.param == "double":
        yield Double()
        return
    async with StandIn(Fates(latency=Latency("uniform", (0.0, 0.02)))) as server:
        real = Real(server)
        yield real
        await real.chat.close()


async def test_a_reply_follows_its_schema_and_is_billed(kind: Kind) -> None:
    """Text, finish, usage and the model are there."""
    (text,) = kind.prepare("")
    reply = await kind.chat.complete(kind.model, question(text), PLENTY)
    assert list(orjson.loads(reply.text)) == ["summary"]
    assert reply.finish is Finish.OK
    assert reply.usage is not None
    assert reply.usage.input_tokens > 0
    assert reply.model == "gpt-5-mini"
    assert reply.response_id


async def test_every_request_gets_its_own_reply(kind: Kind) -> None:
    """Two hundred at a time, answered in any order: nobody gets another's answer."""
    texts = kind.prepare(*[""] * 200)
    replies = await asyncio.gather(*(kind.chat.complete(kind.model, question(text), PLENTY) for text in texts))
    assert [orjson.loads(reply.text)["summary"] for reply in replies] == texts


@pytest.mark.parametrize(("marker", "finish"), [("truncate", Finish.TRUNCATED), ("refuse", Finish.REFUSED)])
async def test_unusable_replies_are_returned_with_their_usage(kind: Kind, marker: str, finish: Finish) -> None:
    """They were paid for: returned, not raised."""
    (text,) = kind.prepare(marker)
    reply = await kind.chat.complete(kind.model, question(text), PLENTY)
    assert reply.finish is finish
    assert reply.usage is not None


@pytest.mark.parametrize(
    ("marker", "error"),
    [
        ("429", RateLimited),
        ("503", Overloaded),
        ("500", Ambiguous),
        ("reset", Ambiguous),
        ("400", RequestRefused),
        ("401", AccountClosed),
        ("402", AccountClosed),
    ],
)
async def test_a_failure_is_raised_after_one_attempt(kind: Kind, marker: str, error: type[EventmillError]) -> None:
    """One request is sent, never a second; the error's class says what to do, and a busy server's wish is kept."""
    (text,) = kind.prepare(marker)
    with pytest.raises(error) as caught:
        await kind.chat.complete(kind.model, question(text), PLENTY)
    assert type(caught.value) is error
    assert kind.asked() == 1
    if isinstance(caught.value, RateLimited | Overloaded):
        assert caught.value.retry_after == 1.0


async def test_the_deadline_is_kept(kind: Kind) -> None:
    """A call that is served and never answered ends in time, as one that may have been billed."""
    (text,) = kind.prepare("timeout")
    start = time.monotonic()
    with pytest.raises(Ambiguous):
        await kind.chat.complete(kind.model, question(text), SHORT)
    assert SHORT <= time.monotonic() - start < SHORT + 2
    assert kind.asked() == 1


async def test_a_call_can_be_cancelled(kind: Kind) -> None:
    """Cancelling ends the call at once, and the next one works."""
    texts = kind.prepare("timeout", "")
    call = asyncio.ensure_future(kind.chat.complete(kind.model, question(texts[0]), PLENTY))
    while not kind.asked():   # noqa: ASYNC110 - neither the server nor the double has an event to wait for
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    reply = await kind.chat.complete(kind.model, question(texts[1]), PLENTY)
    assert reply.finish is Finish.OK


async def test_a_server_that_is_not_there_is_unreachable() -> None:
    """Nothing was sent: an Unavailable, on which a door closes, and no attempt."""
    async with StandIn() as server:
        model = ModelRef("openai", "gpt-5-mini", server.base_url)
    async with ChatClients(environ={}) as chat:
        with pytest.raises(ModelUnreachable):
            await chat.complete(model, question("x"), PLENTY)
    double = ScriptedChat(ModelUnreachable("away"))
    with pytest.raises(ModelUnreachable):
        await double.complete(model, question("x"), PLENTY)


async def test_a_script_that_is_used_up_says_so() -> None:
    """A request that the test did not expect is an error of the test, unless `then` answers it."""
    chat, model = ScriptedChat(replied()), ModelRef("openai", "m")
    await chat.complete(model, question("a"), 1)
    with pytest.raises(LookupError, match="Request 2 came, and the script has 1 entries"):
        await chat.complete(model, question("b"), 1)
    assert [(asked.request.user, asked.timeout) for asked in chat.asked] == [("a", 1), ("b", 1)]
    endless = ScriptedChat(then=replied("{}"))
    assert (await endless.complete(model, question("a"), 1)).text == "{}"
