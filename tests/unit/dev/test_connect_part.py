"""The worker of Kafka Connect in the local stack: its settings and command line."""

from dataclasses import replace
from pathlib import Path

import pytest

from eventmill.dev.connect import Connect, settings
from eventmill.dev.java import Java

SECRET = "a-password"


@pytest.fixture
def part(tmp_path: Path) -> Connect:
    """Give a worker that was never started."""
    return Connect(
        folder=tmp_path,
        java=Java(Path("/jre/bin/java"), Path("/cache/connect"), tmp_path / "tmp"),
        marker="eventmill-connect-1",
        plugins=[Path("/cache/connect/plugins"), Path("/cache/iceberg/plugins")],
        cluster_id="c",
        kafka_port=19092,
        port=18083,
        variables={"WAREHOUSE_PASSWORD": SECRET},
    )


def test_it_listens_on_the_loopback_interface(part: Connect) -> None:
    """Its REST API has no password: nobody on the network may reach it."""
    part.prepare()
    found = dict(line.split("=", 1) for line in (part.folder / "connect/worker.properties").read_text().splitlines())
    assert found["listeners"] == "http://127.0.0.1:18083"
    assert found["rest.advertised.host.name"] == "127.0.0.1"
    assert found["bootstrap.servers"] == "127.0.0.1:19092"
    assert found["plugin.path"] == "/cache/connect/plugins,/cache/iceberg/plugins"
    assert settings().items() <= found.items()


def test_the_password_goes_to_the_worker_by_its_environment_alone(part: Connect) -> None:
    """Command lines and settings can be read by others; what is printed can be, too."""
    part.prepare()
    command = part.command()
    assert command.environment["WAREHOUSE_PASSWORD"] == SECRET
    assert SECRET not in " ".join(command.argv)
    assert SECRET not in repr(part)
    assert not any(SECRET in file.read_text() for file in part.folder.rglob("*") if file.is_file())


def test_one_broker_can_keep_its_topics() -> None:
    """Each of the three has one replica, and no two are the same."""
    found = settings()
    assert {value for name, value in found.items() if name.endswith("replication.factor")} == {"1"}
    assert len({value for name, value in found.items() if name.endswith("storage.topic")}) == 3


def test_nothing_answers_is_a_complaint(part: Connect) -> None:
    """As for every part: a reason in words, no exception."""
    assert "refused" in str(replace(part, port=1).complaint())
