"""librdkafka settings of a pipeline's clients."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from eventmill_schemas.errors import UsageError
from eventmill_schemas.pipeline import Kafka


def consumer_settings(kafka: Kafka) -> dict[str, Any]:
    """Return the settings of clients that only read. Raises UsageError for what librdkafka does not take."""
    check_client(kafka)
    return {**_completed(kafka.client), "bootstrap.servers": kafka.bootstrap}


def check_client(kafka: Kafka) -> None:
    """Raise UsageError where `kafka.client` has a key that librdkafka does not know, or a value that it refuses."""
    problem = _problem(tuple(sorted(kafka.client.items())))
    if problem is not None:
        raise UsageError(f"kafka.client: {problem}", remedy="Its keys and values are librdkafka's")


@lru_cache(maxsize=16)
def _problem(settings: tuple[tuple[str, str], ...]) -> str | None:
    """Let the library judge: a client without brokers does nothing, and goes at once."""
    if not settings:
        return None
    try:
        AdminClient({"log_level": 0, **_completed(dict(settings))})
    except KafkaException as error:
        return str(error.args[0].str()).removeprefix("Failed to create admin client: ")
    return None


def _completed(client: Mapping[str, str]) -> dict[str, Any]:
    """Add the mechanism that users of hosted clusters expect; librdkafka's own default, GSSAPI, is not in its wheel."""
    sasl = client.get("security.protocol", "").upper().startswith("SASL_")
    plain = {} if not sasl or client.keys() & {"sasl.mechanism", "sasl.mechanisms"} else {"sasl.mechanism": "PLAIN"}
    return {**plain, **client}


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
