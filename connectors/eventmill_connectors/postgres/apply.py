"""Making a database fit the stores of a pipeline, and opening it when it does."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

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

_ASK_AGAIN = 0.2
"""Seconds between two questions whether another `apply` has ended its work on indexes."""


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
        made = change
        try:
            match change:
                case MakeExtension():
                    await _make_extension(database)
                case Migrate():
                    await migrate(database, migrations())
                case MakePartition():
                    await _make_partition(database, change.wanted)
                case BuildIndex():
                    made = replace(change, note=await _build_index(database, change.wanted))
                case DropIndex():
                    await _drop_index(database, change.index.name)
        except PostgresUnreachable as error:
            raise of_setup(error) from error.__cause__
        yield made


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
    try:
        async with database.transaction() as connection:
            await connection.execute(f"SELECT pg_advisory_xact_lock({APPLY_LOCK})")
            await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except PostgresUnreachable as error:
        if isinstance(of_setup(error), SetupError):
            raise SetupError(
                error.message, remedy="Let a superuser run CREATE EXTENSION vector in the database, then apply again"
            ) from error
        raise
    await database.close()   # connections made before do not know its types


async def _make_partition(database: Database, wanted: Wanted) -> None:
    store, space = wanted.store, wanted.space
    async with database.transaction() as connection:
        await connection.execute(f"SELECT pg_advisory_xact_lock({APPLY_LOCK})")
        await connection.execute(statement("create_vectors", relation=store.table))
        if not await connection.fetchval(statement("is_vectors"), store.table):
            raise SetupError(
                f"store {store.name}: the database has a table {store.table} that is not eventmill's",
                remedy="Give the store another `table`",
            )
        await connection.execute(statement("forget_dropped"), *wanted.key)
        made = await connection.fetchval(statement("make_space"), store.table, store.name, space.name, space.dimensions)
        if made is None:   # somebody else was faster
            return
        names = {"relation": store.table, "partition": f"{store.table}_{made}"}
        await connection.execute(statement("create_partition", **names, space=made, dimensions=space.dimensions))


async def _build_index(database: Database, wanted: Wanted) -> str:
    """Build it; return what the server noted meanwhile, such as that its memory did not suffice."""
    async with _alone(database) as connection:
        state = (await look(database)).spaces.get(wanted.key)
        if state is None:
            raise SetupError(f"store {wanted.store.name} has no partition", remedy="Run `eventmill apply` again")
        kind, table = wanted.store.index, state.partition.table
        if any(index.usable and index.kind is kind for index in state.indexes):
            return ""   # somebody else was faster
        parts: dict[str, str | int] = {"index": f"{table}_{kind}", "partition": table}
        await connection.execute(statement("drop_index", index=f"{table}_{kind}"))
        if kind is VectorIndex.IVFFLAT:
            rows = await connection.fetchval(statement("rows_up_to", partition=table, most=1 << 62))
            parts["lists"] = ivfflat_lists(rows)
        notes: list[str] = []

        def note(_: Connection, said: Any) -> None:
            notes.append(". ".join(text for text in (said.message, said.hint) if text))

        connection.add_log_listener(note)
        try:
            await connection.execute(statement(f"build_{kind}", **parts, dimensions=state.partition.dimensions))
        finally:
            connection.remove_log_listener(note)
    return "; ".join(notes)


async def _drop_index(database: Database, index: str) -> None:
    async with _alone(database) as connection:
        await connection.execute(statement("drop_index", index=index))


@asynccontextmanager
async def _alone(database: Database) -> AsyncIterator[Connection]:
    """Give a session for work on indexes that no other `apply` does at the same time, however long it takes."""
    async with database.session() as connection:
        await connection.execute("SET statement_timeout = 0; SET lock_timeout = '60s'")
        # Asked again and again: who waits inside a statement holds up a build that waits for older statements.
        while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", APPLY_LOCK + 1):  # noqa: ASYNC110 - of Postgres
            await asyncio.sleep(_ASK_AGAIN)
        yield connection
        await connection.execute("SELECT pg_advisory_unlock_all()")
