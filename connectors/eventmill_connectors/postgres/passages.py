"""The passages of one vector space in their partition: reading, writing and searching, a batch at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eventmill_connectors.postgres.document import Document, Fingerprint, is_behind, newest
from eventmill_connectors.postgres.pool import Connection, Database
from eventmill_connectors.postgres.statements import Condition, statement
from eventmill_connectors.postgres.wire import halfvecs, unit_vectors
from eventmill_schemas.events import Source
from eventmill_schemas.local_models import Passage, Query
from eventmill_schemas.storable_text import storable_text

_EF_SEARCH = 100
"""Candidates that HNSW looks at: recall at 10 of 0.975 among 100,000 vectors, where pgvector's 40 gives 0.91."""

_MOST_EF_SEARCH = 1000   # pgvector's limit
_MOST_FOUND = 1000

_ANY_TENANT = Condition("true")
_NO_TENANT = Condition("tenant IS NULL")
_THIS_TENANT = Condition("tenant = $4")


@dataclass(frozen=True, slots=True)
class Partition:
    """Where the vectors of a store and a vector space are: a row of eventmill_vector_space, and a table.

    `probes`: in how many lists of an IVFFlat index a search looks.
    """

    space: int
    table: str
    dimensions: int
    probes: int = 1


class Passages:
    """The passages of one partition."""

    def __init__(self, database: Database, partition: Partition) -> None:
        self._database = database
        self._partition = partition
        self._space = {"space": partition.space}
        self._table = {"space": partition.space, "partition": partition.table}

    async def unchanged(self, marks: Sequence[Fingerprint]) -> list[bool]:
        """Whether each is stored as it is, or newer. Where it is the same from an older source, the source moves on.

        Reads only, unless a source moves. Raises PostgresUnreachable.
        """
        ids = list({mark.event_id for mark in marks})
        async with self._database.transaction() as connection:
            rows = await connection.fetch(statement("known_sources", **self._space), ids)
            known = {row["event_id"]: row for row in rows}
            judged = [(mark.event_id, _judge(mark, known.get(mark.event_id))) for mark in marks]
            later = {mark.event_id: mark for mark, (_, same) in zip(marks, judged, strict=True) if same is None}
            moved = await self._move(connection, list(later.values())) if later else set()
        return [event_id in moved if same is None else same for event_id, same in judged]

    async def write(self, documents: Sequence[Document]) -> None:
        """Store the documents in one transaction, each in place of what its event had; what is older is left out.

        Idempotent. Unchanged chunks are not touched, and chunks beyond the new number are deleted. Raises
        UnstorableVector where the server refuses what a document has, then nothing is stored; PostgresUnreachable.
        """
        given = newest(documents)
        async with self._database.transaction() as connection:
            accepted = await connection.fetch(
                statement("note_sources", **self._space),
                [one.mark.event_id for one in given],
                *_sources([one.mark for one in given]),
                [one.mark.text_hash for one in given],
                [one.vector_hash for one in given],
            )
            changed = {row["event_id"] for row in accepted if row["changed"]}
            if changed:
                await self._replace(connection, [one for one in given if one.mark.event_id in changed])

    async def search(self, query: Query) -> list[Passage]:
        """Return the passages nearest to `query.vector`, nearest first; equally near ones by event id.

        Raises UnstorableVector for a vector that has no neighbours (see `unit_vectors`), PostgresUnreachable.
        """
        limit = min(query.limit, _MOST_FOUND)
        vector = halfvecs(unit_vectors([query.vector], self._partition.dimensions))[0]
        without = None if query.without is None else storable_text(query.without)
        arguments: list[Any] = [vector, without, limit]
        tenant = _ANY_TENANT
        if not query.any_tenant:
            tenant = _NO_TENANT if query.tenant is None else _THIS_TENANT
            arguments += [] if query.tenant is None else [storable_text(query.tenant)]
        text = statement("search", **self._table, dimensions=self._partition.dimensions, tenant=tenant)
        async with self._database.transaction(readonly=True, settings=self._search_settings(limit)) as connection:
            rows = await connection.fetch(text, *arguments)
        found = [_passage(row) for row in rows]
        least = query.min_similarity
        return found if least is None else [passage for passage in found if passage.similarity >= least]

    def _search_settings(self, limit: int) -> str:
        # Iterative scans go on where a filter leaves too few of the first candidates. Compiling a query takes longer
        # than most searches.
        candidates = min(max(_EF_SEARCH, limit), _MOST_EF_SEARCH)
        return (
            f"SET LOCAL jit = off; SET LOCAL hnsw.ef_search = {candidates}; "
            "SET LOCAL hnsw.iterative_scan = strict_order; SET LOCAL ivfflat.iterative_scan = relaxed_order; "
            f"SET LOCAL ivfflat.probes = {self._partition.probes}"
        )

    async def _replace(self, connection: Connection, documents: Sequence[Document]) -> None:
        await connection.execute(
            statement("delete_surplus", **self._table),
            [one.mark.event_id for one in documents],
            [len(one.texts) for one in documents],
        )
        chunks = [(one, number) for one in documents for number in range(len(one.texts))]
        if chunks:
            await connection.execute(
                statement("write_chunks", **self._table),
                [one.mark.event_id for one, _ in chunks],
                [number for _, number in chunks],
                [one.tenant for one, _ in chunks],
                [one.texts[number] for one, number in chunks],
                [one.vectors[number] for one, number in chunks],
            )

    async def _move(self, connection: Connection, marks: Sequence[Fingerprint]) -> set[str]:
        rows = await connection.fetch(
            statement("move_sources", **self._space),
            [mark.event_id for mark in marks],
            *_sources(marks),
            [mark.text_hash for mark in marks],
        )
        return {row["event_id"] for row in rows}


def _judge(mark: Fingerprint, known: Mapping[str, Any] | None) -> bool | None:
    """Whether nothing is to be stored for `mark`; None: only its source is new."""
    if known is None:
        return False
    stored = Source(known["topic"], known["partition"], known["offset"])
    if is_behind(mark.source, stored):
        return True
    if known["text_hash"] != mark.text_hash:
        return False
    return True if mark.source == stored else None


def _sources(marks: Sequence[Fingerprint]) -> tuple[list[str], list[int], list[int]]:
    sources = [mark.source for mark in marks]
    return (
        [source.topic for source in sources],
        [source.partition for source in sources],
        [source.offset for source in sources],
    )


def _passage(row: Mapping[str, Any]) -> Passage:
    return Passage(
        id=f"{row['event_id']}#{row['chunk']}",
        text=row["text"],
        similarity=min(row["similarity"], 1.0),   # half floats may make it a little more
        event_id=row["event_id"],
        source=Source(row["topic"], row["partition"], row["offset"]),
    )
