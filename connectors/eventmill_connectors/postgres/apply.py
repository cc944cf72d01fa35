"""Making a database fit the stores of a pipeline, and opening it when it does."""

from collections.abc import AsyncIterator, Iterable, Sequence

from eventmill_connectors.postgres.changes import (
    BuildIndex,
    Change,
    DropIndex,
    Index,
    MakeExtension,
    MakePartition,
    Migrate,
    Wanted,
)
from eventmill_connectors.postgres.extension import find_extension
from eventmill_connectors.postgres.failures import of_setup
from eventmill_connectors.postgres.migrations import APPLY_LOCK, applied_migrations, migrate, migrations, pending
from eventmill_connectors.postgres.passages import Partition
from eventmill_connectors.postgres.pool import Connection, Database
from eventmill_connectors.postgres.setup import LEAST_TO_LEARN_FROM, DatabaseState, SpaceState, ivfflat_lists
from eventmill_connectors.postgres.statements import statement
from eventmill_schemas.errors import PostgresUnreachable, SetupError
from eventmill_schemas.pipeline import VectorIndex


async def look(database: Database) -> DatabaseState:
    """Return what the database has. Changes nothing.

    Raises SetupError where a newer eventmill has changed it, or where we may not look; PostgresUnreachable.
    """
    try:
        async with database.transaction(readonly=True) as connection:
            extension = await find_extension(connection)
            todo = pending(await applied_migrations(connection), migrations())
            if any(one.number == 1 for one in todo):
                return DatabaseState(extension, todo)
            rows = await connection.fetch(statement("spaces"))
            spaces = {}
            for row in rows:
                partition = Partition(row["id"], row["partition"], row["dimensions"])
                state = await _space_state(connection, partition) if row["attached"] else SpaceState(partition, False)
                spaces[row["relation"], row["store"], row["space"]] = state
            return DatabaseState(extension, todo, spaces)
    except PostgresUnreachable as error:
        raise of_setup(error) from error.__cause__


async def execute(changes: Iterable[Change], database: Database) -> AsyncIterator[Change]:
    """Make the changes in their order; yield each when it is made.

    Each can be repeated: after a failure, what was made stays, and a new plan has the rest. Raises SetupError for what
    the server refuses, PostgresUnreachable.
    """
    for change in changes:
        try:
            match change:
                case MakeExtension():
                    await _make_extension(database)
                case Migrate():
                    await migrate(database, migrations())
                case MakePartition():
                    await _make_partition(database, change.wanted)
                case BuildIndex():
                    await _build_index(database, change.wanted)
                case DropIndex():
                    await _drop_index(database, change.index.name)
        except PostgresUnreachable as error:
            raise of_setup(error) from error.__cause__
        yield change


async def _space_state(connection: Connection, partition: Partition) -> SpaceState:
    indexes = tuple(
        Index(row["name"], VectorIndex(row["kind"]), row["usable"], _lists(row["options"] or ()))
        for row in await connection.fetch(statement("indexes"), partition.table)
    )
    text = statement("rows_up_to", partition=partition.table, most=LEAST_TO_LEARN_FROM)
    return SpaceState(partition, True, indexes, await connection.fetchval(text))


def _lists(options: Sequence[str]) -> int:
    return next((int(value) for name, _, value in (one.partition("=") for one in options) if name == "lists"), 0)


async def _make_extension(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    await database.close()   # connections made before do not know its types


async def _make_partition(database: Database, wanted: Wanted) -> None:
    store, space = wanted.store, wanted.space
    async with database.transaction() as connection:
        await connection.execute(f"SELECT pg_advisory_xact_lock({APPLY_LOCK})")
        await connection.execute(statement("create_vectors", relation=store.table))
        await connection.execute(statement("forget_dropped"), *wanted.key)
        made = await connection.fetchval(statement("make_space"), store.table, store.name, space.name, space.dimensions)
        if made is None:   # somebody else was faster
            return
        names = {"relation": store.table, "partition": f"{store.table}_{made}"}
        await connection.execute(statement("create_partition", **names, space=made, dimensions=space.dimensions))


async def _build_index(database: Database, wanted: Wanted) -> None:
    state = (await look(database)).spaces.get(wanted.key)
    if state is None:
        raise SetupError(f"store {wanted.store.name} has no partition", remedy="Run `eventmill apply` again")
    kind = wanted.store.index
    if any(index.usable and index.kind is kind for index in state.indexes):
        return   # somebody else was faster
    table = state.partition.table
    index = f"{table}_{kind}"
    async with database.session() as connection:
        await connection.execute("SET statement_timeout = 0; SET lock_timeout = '60s'")
        await connection.execute(statement("drop_index", index=index))
        parts: dict[str, str | int] = {"index": index, "partition": table, "dimensions": state.partition.dimensions}
        if kind is VectorIndex.IVFFLAT:
            rows = await connection.fetchval(statement("rows_up_to", partition=table, most=1 << 62))
            parts["lists"] = ivfflat_lists(rows)
        await connection.execute(statement(f"build_{kind}", **parts))


async def _drop_index(database: Database, index: str) -> None:
    async with database.session() as connection:
        await connection.execute("SET statement_timeout = 0; SET lock_timeout = '60s'")
        await connection.execute(statement("drop_index", index=index))
