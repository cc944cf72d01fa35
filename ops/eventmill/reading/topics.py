"""Committed records of topics, read outside any consumer group: nothing is joined, nothing is committed."""

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from eventmill_connectors.kafka.admin import unreachable
from eventmill_connectors.kafka.offsets import Partition
from eventmill_connectors.kafka.positions import Positions, Span
from eventmill_connectors.kafka.settings import command_settings
from eventmill_schemas.errors import KafkaUnreachable, SetupError
from eventmill_schemas.events import RawRecord, Source
from eventmill_schemas.pipeline import Kafka

HEADERS_UNREADABLE = "<header names that are not UTF-8>"
"""Stands for all headers of a record where the Kafka client can't read their names."""

_GROUP = "eventmill-reader"   # librdkafka wants a name; it is never joined
_AT_ONCE = 500
_TURN = 0.1
"""Seconds that a turn of reading takes where fewer records come at once."""

_STALLED = 15.0
"""Seconds without an answer after which no broker is expected to give one."""

_FIRST_WIDTH = 100   # offsets per partition that the search for the last records begins with


class _HasRecord(Protocol):
    @property
    def record(self) -> RawRecord: ...


T = TypeVar("T", bound=_HasRecord)


class TopicReader:
    """Reads `topics`, isolation read_committed. `on_trouble` is told when no broker answers while it follows.

    Raises SetupError for a topic that there is not; UsageError for wrong client settings; KafkaUnreachable.
    """

    def __init__(self, kafka: Kafka, topics: Sequence[str], on_trouble: Callable[[str], None] = lambda _: None) -> None:
        self._client = command_settings(kafka)
        self._topics = topics
        self._on_trouble = on_trouble
        # Its append is no Python code: a callback that Ctrl-C ends would end the call with SystemError.
        self._errors: deque[KafkaError] = deque(maxlen=100)
        settings = {
            **self._client,
            "group.id": _GROUP,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",   # retention took the record that was asked for: the next one then
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "queued.max.messages.kbytes": 16_384,
            "fetch.wait.max.ms": 100,   # so long the broker waits before it says that there is no more
            "error_cb": self._errors.append,
        }
        self._consumer = Consumer(settings)

    def spans(self) -> dict[Partition, Span]:
        """Return what the partitions hold now."""
        positions = Positions(self._client, _GROUP)
        try:
            partitions = positions.partitions(self._topics)
            spans = positions.spans(partitions)
        finally:
            positions.close()
        if missing := [f"{topic}/{number}" for topic, number in partitions if (topic, number) not in spans]:
            raise KafkaUnreachable(f"no broker leads {', '.join(missing)} now")
        return spans

    def read(self, starts: Mapping[Partition, int], ends: Mapping[Partition, int]) -> Iterator[RawRecord]:
        """Yield the records in [start, end) of every partition; in order within one, not among them.

        Ends also where no record is left before the end: a transaction's marker, an aborted or compacted record.
        """
        left = {partition for partition, start in starts.items() if start < ends[partition]}
        if not left:
            return
        self._consumer.assign([TopicPartition(*partition, starts[partition]) for partition in left])
        answered = time.monotonic()
        while left:
            messages = self._consumer.consume(_AT_ONCE, timeout=_TURN)
            if messages:
                answered = time.monotonic()
            elif time.monotonic() - answered > _STALLED:
                raise unreachable(self._client)
            for message in messages:
                partition = (message.topic(), message.partition())
                if partition not in left:
                    continue
                done = self._is_end(message)
                if not done:
                    if message.offset() < ends[partition]:
                        yield raw_record(message)
                    done = message.offset() >= ends[partition] - 1
                if done:
                    left.discard(partition)
                    self._consumer.incremental_unassign([TopicPartition(*partition)])
        self._consumer.unassign()

    def follow(self, starts: Mapping[Partition, int]) -> Iterator[RawRecord]:
        """Yield the records from the starts on, for ever: waits for new ones, also while no broker answers."""
        self._consumer.assign([TopicPartition(*partition, start) for partition, start in starts.items()])
        is_told = False
        while True:
            messages = self._consumer.consume(_AT_ONCE, timeout=_TURN)
            if messages:
                is_told = False
            elif not is_told and any(error.code() == KafkaError._ALL_BROKERS_DOWN for error in self._errors):
                is_told = True
                self._on_trouble("no Kafka broker answers; waiting")
            self._errors.clear()
            for message in messages:
                if not self._is_end(message):
                    yield raw_record(message)

    def last(self, count: int, spans: Mapping[Partition, Span], look: Callable[[RawRecord], T | None]) -> list[T]:
        """Return the last `count` of what `look` makes of records (None: not this one), by the records' times.

        Reads backwards from the end, ever more, until there are so many or nothing is left.
        """
        found: dict[Partition, deque[T]] = {partition: deque(maxlen=count) for partition in spans}
        reached = {partition: span.end for partition, span in spans.items()}
        width = max(count, _FIRST_WIDTH)
        while starts := {
            partition: max(span.start, reached[partition] - width)
            for partition, span in spans.items()
            if len(found[partition]) < count and reached[partition] > span.start
        }:
            older: dict[Partition, deque[T]] = {partition: deque(maxlen=count) for partition in starts}
            for record in self.read(starts, reached):
                if (item := look(record)) is not None:
                    older[record.source.topic, record.source.partition].append(item)
            for partition, items in older.items():
                found[partition] = deque([*items, *found[partition]], maxlen=count)
            reached.update(starts)
            width *= 4
        merged = heapq.merge(*found.values(), key=lambda item: item.record.timestamp_ms)
        return list(deque(merged, maxlen=count))

    def close(self) -> None:
        """Let go of the client."""
        self._consumer.close()

    def _is_end(self, message: Message) -> bool:
        """Whether this stands for the end of a partition, and not for a record. Raises what went wrong for good."""
        error = message.error()
        if error is None:
            return False
        if error.code() == KafkaError._PARTITION_EOF:
            return True
        if error.code() in _GONE:
            raise SetupError(f"the topic {message.topic()} is not there any more")
        if error.code() in _FORBIDDEN:
            raise SetupError(f"Kafka refuses to let this user read {message.topic()}: {error.str()}")
        raise KafkaUnreachable(f"reading {message.topic()} failed: {error.str()}")


def raw_record(message: Any) -> RawRecord:
    """Return a consumed message as a value."""
    try:
        headers = tuple(message.headers() or ())
    except (SystemError, UnicodeDecodeError):   # confluent-kafka's way to say that a name is not UTF-8
        headers = ((HEADERS_UNREADABLE, None),)
    source = Source(message.topic(), message.partition(), message.offset())
    return RawRecord(source, message.key(), message.value(), headers, message.timestamp()[1])


_GONE = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})
_FORBIDDEN = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED})
