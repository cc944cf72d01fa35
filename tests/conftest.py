"""What holds for every test, and the real servers of those that need them."""

import json
import os
from collections.abc import Iterator
from uuid import uuid4

import pytest
from hypothesis import settings

from backends import Worker, backend, connect_worker
from eventmill.dev.addresses import Addresses, addresses_from_environment
from whole_run import DemoRun, whole_run

# Speed is printed, never asserted: an example that waits for a busy machine is no failure. The same tests try the same
# examples everywhere; new ones are looked for on purpose, by `make fuzz`.
settings.register_profile("eventmill", deadline=None, derandomize=True)
settings.register_profile("fuzz", deadline=None, max_examples=1000)
settings.load_profile("fuzz" if "EVENTMILL_FUZZ" in os.environ else "eventmill")

# What the user's shell has set: addresses of real servers and keys of paid accounts. No test may act on them.
_KEYS = ("OPENAI_", "ANTHROPIC_", "GEMINI_", "GOOGLE_API_")
_OF_EXAMPLES = ("MAIL_MODEL", "INTENTS_MODEL", "VECTORS")
_OF_THE_USER = ("EVENTMILL_", *_KEYS, *_OF_EXAMPLES, "DATABASE_URL", "KAFKA", "REGISTRY", "CONNECT")

_GIVEN = dict(os.environ)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what asks for real servers, so that `-m "not integration"` leaves it out."""
    for item in items:
        if "addresses" in getattr(item, "fixturenames", ()) or "tests/integration/" in item.path.as_posix():
            item.add_marker(pytest.mark.integration)


@pytest.fixture(autouse=True)
def no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the user's settings out of the environment; the `addresses` of integration tests are read before."""
    _without_settings(monkeypatch)


def _without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(_OF_THE_USER):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def addresses(request: pytest.FixtureRequest) -> Iterator[Addresses]:
    """Give the addresses of Kafka, registry and Postgres; fail, and don't skip, where there are none.

    An external stack if EVENTMILL_KAFKA, EVENTMILL_REGISTRY and EVENTMILL_POSTGRES name one, else the local stack in
    `.eventmill/test-stack`, else containers. What earlier runs left in it is still there: use `unique` in names.
    """
    with backend(request.config.rootpath, addresses_from_environment()) as found:
        yield found


@pytest.fixture(scope="session")
def connect(request: pytest.FixtureRequest, addresses: Addresses) -> Worker:
    """Give a worker of Kafka Connect: that of EVENTMILL_CONNECT, of the local stack, or of the containers."""
    return connect_worker(request.config.rootpath, addresses, _GIVEN)


@pytest.fixture(scope="session")
def demo(addresses: Addresses, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> DemoRun:
    """Run the demo to its end, once for all tests that look at what it prints and counts."""
    folder = tmp_path_factory.mktemp("demo")
    file = folder / "demo.json"
    with pytest.MonkeyPatch.context() as monkeypatch:
        _without_settings(monkeypatch)
        with whole_run(pytestconfig.rootpath, folder, addresses, "demo", "--json", str(file)) as run:
            assert run.code(180) == 0, run.said
            assert run.started() == {}
    return DemoRun(json.loads(file.read_text()), run.out.read_text(), run.said)


@pytest.fixture
def unique() -> str:
    """Give a prefix for the names of topics, groups, subjects and tables that no other test has."""
    return f"t{uuid4().hex[:10]}"
