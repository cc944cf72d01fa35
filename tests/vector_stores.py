"""Stores with vectors that tests can tell apart: each text has a direction of its own."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from eventmill_connectors.postgres.apply import execute, look
from eventmill_connectors.postgres.changes import Change, Wanted
from eventmill_connectors.postgres.pool import Database
from eventmill_connectors.postgres.setup import plan
from eventmill_connectors.postgres.stores import PgVectorStores, open_stores
from eventmill_schemas.events import Source
from eventmill_schemas.local_models import Chunk, Owner, VectorSpace
from eventmill_schemas.pipeline import VectorIndex, VectorStore

DIMENSIONS = 16


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
