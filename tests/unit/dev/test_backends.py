"""What integration tests run against."""

from itertools import product
from pathlib import Path

import pytest

from backends import choose_backend, connect_worker, local_obstacle
from eventmill.dev.addresses import Addresses
from eventmill.dev.jars import archive_folder


@pytest.mark.parametrize(("obstacle", "docker"), list(product([None, "no Maven"], [False, True])))
def test_what_the_environment_names_comes_first(obstacle: str | None, docker: bool) -> None:
    """Whoever sets the variables means them."""
    assert choose_backend(external=True, obstacle=obstacle, docker=docker) == "external"


@pytest.mark.parametrize("docker", [False, True])
def test_the_local_stack_comes_before_containers(docker: bool) -> None:
    """It is what users run, so it is what tests run, wherever it can."""
    assert choose_backend(external=False, obstacle=None, docker=docker) == "local"


def test_containers_are_for_machines_without_it() -> None:
    """Where a docker engine answers."""
    assert choose_backend(external=False, obstacle="no Maven", docker=True) == "containers"


def test_nothing_to_test_against_is_a_failure_that_says_why() -> None:
    """A skip would let a green run prove nothing."""
    with pytest.raises(RuntimeError, match="no Maven"):
        choose_backend(external=False, obstacle="no Maven", docker=False)


def test_a_machine_without_maven_and_archives_can_not_run_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives that are there already need no Maven."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert local_obstacle(tmp_path) == "Maven (mvn) is not installed"
    folder = archive_folder(tmp_path)
    folder.mkdir()
    (folder / "complete.json").write_text("{}")
    assert local_obstacle(tmp_path) is None


def test_an_external_worker_is_used_as_it_is(tmp_path: Path) -> None:
    """It may see the registry under another address than we do."""
    found = Addresses("k:9092", "http://r:8081", "postgresql://p", "http://c:8083")
    given = {"EVENTMILL_KAFKA": "k:9092"}
    worker = connect_worker(tmp_path, found, given)
    assert (worker.url, worker.registry) == ("http://c:8083", "http://r:8081")
    inside = connect_worker(tmp_path, found, {**given, "EVENTMILL_CONNECT_REGISTRY": "http://inside:8081"})
    assert inside.registry == "http://inside:8081"


def test_an_external_kafka_without_a_worker_is_a_failure_that_names_the_variable(tmp_path: Path) -> None:
    """A worker of the local stack would read another Kafka."""
    with pytest.raises(RuntimeError, match="EVENTMILL_CONNECT"):
        connect_worker(tmp_path, Addresses("k:9092", "http://r", "postgresql://p"), {"EVENTMILL_KAFKA": "k:9092"})
