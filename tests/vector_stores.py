"""Stores with vectors that tests can tell apart: each text has a direction of its own."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from uuid import uuid4

import asyncpg
import numpy as np

from eventmill_agents.ports import VectorStores
from eventmill_connectors.postgres.apply import execute, look
from eventmill_connectors.postgres.changes import Change, Wanted
from eventmill_connectors.postgres.pool import Database
from eventmill_connectors.postgres.setup import plan
from eventmill_connectors.postgres.stores import PgVectorStores, open_stores
from eventmill_schemas.events import Source
from eventmill_schemas.local_models import Chunk, Owner, Query, VectorSpace
from eventmill_schemas.pipeline import VectorIndex, VectorStore

DIMENSIONS = 16


@contextmanager
def own_database(server: str) -> Iterator[str]:
    """Give the address of an empty database on the server that all tests share."""
    name = f"t{uuid4().hex[:10]}"

    async def run(statement: str) -> None:
        connection = await asyncpg.connect(server, timeout=10)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(run(f"CREATE DATABASE {name}"))
    yield f"{server.rpartition('/')[0]}/{name}"
    asyncio.run(run(f"DROP DATABASE {name} WITH (FORCE)"))


def vector(text: str, dimensions: int = DIMENSIONS) -> Any:
    """Return a unit vector that only this text has."""
    seed = int.from_bytes(text.encode(errors="replace")[:64].ljust(8, b"\1"), "little")
    found = np.random.default_rng(seed).normal(size=dimensions).astype(np.float32)
    return found / np.linalg.norm(found)


def chunks(*texts: str, dimensions: int = DIMENSIONS) -> list[Chunk]:
    """Return texts with their vectors."""
    return [Chunk(text, vector(text, dimensions)) for text in texts]


def owner(event_id: str, offset: int = 0, *, tenant: str | None = None, partition: int = 0) -> Owner:
    """Return an event that was read from `mails`."""
    return Owner(event_id, tenant, Source("mails", partition, offset))


def wanted(
    store: str, *, index: VectorIndex = VectorIndex.HNSW, space: str = "words", dimensions: int = DIMENSIONS
) -> Wanted:
    """Return a store of a pipeline."""
    return Wanted(VectorStore(store, "words", index), VectorSpace(space, dimensions))


async def apply(database: Database, *stores: Wanted) -> list[Change]:
    """Do what `eventmill apply` does for these stores; return what was done."""
    found = plan(stores, await look(database))
    assert not found.problems
    return [change async for change in execute(found.changes, database)]


@asynccontextmanager
async def opened(database: Database, *stores: Wanted) -> AsyncIterator[PgVectorStores]:
    """Give the stores, made ready."""
    await apply(database, *stores)
    found, _ = await open_stores(database, stores)
    try:
        yield found
    finally:
        await found.close()


def texts_of(passages: Sequence[Any]) -> list[str]:
    """Return what was found, in its order."""
    return [passage.text for passage in passages]


async def stored(stores: VectorStores) -> dict[str, list[str]]:
    """Return the texts of every event in the store `mails`, in the order of their chunks."""
    found: dict[str, list[tuple[int, str]]] = {}
    for passage in await stores.search("mails", Query(vector("any"), 1000, any_tenant=True)):
        event, _, number = passage.id.rpartition("#")
        assert event == passage.event_id
        found.setdefault(event, []).append((int(number), passage.text))
    return {event: [text for _, text in sorted(of_event)] for event, of_event in found.items()}
