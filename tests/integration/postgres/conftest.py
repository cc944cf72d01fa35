"""A database of its own for the tests of this folder, made on the server that all tests share."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import asyncpg
import pytest

from eventmill.dev.addresses import Addresses
from eventmill_connectors.postgres.pool import Database


@pytest.fixture(scope="module")
def database_url(addresses: Addresses) -> Iterator[str]:
    """Give the address of an empty database."""
    name = f"t{uuid4().hex[:10]}"

    async def run(statement: str) -> None:
        connection = await asyncpg.connect(addresses.postgres, timeout=10)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(run(f"CREATE DATABASE {name}"))
    yield f"{addresses.postgres.rpartition('/')[0]}/{name}"
    asyncio.run(run(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Give that database."""
    database = Database(database_url)
    yield database
    await database.close()
