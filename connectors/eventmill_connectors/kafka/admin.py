"""Topics as they are, and as they should be.

An AdminClient is made for each use and let go again: one that lives through a broker restart was seen to spin and to
abort the process. All functions block, for a few times TIMEOUT seconds at most.
"""

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from eventmill_schemas.errors import KafkaUnreachable, SetupError
from eventmill_schemas.topics import TopicSpec

TIMEOUT = 15.0
"""Seconds for one request to the cluster."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as the cluster has it. `config` holds every setting in force, as text."""

    name: str
    partitions: int
    config: Mapping[str, str]

    @property
    def max_message_bytes(self) -> int:
        """The largest record batch that the topic takes."""
        return int(self.config["max.message.bytes"])


class Topics:
    """Looks at topics and changes them.

    `client` holds librdkafka settings, `bootstrap.servers` among them; `timeout` is for one request, in seconds.
    """

    def __init__(self, client: Mapping[str, Any], *, timeout: float = TIMEOUT) -> None:
        self._config = dict(client)
        self._timeout = timeout

    def _client(self) -> AdminClient:
        return AdminClient(self._config)

    def describe(self, names: Collection[str]) -> dict[str, TopicState]:
        """Return the topics that exist among `names`. Raises KafkaUnreachable."""
        admin = self._client()
        try:
            listed = admin.list_topics(timeout=self._timeout).topics
        except KafkaException as error:
            raise unreachable(self._config) from error
        partitions = {name: len(listed[name].partitions) for name in names if name in listed}
        if not partitions:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in partitions]
        configs = self._results(admin, admin.describe_configs(resources, request_timeout=self._timeout))
        return {
            resource.name: TopicState(
                resource.name, partitions[resource.name], {key: entry.value for key, entry in entries.items()}
            )
            for resource, entries in configs.items()
        }

    def create(self, specs: Iterable[TopicSpec], replication: int = -1) -> None:
        """Create topics; one that exists already is left alone. `replication` -1 is the broker's default."""
        wanted = [
            NewTopic(s.name, num_partitions=s.partitions, replication_factor=replication, config=dict(s.config))
            for s in specs
        ]
        if wanted:
            admin = self._client()
            futures = admin.create_topics(wanted, request_timeout=self._timeout, operation_timeout=self._timeout)
            self._results(admin, futures, ignore=KafkaError.TOPIC_ALREADY_EXISTS)

    def grow(self, name: str, partitions: int) -> None:
        """Raise the number of partitions of a topic."""
        admin = self._client()
        self._results(admin, admin.create_partitions([NewPartitions(name, partitions)], request_timeout=self._timeout))

    def configure(self, name: str, settings: Mapping[str, str]) -> None:
        """Set `settings` of a topic; others stay as they are."""
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in settings.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
        admin = self._client()
        self._results(admin, admin.incremental_alter_configs([resource], request_timeout=self._timeout))

    def _results(
        self, admin: AdminClient, futures: Mapping[T, "Future[Any]"], ignore: int | None = None
    ) -> dict[T, Any]:
        """Wait for the answers. `admin` is held until they are there: its destructor would cancel them."""
        found: dict[T, Any] = {}
        for what, future in futures.items():
            try:
                found[what] = future.result(self._timeout + 5)
            except KafkaException as error:
                reason = error.args[0]
                if reason.code() == ignore:
                    continue
                if reason.code() in (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN):
                    raise unreachable(self._config) from error
                raise SetupError(f"Kafka refused a change of {what}: {reason.str()}") from error
        del admin
        return found


def unreachable(config: Mapping[str, Any]) -> KafkaUnreachable:
    """Return the error that says that no broker answers a client with this configuration."""
    bootstrap = config.get("bootstrap.servers")
    return KafkaUnreachable(
        f"no Kafka broker answers at {bootstrap}",
        remedy="Start it (`eventmill dev up` starts a local one), or set kafka.bootstrap",
    )
