"""librdkafka settings of a pipeline's clients."""

from typing import Any

from eventmill_schemas.pipeline import Kafka


def consumer_settings(kafka: Kafka) -> dict[str, Any]:
    """Return the settings of clients that only read."""
    return {**kafka.client, "bootstrap.servers": kafka.bootstrap}


def client_settings(kafka: Kafka, largest_record: int) -> dict[str, Any]:
    """Return the settings of producers. The client's size limit is above every topic's, so that one decides."""
    return {**consumer_settings(kafka), "message.max.bytes": max(1_000_000, 2 * largest_record)}


def command_settings(kafka: Kafka) -> dict[str, Any]:
    """Return the settings of clients in commands: what goes wrong is told by the command, not by the library."""
    return {**consumer_settings(kafka), "log_level": 0}
