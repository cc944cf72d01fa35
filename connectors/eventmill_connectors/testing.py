"""Doubles of the model side, for tests of whatever calls models.

They stand under the same contract tests as the real parts (tests/contract).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from decimal import Decimal
from inspect import isawaitable
from typing import NamedTuple

from eventmill_schemas.chat import ChatReply, ChatRequest, Finish, Usage
from eventmill_schemas.cost import Price
from eventmill_schemas.errors import Ambiguous, EventmillError
from eventmill_schemas.pipeline import ModelRef

Respond = Callable[[ModelRef, ChatRequest], ChatReply | Awaitable[ChatReply]]
Entry = ChatReply | EventmillError | Respond

SOME_USAGE = Usage(input_tokens=10, output_tokens=5)


class Asked(NamedTuple):
    """One request as it was received."""

    model: ModelRef
    request: ChatRequest
    timeout: float


class ScriptedChat:
    """Answers requests from a script, in order of arrival, and records them in `asked`.

    An entry of the script is a reply, an error to raise, or a function that is called (and awaited, if it says so)
    with the model and the request; `silence` is one that never answers. When the script is used up, `then` answers;
    without it a further request is a LookupError, because the test did not expect it.
    """

    def __init__(self, *script: Entry, then: Entry | None = None) -> None:
        self.asked: list[Asked] = []
        self._script = script
        self._then = then

    async def complete(self, model: ModelRef, request: ChatRequest, timeout: float) -> ChatReply:  # noqa: ASYNC109 - the port's signature
        """Play the next entry of the script. Like every chat model it ends within `timeout` seconds."""
        number = len(self.asked)
        self.asked.append(Asked(model, request, timeout))
        entry = self._script[number] if number < len(self._script) else self._then
        if entry is None:
            raise LookupError(f"Request {number + 1} came, and the script has {len(self._script)} entries")
        if isinstance(entry, EventmillError):
            raise entry
        if isinstance(entry, ChatReply):
            return entry
        try:
            async with asyncio.timeout(timeout):
                answer = entry(model, request)
                return await answer if isawaitable(answer) else answer
        except TimeoutError:
            raise Ambiguous(f"The script gave no answer within {timeout:g} s") from None


async def silence(model: ModelRef, request: ChatRequest) -> ChatReply:
    """Never answer."""
    forever: asyncio.Future[ChatReply] = asyncio.get_running_loop().create_future()
    return await forever


def replied(
    text: str = "{}",
    *,
    finish: Finish = Finish.OK,
    usage: Usage | None = SOME_USAGE,
    model: str = "gpt-5-mini",
    response_id: str | None = "response-1",
) -> ChatReply:
    """Return a reply as a model would give it."""
    return ChatReply(text, finish, usage, model, response_id, request_id=None)


class FixedPrices:
    """Prices of named models: (provider, model) -> USD per million tokens in and out. Cached tokens cost as any."""

    def __init__(self, prices: Mapping[tuple[str, str], tuple[Decimal, Decimal]]) -> None:
        self._prices = dict(prices)

    def price(self, provider: str, model: str, usage: Usage, at: datetime) -> Price:
        """Price `usage`; the time does not matter."""
        found = self._prices.get((provider, model))
        if found is None:
            return Price(None, None)
        given, returned = found
        amount = (usage.input_tokens * given + usage.output_tokens * returned).scaleb(-6)
        return Price(amount, f"fixed:{provider}/{model}")

    def known(self, provider: str, model: str) -> bool:
        """Whether the model has a price."""
        return (provider, model) in self._prices
