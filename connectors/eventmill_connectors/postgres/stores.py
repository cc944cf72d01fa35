"""The vector stores of a pipeline in Postgres: what many events ask at the same time becomes few transactions.

Satisfies eventmill_agents.ports.VectorStores.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from eventmill_connectors.postgres.apply import look
from eventmill_connectors.postgres.batcher import BatchLimits, MicroBatcher
from eventmill_connectors.postgres.changes import Wanted
from eventmill_connectors.postgres.document import Document, Fingerprint, document, fingerprint
from eventmill_connectors.postgres.passages import Passages
from eventmill_connectors.postgres.pool import Database
from eventmill_connectors.postgres.setup import ivfflat_probes, plan
from eventmill_schemas.errors import EventmillError, SetupError, UnstorableVector, UsageError
from eventmill_schemas.local_models import Chunk, Owner, Passage, Query

LANES = 2
"""Transactions that write at the same time. An event is always written in the same lane: in order, without deadlock."""

WRITES = BatchLimits()

LOOKUPS = BatchLimits(enough=1, most=2000, linger=0.0)
"""Lookups are cheap: they go at once, and gather only while one is under way."""


@dataclass(frozen=True, slots=True)
class OpenStore:
    """A store whose partition is known."""

    passages: Passages
    dimensions: int


class PgVectorStores:
    """The stores of a pipeline, by name. Used from one event loop; closes the database with itself.

    A written batch is one transaction per store: 200 rows or what comes within 50 ms, at most 1,000.
    """

    def __init__(
        self, database: Database, stores: Mapping[str, OpenStore], *, writes: BatchLimits = WRITES
    ) -> None:
        self._database = database
        self._stores = stores
        self._lookups = MicroBatcher[tuple[str, Fingerprint], bool](self._look_up, LOOKUPS)
        self._lanes = [
            MicroBatcher[tuple[str, Document], None](self._write, writes, lambda item: item[1].rows)
            for _ in range(LANES)
        ]

    async def unchanged(self, store: str, owner: Owner, texts: Sequence[str]) -> bool:
        """Whether the store has exactly these chunks of the owner, or those of a newer source; see the port."""
        self._open(store)
        return await self._lookups.ask((store, fingerprint(owner, texts)))

    async def upsert(self, store: str, owner: Owner, chunks: Sequence[Chunk]) -> None:
        """Store the owner's chunks in place of those it had; returns when they are committed."""
        found = self._open(store)
        one = document(owner, chunks, found.dimensions)
        lane = zlib.crc32(one.mark.event_id.encode()) % len(self._lanes)
        await self._lanes[lane].ask((store, one))

    async def search(self, store: str, query: Query) -> Sequence[Passage]:
        """Return the passages nearest to `query.vector`, nearest first."""
        return await self._open(store).passages.search(query)

    async def close(self) -> None:
        """End what is under way, and close the connections."""
        await self._lookups.close()
        for lane in self._lanes:
            await lane.close()
        await self._database.close()

    def _open(self, store: str) -> OpenStore:
        found = self._stores.get(store)
        if found is None:
            raise UsageError(
                f"there is no vector store {store!r}", remedy=f"Stores: {', '.join(self._stores) or 'none'}"
            )
        return found

    async def _look_up(self, items: Sequence[tuple[str, Fingerprint]]) -> list[bool | EventmillError]:
        answers: list[bool | EventmillError] = [False] * len(items)
        for store, places in _by_store(items).items():
            try:
                found = await self._stores[store].passages.unchanged([items[place][1] for place in places])
            except EventmillError as error:
                found = [error] * len(places)   # type: ignore[list-item]  # errors are answers
            for place, answer in zip(places, found, strict=True):
                answers[place] = answer
        return answers

    async def _write(self, items: Sequence[tuple[str, Document]]) -> list[EventmillError | None]:
        answers: list[EventmillError | None] = [None] * len(items)
        for store, places in _by_store(items).items():
            passages = self._stores[store].passages
            found = await _write_all(passages, [items[place][1] for place in places])
            for place, answer in zip(places, found, strict=True):
                answers[place] = answer
        return answers


async def open_stores(database: Database, wanted: Sequence[Wanted]) -> tuple[PgVectorStores, tuple[str, ...]]:
    """Return the stores, and what should be said about them. Changes nothing.

    Raises SetupError where `eventmill apply` has something to do first, PostgresUnreachable.
    """
    state = await look(database)
    found = plan(wanted, state)
    if found.problems:
        raise found.problems[0]
    if found.needed:
        raise SetupError(
            f"the database at {database.place} is not ready: {found.needed[0].line()}", remedy="Run `eventmill apply`"
        )
    stores = {}
    for one in wanted:
        space = state.spaces[one.key]
        partition = replace(space.partition, probes=ivfflat_probes(space.indexes))
        stores[one.store.name] = OpenStore(Passages(database, partition), partition.dimensions)
    later = tuple(f"{change.line()}: `eventmill apply` does it" for change in found.changes)
    return PgVectorStores(database, stores), (*found.warnings, *later)


async def _write_all(passages: Passages, documents: Sequence[Document]) -> list[EventmillError | None]:
    """Write the documents; where the server refuses what one of them has, the others are written all the same."""
    try:
        await passages.write(documents)
    except UnstorableVector as error:
        if len(documents) == 1:
            return [error]
        half = len(documents) // 2
        return await _write_all(passages, documents[:half]) + await _write_all(passages, documents[half:])
    except EventmillError as error:
        return [error] * len(documents)
    return [None] * len(documents)


def _by_store(items: Sequence[tuple[str, object]]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, (store, _) in enumerate(items):
        places.setdefault(store, []).append(place)
    return places
