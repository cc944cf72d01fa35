"""Local models and vector stores on behalf of one event, with their work accounted for.

As with chat models: calls of one event are made one after the other, the same work is done once per event and step, and
while what is asked is away, the event waits at its door without limit and holds no in-flight slot.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeVar

from eventmill_agents.cost import Work
from eventmill_agents.ports import Gate, LocalModels, VectorStores
from eventmill_schemas.errors import EventError, LocalModelAway, PostgresUnreachable, Unavailable, UsageError
from eventmill_schemas.events import Event
from eventmill_schemas.ids import work_id
from eventmill_schemas.local_models import Chunk, Encoded, ModelCard, Owner, Passage, Query
from eventmill_schemas.storable_text import storable_text

QUEUE: Final = "local_model_queue"
"""The reason for which an event waits while a local model's queue is full."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LocalParts:
    """What a stage has of local models and stores; None: it has none.

    `prices`: USD per hour by model, for those that have one. `store_models`: the model of each store.
    """

    models: LocalModels | None = None
    stores: VectorStores | None = None
    prices: Mapping[str, Decimal] = field(default_factory=dict)
    store_models: Mapping[str, str] = field(default_factory=dict)


class Wanted(NamedTuple):
    """What a search asks for beside its text; see `Ports.search`."""

    limit: int
    min_similarity: float | None
    any_tenant: bool


class LocalCalls:
    """The work of one event. `turn` is held while a call is made; `account` takes each work that was done."""

    def __init__(
        self, parts: LocalParts, event: Event, gate: Gate, turn: asyncio.Lock, account: Callable[[Work], None]
    ) -> None:
        self._parts = parts
        self._event = event
        self._gate = gate
        self._turn = turn
        self._account = account
        self._known: dict[str, Any] = {}

    async def encode(self, step: str, model: str, texts: Sequence[str]) -> Sequence[Encoded]:
        """See `Ports.encode`."""
        clean = [storable_text(text) for text in texts]
        if not clean:
            return ()
        models = self._models()

        async def compute() -> Sequence[Encoded]:
            return await models.encode(model, clean, self._wait)

        def measure(done: Sequence[Encoded]) -> tuple[int, Decimal]:
            return sum(one.tokens for one in done), sum((one.seconds for one in done), Decimal(0))

        return await self._work(step, models.card(model), clean, compute, measure)

    async def infer(self, step: str, model: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `Ports.infer`."""
        models = self._models()
        given = dict(inputs)
        done = await self._work(
            step,
            models.card(model),
            given,
            lambda: models.infer(model, given, self._wait),
            lambda done: (None, done.seconds),
        )
        return done.outputs

    async def split(self, model: str, text: str, max_tokens: int | None, overlap: int) -> Sequence[str]:
        """See `Ports.split`."""
        models = self._models()
        async with self._turn:
            return await models.split(model, storable_text(text), max_tokens, overlap)

    async def search(self, step: str, store: str, text: str, wanted: Wanted) -> Sequence[Passage]:
        """See `Ports.search`."""
        stores, model = self._store(store)
        if not text.strip():
            return ()
        (encoded,) = await self.encode(step, model, [text])
        if encoded.vector is None:
            raise UsageError(f"the model {model!r} of store {store!r} makes no vectors")
        event = self._event
        query = Query(encoded.vector, *wanted[:2], event.tenant, wanted.any_tenant, without=event.id)
        async with self._turn:
            return await self._present(lambda: stores.search(store, query), PostgresUnreachable)

    async def unchanged(self, store: str, texts: Sequence[str]) -> bool:
        """See `Ports.unchanged`."""
        stores, _ = self._store(store)
        clean = [storable_text(text) for text in texts]
        async with self._turn:
            return await self._present(lambda: stores.unchanged(store, self._owner(), clean), PostgresUnreachable)

    async def store(self, store: str, chunks: Sequence[Chunk]) -> None:
        """See `Ports.store`."""
        stores, _ = self._store(store)
        clean = [Chunk(storable_text(chunk.text), chunk.vector) for chunk in chunks]
        async with self._turn:
            await self._present(lambda: stores.upsert(store, self._owner(), clean), PostgresUnreachable)

    async def _work(
        self,
        step: str,
        card: ModelCard,
        given: Any,
        compute: Callable[[], Awaitable[T]],
        measure: Callable[[T], tuple[int | None, Decimal]],
    ) -> T:
        """Have a model work on what is `given`, once, and account for it. `measure` tells tokens and seconds."""
        event = self._event
        work = work_id(event.tenant, event.id, step, card.label, given)
        async with self._turn:
            if work not in self._known:
                started_at, start = datetime.now(UTC), time.monotonic()
                done = await self._present(compute, LocalModelAway)
                tokens, seconds = measure(done)
                duration = round((time.monotonic() - start) * 1000)
                self._account(Work(work, step, card, tokens, seconds, started_at, duration))
                self._known[work] = done
            known: T = self._known[work]
            return known

    async def _present(self, attempt: Callable[[], Awaitable[T]], away: type[Unavailable]) -> T:
        """Try until what is asked is there.

        Only who has waited at the door opens it: that one model computes, or that Postgres reads, does not say that
        another model is back, or that there is room to write again.
        """
        waits = 0
        while True:
            try:
                done = await attempt()
            except Unavailable as error:
                waits += 1
                await self._gate.wait_open(error, waits)
                continue
            except EventError:   # an answer, too: what is asked is there
                self._answered(away, waits)
                raise
            self._answered(away, waits)
            return done

    def _answered(self, away: type[Unavailable], waits: int) -> None:
        if waits:
            self._gate.opened(away)

    async def _wait(self, until: Awaitable[None]) -> None:
        await self._gate.wait(until, QUEUE)

    def _owner(self) -> Owner:
        return Owner(self._event.id, self._event.tenant, self._event.record.source)

    def _models(self) -> LocalModels:
        if self._parts.models is None:
            raise UsageError("no local model is loaded", remedy="Name it under `models` of the python step")
        return self._parts.models

    def _store(self, store: str) -> tuple[VectorStores, str]:
        parts = self._parts
        if parts.stores is None or store not in parts.store_models:
            there = ", ".join(parts.store_models) or "none"
            raise UsageError(
                f"the store {store!r} is not open",
                remedy=f"Name it under `stores` of the python step; declared: {there}",
            )
        return parts.stores, parts.store_models[store]
