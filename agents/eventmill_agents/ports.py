"""What steps need of the outside, as Protocols. connectors satisfies them, streams joins the two.

The doubles in eventmill_connectors.testing stand under the same contract tests as the real parts.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from eventmill_agents.outcome import DeadLetter, Skip
from eventmill_schemas.chat import ChatReply, ChatRequest, Usage
from eventmill_schemas.cost import Price
from eventmill_schemas.errors import Unavailable
from eventmill_schemas.events import Event, Fields
from eventmill_schemas.pipeline import ModelRef


class ChatModels(Protocol):
    """The chat models of all routes, one attempt at a time. Hundreds are in flight on one event loop."""

    async def complete(
        self, model: ModelRef, request: ChatRequest, timeout: float   # noqa: ASYNC109 - it also bounds the socket's waits
    ) -> ChatReply:
        """Send `request` once and return what came back, whatever its finish.

        Guarantees: returns or raises within `timeout` seconds; never retries; may be cancelled at any await.
        Raises: RateLimited, Overloaded, Ambiguous (one attempt failed), RequestRefused (the request is wrong),
        ModelUnreachable, AccountClosed (no event is to blame).
        """


class Prices(Protocol):
    """Exact prices of replies."""

    def price(self, provider: str, model: str, usage: Usage, at: datetime) -> Price:
        """Price `usage` by the row in force at `at` (UTC). An unknown model gives Price(None, None), never 0."""


class Gate(Protocol):
    """How an event waits without holding an in-flight slot. Made by streams, one per event."""

    async def pause(self, seconds: float, reason: str) -> None:
        """Give the in-flight slot back, wait, take a slot again. Used between attempts."""

    async def wait_open(self, unavailable: Unavailable, attempt: int) -> None:
        """Close the lane door for `unavailable.kind`, give the slot back and wait until it is worth trying again.

        `attempt` counts the tries in this wait from 1: the wait grows with it, with jitter, up to 30 s.
        The door opens again when `opened` is called for that kind.
        """

    def opened(self, kind: type[Unavailable]) -> None:
        """Say that what `kind` names works: opens its door. Cheap when it is open already."""


class Ports(Protocol):
    """What a step may call for one event: model calls with retries, validation and cost."""

    async def complete(
        self,
        *,
        route: str,
        system: str,
        user: str,
        schema: Mapping[str, Any],
        prompt: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        """Ask the models of `route` in turn and return the answer, validated against the JSON Schema `schema`.

        `prompt` is what asks, as name@version, for cost events and the result. Nothing is fenced here: `system` and
        `user` are sent as they are. Every attempt becomes a cost event of this event, whatever it ends in. Calls of
        one event are made one after the other. The same request is asked once per event and step: repeated, it gives
        the same answer, or the same error, and costs nothing (to ask again, ask differently: another word, another
        `seed` in `parameters`). Raises: RequestRefused, InvalidReply, TruncatedReply, RefusedReply, CallFailed (this
        event can't be answered); UsageError (there is no such route, or `schema` is no JSON Schema).
        """


class Step(Protocol):
    """What a stage does to one event. Values in, values out; raises EventErrors; may be cancelled at any await."""

    @property
    def name(self) -> str:
        """The step's name in cost events, dead letters and metrics."""

    async def run(self, event: Event, so_far: Fields, call: Ports) -> Fields | DeadLetter | Skip:
        """Return the fields this step adds to `so_far` (the fields of the steps before it), or how the event ends."""
