"""Records of a topic for one member of a consumer group: each is done when the next one is asked for."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException

from eventmill.reading.topics import raw_record
from eventmill_connectors.kafka.admin import unreachable
from eventmill_connectors.kafka.settings import command_settings
from eventmill_schemas.errors import KafkaUnreachable, SetupError
from eventmill_schemas.events import RawRecord
from eventmill_schemas.pipeline import Kafka

_TURN = 0.2
"""Seconds that one look for a record takes where there is none."""

_FIRST_CONTACT = 10.0
"""Seconds in which a broker must answer, so that a wrong address is told."""


def group_records(
    kafka: Kafka, topic: str, group: str, *, follow: bool, from_beginning: bool
) -> Iterator[RawRecord]:
    """Yield committed records from where the group stopped; offsets are committed behind what was asked behind.

    Without `follow` it ends when all partitions that this member has are at their end. At least once: after a crash
    the records since the last commit (every 5 s, and at the end) come again. Raises SetupError, KafkaUnreachable.
    """
    members = _Member(kafka, topic, group, from_beginning=from_beginning)
    try:
        yield from members.records(follow=follow)
    finally:
        members.close()


class _Member:
    """One member of the group."""

    def __init__(self, kafka: Kafka, topic: str, group: str, *, from_beginning: bool) -> None:
        self._settings = command_settings(kafka)
        settings = {
            **self._settings,
            "group.id": group,
            "enable.auto.commit": True,
            "enable.auto.offset.store": False,   # stored when the next record is asked for, and committed from there
            "auto.offset.reset": "earliest" if from_beginning else "latest",
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
        try:
            self._consumer = Consumer(settings)
        except KafkaException as error:
            raise SetupError(f"the Kafka client's settings are wrong: {error.args[0].str()}") from None
        self._topic = topic
        self._ended: set[int] = set()
        self._joined = False

    def records(self, *, follow: bool) -> Iterator[RawRecord]:
        """Yield the records."""
        self._check_topic()
        # A partition that comes back may have more: what is at its end is told anew for each assignment.
        self._consumer.subscribe([self._topic], on_assign=self._assigned, on_revoke=self._forget_ends)
        while follow or not self._is_at_end():
            message = self._consumer.poll(_TURN)
            if message is None or self._is_end(message):
                continue
            self._ended.discard(message.partition())
            yield raw_record(message)
            with suppress(KafkaException):   # the partition was taken away meanwhile: another member has the record too
                self._consumer.store_offsets(message=message)

    def close(self) -> None:
        """Commit what is done and leave the group."""
        self._consumer.close()

    def _check_topic(self) -> None:
        try:
            listed = self._consumer.list_topics(self._topic, timeout=_FIRST_CONTACT).topics[self._topic]
        except KafkaException:
            raise unreachable(self._settings) from None
        if listed.error is not None or not listed.partitions:
            raise SetupError(
                f"Kafka has no topic {self._topic}", remedy="`eventmill apply` creates the topics of a pipeline"
            )

    def _assigned(self, consumer: Any, partitions: Any) -> None:
        self._joined = True
        self._forget_ends(consumer, partitions)

    def _forget_ends(self, _: Any, partitions: Any) -> None:
        self._ended -= {partition.partition for partition in partitions}

    def _is_at_end(self) -> bool:
        assigned = {partition.partition for partition in self._consumer.assignment()}
        return self._joined and assigned <= self._ended   # a member may get none

    def _is_end(self, message: Any) -> bool:
        """Whether this is no record. Raises what went wrong for good."""
        error = message.error()
        if error is None:
            return False
        if error.code() == KafkaError._PARTITION_EOF:
            self._ended.add(message.partition())
            return True
        if error.retriable() or error.code() == KafkaError._MAX_POLL_EXCEEDED:
            return True   # the client rejoins or asks again by itself
        if error.code() in {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED}:
            raise SetupError(f"Kafka refuses to let this user read {self._topic}: {error.str()}")
        raise KafkaUnreachable(f"reading {self._topic} failed: {error.str()}")
