"""How far a group is in its topics: what it has committed, how far the log reaches, how old its next records are.

Meant to be asked again and again: the clients are kept, and made anew after a failure. Read-only, and never a member of
the group.
"""

import time
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from eventmill_connectors.kafka.admin import unreachable
from eventmill_connectors.kafka.daemon_thread import dispose
from eventmill_connectors.kafka.offsets import Committed, Partition, read_stable
from eventmill_schemas.errors import KafkaUnreachable, SetupError

_TIMEOUT = 5.0
"""Seconds for one request."""

_AGES_WITHIN = 3.0
"""Seconds in which the next records of all partitions are read."""

_COUNTS_FOR = 10.0
"""Seconds until partitions are counted again."""

_FIRST, _END = -2, -1
"""Kafka's stand-ins for a time in ListOffsets: the first offset there is, and the offset after the last."""


class Span(NamedTuple):
    """What a partition holds: [start, end) for read_committed readers, [start, high_watermark) for others."""

    start: int
    end: int
    high_watermark: int


class Positions:
    """Progress of one group. All methods block; after KafkaUnreachable the next call tries with new clients."""

    def __init__(self, client: Mapping[str, Any], group: str) -> None:
        shared = {
            **client,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",  # a record that retention takes while it is asked for: then the next
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 50,
            "queued.min.messages": 1,
            "fetch.message.max.bytes": 1024,  # the first batch comes whatever its size; more is not needed
        }
        self._client = dict(client)
        self._settings = {
            "committed": {**shared, "isolation.level": "read_committed"},
            "uncommitted": {**shared, "isolation.level": "read_uncommitted"},
        }
        self._consumers: dict[str, Consumer] = {}
        self._counts: dict[str, int] = {}
        self._counted = 0.0
        self._times: dict[Partition, tuple[int, int]] = {}

    def partitions(self, topics: Collection[str]) -> list[Partition]:
        """Return the partitions of `topics`. Raises SetupError for a topic that there is not, KafkaUnreachable."""
        if time.monotonic() - self._counted > _COUNTS_FOR or not self._counts.keys() >= set(topics):
            try:
                listed = self._consumer("committed").list_topics(timeout=_TIMEOUT).topics
            except KafkaException as error:
                raise self._failed() from error
            self._counts = {name: len(topic.partitions) for name, topic in listed.items()}
            self._counted = time.monotonic()
        missing = sorted(set(topics) - self._counts.keys())
        if missing:
            raise SetupError(
                f"Kafka at {self._client.get('bootstrap.servers')} has no topic {', '.join(missing)}",
                remedy="`eventmill apply` creates a pipeline's topics, with --inputs its input topics too",
            )
        return [(topic, number) for topic in dict.fromkeys(topics) for number in range(self._counts[topic])]

    def committed(self, partitions: Collection[Partition]) -> dict[Partition, Committed]:
        """Return what the group has committed, read stably: partitions with a pending commit are missing."""
        if not partitions:
            return {}
        try:
            return read_stable(self._consumer("committed"), partitions)
        except KafkaException as error:
            raise self._failed() from error

    def spans(self, partitions: Collection[Partition]) -> dict[Partition, Span]:
        """Return what the partitions hold; one that has no leader now is missing. Raises KafkaUnreachable."""
        starts = self._offsets("committed", partitions, _FIRST)
        ends = self._offsets("committed", partitions, _END)
        marks = self._offsets("uncommitted", partitions, _END)
        return {p: Span(starts[p], ends[p], marks[p]) for p in partitions if p in starts and p in ends and p in marks}

    def times(self, positions: Mapping[Partition, int]) -> dict[Partition, int | None]:
        """Return the time of the first committed record at or after each position, in milliseconds since the epoch.

        None: there is none. Missing: it could not be read now, or has no time. An answer is kept while the position
        stays. Raises KafkaUnreachable.
        """
        kept: dict[Partition, int | None]
        kept = {p: when for p, (offset, when) in self._times.items() if positions.get(p) == offset}
        wanted = {p: offset for p, offset in positions.items() if p not in kept}
        try:
            times = kept | self._read_times(wanted) if wanted else kept
        except KafkaException as error:
            raise self._failed() from error
        # Where no record is, the answer changes with the next record and not with the position: it is not kept.
        self._times = {p: (positions[p], when) for p, when in times.items() if when is not None}
        return times

    def close(self) -> None:
        """Let go of the clients without waiting."""
        for consumer in self._consumers.values():
            dispose(consumer)
        self._consumers.clear()

    def _offsets(self, isolation: str, partitions: Collection[Partition], what: int) -> dict[Partition, int]:
        if not partitions:
            return {}
        asked = [TopicPartition(topic, number, what) for topic, number in partitions]
        try:
            answer = self._consumer(isolation).offsets_for_times(asked, timeout=_TIMEOUT)
        except KafkaException as error:
            raise self._failed() from error
        return {(p.topic, p.partition): p.offset for p in answer if p.error is None}

    def _read_times(self, wanted: Mapping[Partition, int]) -> dict[Partition, int | None]:
        consumer = self._consumer("committed")
        consumer.assign([TopicPartition(*partition, offset) for partition, offset in wanted.items()])
        found: dict[Partition, int | None] = {}
        waiting, end = set(wanted), time.monotonic() + _AGES_WITHIN
        try:
            while waiting and (left := end - time.monotonic()) > 0:
                message = consumer.poll(left)
                partition = (message.topic(), message.partition()) if message is not None else None
                if message is None or partition not in waiting:
                    continue
                error = message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    continue  # told by its absence from the answer, unless it passes
                if error is not None:
                    found[partition] = None
                elif (when := message.timestamp()[1]) >= 0:
                    found[partition] = when
                waiting.discard(partition)
                consumer.incremental_unassign([TopicPartition(*partition)])
        finally:
            consumer.unassign()
        return found

    def _consumer(self, isolation: str) -> Consumer:
        if isolation not in self._consumers:
            self._consumers[isolation] = Consumer(self._settings[isolation])
        return self._consumers[isolation]

    def _failed(self) -> KafkaUnreachable:
        self.close()
        self._counted = 0.0
        return unreachable(self._client)
