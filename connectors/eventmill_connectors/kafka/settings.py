"""librdkafka settings of a pipeline's clients."""

from typing import Any

from eventmill_schemas.pipeline import Kafka


def consumer_settings(kafka: Kafka) -> dict[str, Any]:
    """Return the settings of clients that only read."""
    return {**kafka.client, "bootstrap.servers": kafka.bootstrap}


def client_settings(kafka: Kafka, largest_record: int, smallest_limit: int) -> dict[str, Any]:
    """Return the settings of producers, in bytes.

    The client's limit for a record is above every topic's, so that the topic decides; its batches fit the topic that
    takes the least, because one that does not is refused as a whole.
    """
    return {
        **consumer_settings(kafka),
        "message.max.bytes": max(1_000_000, 2 * largest_record),
        "batch.size": max(1, min(1_000_000, smallest_limit)),
    }


def command_settings(kafka: Kafka) -> dict[str, Any]:
    """Return the settings of clients in commands: what goes wrong is told by the command, not by the library."""
    return {**consumer_settings(kafka), "log_level": 0}
