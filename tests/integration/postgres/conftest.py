"""A database of its own for the tests of each file here, made on the server that all tests share."""

from collections.abc import AsyncIterator, Iterator

import pytest

from eventmill.dev.addresses import Addresses
from eventmill_connectors.postgres.pool import Database
from vector_stores import own_database


@pytest.fixture(scope="module")
def database_url(addresses: Addresses) -> Iterator[str]:
    """Give the address of an empty database."""
    with own_database(addresses.postgres) as url:
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Give that database."""
    database = Database(database_url)
    yield database
    await database.close()
