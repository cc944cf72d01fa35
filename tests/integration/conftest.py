"""Real servers for the tests of this folder. They fail, and are not skipped, when the servers are not there."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from backends import backend
from eventmill.dev.addresses import Addresses, addresses_from_environment


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder, so that `-m "not integration"` leaves it out."""
    for item in items:
        if "tests/integration/" in item.path.as_posix():
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def addresses(request: pytest.FixtureRequest) -> Iterator[Addresses]:
    """Give the addresses of Kafka, registry and Postgres.

    An external stack if EVENTMILL_KAFKA, EVENTMILL_REGISTRY and EVENTMILL_POSTGRES name one, else the local stack in
    `.eventmill/test-stack`, else containers. What earlier runs left in it is still there: use `unique` in names.
    """
    with backend(request.config.rootpath, addresses_from_environment()) as found:
        yield found


@pytest.fixture
def unique() -> str:
    """Give a prefix for the names of topics, groups, subjects and tables that no other test has."""
    return f"t{uuid4().hex[:10]}"
