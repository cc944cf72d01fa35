"""What `eventmill apply` does to a real database: once, alongside others, and after what went wrong before."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from eventmill_connectors.postgres.apply import execute, look
from eventmill_connectors.postgres.changes import BuildIndex, DropIndex, MakePartition
from eventmill_connectors.postgres.pool import Database
from eventmill_connectors.postgres.setup import DatabasePlan, plan
from eventmill_connectors.postgres.statements import statement
from eventmill_connectors.postgres.stores import open_stores
from eventmill_schemas.errors import SetupError
from eventmill_schemas.local_models import Query
from eventmill_schemas.pipeline import VectorIndex
from vector_stores import apply, chunks, opened, owner, texts_of, vector, wanted


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Give a session of somebody else."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def indexes(database: Database, store: str) -> list[tuple[VectorIndex, bool]]:
    """Return which vector indexes a store has, and whether they can be used."""
    (space,) = [space for key, space in (await look(database)).spaces.items() if key[1] == store]
    return [(index.kind, index.usable) for index in space.indexes]


async def test_several_apply_at_once(database: Database, database_url: str, unique: str) -> None:
    """Three that begin on the same empty database make everything once, and none of them fails."""
    others = [Database(database_url) for _ in range(2)]
    found = plan([wanted(unique)], await look(database))
    assert not found.problems

    async def run(one: Database) -> None:
        async for _ in execute(found.changes, one):
            pass

    await asyncio.gather(*(run(one) for one in (database, *others)))
    assert plan([wanted(unique)], await look(database)) == DatabasePlan()
    assert await indexes(database, unique) == [(VectorIndex.HNSW, True)]
    for one in others:
        await one.close()


async def test_case_104_an_index_whose_build_was_cancelled(
    database: Database, other: asyncpg.Connection, database_url: str, unique: str
) -> None:
    """It is not used, a start says so and works all the same, and `apply` builds it anew."""
    store = wanted(unique, index=VectorIndex.NONE)
    async with opened(database, store) as stores:
        await stores.upsert(unique, owner("mail"), chunks("text"))
    table = await other.fetchval("SELECT 'eventmill_vectors_' || max(id) FROM eventmill_vector_space")
    holder = await asyncpg.connect(database_url)
    async with holder.transaction():
        await holder.execute(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")   # which the build has to wait for
        await other.execute("SET statement_timeout = '150ms'")
        with pytest.raises(asyncpg.QueryCanceledError):
            await other.execute(statement("build_hnsw", index=f"{table}_hnsw", partition=table, dimensions=16))
    await holder.close()
    assert await indexes(database, unique) == [(VectorIndex.HNSW, False)]
    indexed = wanted(unique)
    stores, notes = await open_stores(database, [indexed])
    assert any("its build was broken off" in note for note in notes)
    assert texts_of(await stores.search(unique, Query(vector("text")))) == ["text"]
    assert [type(change) for change in await apply(database, indexed)] == [DropIndex, BuildIndex]
    assert await indexes(database, unique) == [(VectorIndex.HNSW, True)]
    await stores.close()


async def test_case_104_a_build_that_outgrows_its_memory_says_so(
    database: Database, other: asyncpg.Connection, unique: str
) -> None:
    """What the server notes while it builds is in the line that `apply` prints."""
    store = wanted(unique, index=VectorIndex.NONE, dimensions=256)
    async with opened(database, store) as stores:
        await stores.upsert(unique, owner("mail"), chunks(*(str(number) for number in range(1200)), dimensions=256))
    name = await other.fetchval("SELECT current_database()")
    await other.execute(f"ALTER DATABASE {name} SET maintenance_work_mem = '1MB'")
    (built,) = await apply(database, wanted(unique, dimensions=256))
    await other.execute(f"ALTER DATABASE {name} RESET maintenance_work_mem")
    assert "maintenance_work_mem" in built.line()


async def test_indexes_follow_the_pipeline(database: Database, unique: str) -> None:
    """None, then IVFFlat as soon as it can learn, then HNSW: each finds; vectors stay; the old index goes."""
    none, ivfflat = wanted(unique, index=VectorIndex.NONE), wanted(unique, index=VectorIndex.IVFFLAT)
    async with opened(database, none) as stores:
        await stores.upsert(unique, owner("few"), chunks("first"))
        assert await apply(database, ivfflat) == []
        await stores.upsert(unique, owner("many"), chunks(*(f"text {number}" for number in range(1100))))
    assert await indexes(database, unique) == []
    for store, kind in ((ivfflat, VectorIndex.IVFFLAT), (wanted(unique), VectorIndex.HNSW)):
        async with opened(database, store) as stores:
            assert await indexes(database, unique) == [(kind, True)]
            for text in ("first", "text 7", "text 1000"):
                assert texts_of(await stores.search(unique, Query(vector(text), 1))) == [text]
    await apply(database, none)
    assert await indexes(database, unique) == []


async def test_a_partition_that_was_dropped_is_made_anew_and_empty(
    database: Database, other: asyncpg.Connection, unique: str
) -> None:
    """What its events had is not taken for known: they are stored again when they come again."""
    store = wanted(unique)
    async with opened(database, store) as stores:
        await stores.upsert(unique, owner("mail"), chunks("text"))
    table = await other.fetchval("SELECT 'eventmill_vectors_' || max(id) FROM eventmill_vector_space")
    await other.execute(f"DROP TABLE {table}")
    with pytest.raises(SetupError, match="create partition"):
        await open_stores(database, [store])
    assert [type(change) for change in await apply(database, store)] == [MakePartition, BuildIndex]
    stores, _ = await open_stores(database, [store])
    assert not await stores.unchanged(unique, owner("mail"), ["text"])
    await stores.upsert(unique, owner("mail"), chunks("text"))
    assert texts_of(await stores.search(unique, Query(vector("text")))) == ["text"]
    await stores.close()


async def test_another_model_has_its_own_vectors(database: Database, unique: str) -> None:
    """After a change of the vector space nothing old is found, nothing is mixed, and going back finds it again."""
    before = wanted(unique)
    after = replace(before, space=replace(before.space, name="others", dimensions=8))
    async with opened(database, before) as stores:
        await stores.upsert(unique, owner("mail"), chunks("old"))
    async with opened(database, after) as stores:
        assert await stores.search(unique, Query(vector("old", 8))) == []
        assert not await stores.unchanged(unique, owner("mail"), ["old"])
        await stores.upsert(unique, owner("mail"), chunks("new", dimensions=8))
        assert texts_of(await stores.search(unique, Query(vector("new", 8)))) == ["new"]
    (warning,) = plan([after], await look(database)).warnings
    assert f"store {unique}" in warning
    async with opened(database, before) as stores:
        assert texts_of(await stores.search(unique, Query(vector("old")))) == ["old"]


async def test_a_table_of_somebody_else_is_left_alone(
    database: Database, other: asyncpg.Connection, unique: str
) -> None:
    """A store that names a table which is there, and is not eventmill's, is refused; the table stays as it was."""
    await apply(database)
    await other.execute(f"CREATE TABLE {unique} (id integer PRIMARY KEY); INSERT INTO {unique} VALUES (7)")
    taken = wanted(unique)
    for table in (unique, "eventmill_vector_source"):
        with pytest.raises(SetupError, match=rf"a table {table} that is not eventmill's. Give .* another"):
            await apply(database, replace(taken, store=replace(taken.store, table=table)))
    assert await other.fetchval(f"SELECT sum(id) FROM {unique}") == 7


async def test_who_may_not_make_tables_is_told_who_can(
    database_url: str, other: asyncpg.Connection, unique: str
) -> None:
    """Without the rights, `apply` is refused as a mistake in the set-up, and the remedy names who can mend it."""
    await other.execute(f"CREATE ROLE {unique} LOGIN PASSWORD '{unique}'")
    host, _, own = database_url.rpartition("@")[2].partition("/")
    for name, says in (("template1", "superuser run CREATE EXTENSION vector"), (own, "right")):
        limited = Database(f"postgresql://{unique}:{unique}@{host}/{name}")
        with pytest.raises(SetupError, match=says):
            await apply(limited, wanted(unique))
        await limited.close()
    await other.execute(f"DROP OWNED BY {unique}; DROP ROLE {unique}")
