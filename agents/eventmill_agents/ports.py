"""What steps need of the outside, as Protocols. connectors satisfies them, streams joins the two.

The doubles in eventmill_connectors.testing stand under the same contract tests as the real parts.
"""

from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from eventmill_agents.outcome import DeadLetter, Skip
from eventmill_schemas.chat import ChatReply, ChatRequest, Usage
from eventmill_schemas.cost import Price
from eventmill_schemas.errors import Unavailable
from eventmill_schemas.events import Event, Fields
from eventmill_schemas.local_models import Chunk, Encoded, Inferred, ModelCard, Owner, Passage, Query, Waiting
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


class LocalModels(Protocol):
    """The models that run in the worker, by their names in the pipeline. They compute off the event loop.

    Every method raises UsageError for a model that is not loaded. `waiting` is called while a queue is full: it must
    await what it is given; the caller should hold nothing meanwhile that others need.
    """

    def card(self, model: str) -> ModelCard:
        """Return what the model is."""

    async def encode(self, model: str, texts: Sequence[str], waiting: Waiting) -> Sequence[Encoded]:
        """Compute vector, label and confidence of each text, in their order. Texts too long for the model are cut.

        Guarantees: a text gives the same numbers whatever is computed beside it; cancelled before it is computed, it
        costs nothing. Raises InferenceFailed (these texts are too much), LocalModelAway (no event is to blame).
        """

    async def split(self, model: str, text: str, max_tokens: int | None, overlap: int) -> Sequence[str]:
        """Cut `text` into chunks of at most `max_tokens` tokens, special ones included; None: as the model takes.

        Neighbours share about `overlap` tokens. Words and sentences stay whole where they can. A blank text has none.
        """

    async def infer(self, model: str, inputs: Mapping[str, Any], waiting: Waiting) -> Inferred:
        """Run the model once; `inputs` are numbers, texts, bytes (of a uint8 input) and nested lists, by input name.

        A leading batch axis of 1 is added to inputs and taken off outputs where the model has one and the values don't.
        Raises InferenceFailed, naming the input (missing, unknown, wrong type or shape, NaN), and LocalModelAway.
        """


class VectorStores(Protocol):
    """The vector stores of the pipeline by name. Every wait has a deadline.

    Raises PostgresUnreachable (no event is to blame), UnstorableVector for what can't be stored (NaN, all zeros,
    another length), UsageError for a store that is not open.
    """

    async def unchanged(self, store: str, owner: Owner, texts: Sequence[str]) -> bool:
        """Whether the store has exactly these chunks of the owner, or those of a newer source, so that none is needed.

        If they are the same, the owner's source is moved on to this one.
        """

    async def upsert(self, store: str, owner: Owner, chunks: Sequence[Chunk]) -> None:
        """Store the owner's chunks in place of those it had; idempotent. A newer source's chunks are left alone."""

    async def search(self, store: str, query: Query) -> Sequence[Passage]:
        """Return the passages nearest to `query.vector`, nearest first, at most `query.limit`."""


class Gate(Protocol):
    """How an event waits without holding an in-flight slot. Made by streams, one per event."""

    async def pause(self, seconds: float, reason: str) -> None:
        """Give the in-flight slot back, wait, take a slot again. Used between attempts."""

    async def wait(self, until: Awaitable[None], reason: str) -> None:
        """Give the in-flight slot back, await `until`, take a slot again."""

    async def wait_open(self, unavailable: Unavailable, attempt: int) -> None:
        """Close the lane door for `unavailable.kind`, give the slot back and wait until it is worth trying again.

        `attempt` counts the tries in this wait from 1: the wait grows with it, with jitter, up to 30 s.
        The door opens again when `opened` is called for that kind.
        """

    def opened(self, kind: type[Unavailable]) -> None:
        """Say that what `kind` names works: opens its door. Cheap when it is open already."""


class Ports(Protocol):
    """What a step may call for one event: models, with retries, validation and cost, and vector stores.

    While a local model or Postgres is away, calls wait without limit, as for chat models.
    """

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

    async def encode(self, model: str, texts: Sequence[str]) -> Sequence[Encoded]:
        """Compute vector, label and confidence of each text by the local model called `model`.

        Becomes one cost event, whatever the number of texts; the same texts are computed once per event and step.
        Raises InferenceFailed; UsageError (there is no such model).
        """

    async def split(
        self, model: str, text: str, *, max_tokens: int | None = None, overlap: int = 0
    ) -> Sequence[str]:
        """Cut `text` into chunks for `model`; see `LocalModels.split`. Costs nothing."""

    async def infer(self, model: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run the local model called `model` once and return its outputs; see `LocalModels.infer`. One cost event."""

    async def search(
        self,
        store: str,
        text: str,
        *,
        limit: int = 5,
        min_similarity: float | None = None,
        any_tenant: bool = False,
    ) -> Sequence[Passage]:
        """Return the passages of `store` nearest to `text`, nearest first, without those of this event.

        Those of the event's tenant, unless `any_tenant`. A blank text finds nothing. One cost event, of the store's
        model. Raises InferenceFailed; UsageError (there is no such store).
        """

    async def unchanged(self, store: str, texts: Sequence[str]) -> bool:
        """Whether `store` has exactly these chunks of this event already, or newer ones: nothing is to be computed."""

    async def store(self, store: str, chunks: Sequence[Chunk]) -> None:
        """Store the chunks of this event in place of those it had, before its result is published; idempotent."""


class Step(Protocol):
    """What a stage does to one event. Values in, values out; raises EventErrors; may be cancelled at any await."""

    @property
    def name(self) -> str:
        """The step's name in cost events, dead letters and metrics."""

    async def run(self, event: Event, so_far: Fields, call: Ports) -> Fields | DeadLetter | Skip:
        """Return the fields this step adds to `so_far` (the fields of the steps before it), or how the event ends."""
