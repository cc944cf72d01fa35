"""The brokers of a cluster, and the settings of theirs that eventmill depends on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from eventmill_connectors.kafka.admin import unreachable

_TIMEOUT = 5.0
"""Seconds for one request: this is what is asked first, so that an address where nothing is answers soon."""


@dataclass(frozen=True, slots=True)
class ClusterInfo:
    """A cluster as one of its brokers tells it.

    `settings` are that broker's, as text; empty where they may not be read.
    """

    cluster_id: str | None
    brokers: tuple[str, ...]
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)

    def number(self, setting: str, default: int) -> int:
        """Return a setting that is a number, `default` (Kafka's own) where it may not be read."""
        value = self.settings.get(setting)
        return default if value is None else int(value)


def describe_cluster(client: Mapping[str, Any]) -> ClusterInfo:
    """Ask the cluster for its brokers and settings. Blocks for about ten seconds at most; raises KafkaUnreachable."""
    admin = AdminClient(dict(client))
    try:
        found = admin.list_topics(timeout=_TIMEOUT)
    except KafkaException as error:
        raise unreachable(client) from error
    brokers = tuple(f"{broker.host}:{broker.port}" for broker in found.brokers.values())
    one = ConfigResource(ResourceType.BROKER, str(next(iter(found.brokers), found.controller_id)))
    try:
        entries = admin.describe_configs([one], request_timeout=_TIMEOUT)[one].result(_TIMEOUT + 1)
    except KafkaException:  # not allowed, as with some hosted clusters: Kafka's own defaults are assumed
        entries = {}
    settings = {name: entry.value for name, entry in entries.items() if entry.value is not None}
    return ClusterInfo(found.cluster_id, brokers, settings)
