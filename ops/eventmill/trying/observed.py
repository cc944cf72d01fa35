"""What was asked of the models for one event, and what they answered, as it happens."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from eventmill_agents.ports import ChatModels
from eventmill_schemas.chat import ChatReply, ChatRequest
from eventmill_schemas.errors import CallError, EventError, EventmillError, Unavailable
from eventmill_schemas.pipeline import ModelRef


@dataclass(frozen=True, slots=True)
class Exchange:
    """One attempt of a model call: what was sent, and what came back. Just one of `reply` and `error` is there."""

    model: ModelRef
    request: ChatRequest
    seconds: float
    reply: ChatReply | None = None
    error: EventmillError | None = None


class ObservedModels:
    """Passes calls on to `models` and notes them for who is watching. Satisfies eventmill_agents.ports.ChatModels.

    An error that a call may not end in is a defect of the models, and no event's: it is kept in `defect`, because a
    step of the user's may catch it.
    """

    def __init__(self, models: ChatModels) -> None:
        self._models = models
        self._watching: ContextVar[list[Exchange]] = ContextVar("watching")
        self.defect: Exception | None = None

    @contextmanager
    def watched(self) -> Iterator[list[Exchange]]:
        """Give the list that the exchanges of this block are added to; those of tasks and threads begun in it too."""
        seen: list[Exchange] = []
        token = self._watching.set(seen)
        try:
            yield seen
        finally:
            self._watching.reset(token)

    async def complete(self, model: ModelRef, request: ChatRequest, timeout: float) -> ChatReply:  # noqa: ASYNC109 - the port's signature
        """Ask, and note what came of it. Raises what the models raise."""
        start = time.monotonic()

        def note(reply: ChatReply | None = None, error: EventmillError | None = None) -> None:
            exchange = Exchange(model, request, time.monotonic() - start, reply, error)
            self._watching.get([]).append(exchange)

        try:
            reply = await self._models.complete(model, request, timeout)
        except (CallError, EventError, Unavailable) as error:
            note(error=error)
            raise
        except Exception as error:
            self.defect = self.defect or error
            raise
        note(reply)
        return reply
