"""The topic that is produced to: there, or made."""

from dataclasses import dataclass

from confluent_kafka import KafkaException

from eventmill_connectors.kafka.admin import Topics
from eventmill_connectors.kafka.settings import command_settings
from eventmill_schemas.errors import SetupError, UsageError
from eventmill_schemas.pipeline import Kafka
from eventmill_schemas.topics import TopicSpec, topic_problem

_TIMEOUT = 6.0
"""Seconds for one question to Kafka: who waits at a terminal wants to know soon."""


@dataclass(frozen=True, slots=True)
class Target:
    """A topic. `created_partitions` None: it was there before."""

    topic: str
    max_bytes: int
    created_partitions: int | None = None


def check_name(topic: str) -> None:
    """Raise UsageError for a name that Kafka would refuse."""
    if (problem := topic_problem(topic)) is not None:
        raise UsageError(f"the topic {topic!r} {problem}")


def find_target(kafka: Kafka, topic: str) -> Target | None:
    """Look at the topic; None where there is none. Raises KafkaUnreachable, SetupError for wrong client settings."""
    try:
        found = _topics(kafka).describe([topic])
    except KafkaException as error:
        raise SetupError(f"the Kafka client's settings are wrong: {error.args[0].str()}") from None
    return Target(topic, found[topic].max_message_bytes) if topic in found else None


def create_target(kafka: Kafka, topic: str, partitions: int) -> Target:
    """Create the topic. Raises SetupError where Kafka refuses, KafkaUnreachable."""
    topics = _topics(kafka)
    topics.create([TopicSpec(topic, partitions)])
    created = topics.describe([topic])[topic]
    return Target(topic, created.max_message_bytes, created.partitions)


def missing_topic(kafka: Kafka, topic: str) -> SetupError:
    """Return the error that says so."""
    return SetupError(
        f"there is no topic {topic} in Kafka at {kafka.bootstrap}",
        remedy="Create it with `--create-topic`; `eventmill apply --inputs` creates the inputs of a pipeline",
    )


def _topics(kafka: Kafka) -> Topics:
    return Topics(command_settings(kafka), timeout=_TIMEOUT)
