"""Results as they become visible to a read_committed consumer, with the time of each."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

from confluent_kafka import Consumer, TopicPartition

from eventmill.dev.addresses import Addresses

FIRST, LAST = 0.1, 0.8
"""The steady part of a run: behind the start, and before the end, which the unluckiest key decides."""


@dataclass(frozen=True, slots=True)
class Visible:
    """A result: its value, when it was received and when it was produced, in seconds since the epoch."""

    value: bytes
    received: float
    produced: float


@dataclass(frozen=True, slots=True)
class Steady:
    """The steady part of a run: `events` between two times."""

    start: float
    end: float
    events: int

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.events / (self.end - self.start)


class Results:
    """Follows a topic from its beginning."""

    def __init__(self, addresses: Addresses, topic: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": addresses.bootstrap,
                "group.id": f"bench-{uuid4().hex[:8]}",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        partitions = self._consumer.list_topics(topic, 15).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, number, 0) for number in partitions])

    def read(self, seconds: float) -> Iterator[Visible]:
        """Wait at most `seconds` for a result, and give all that are there then."""
        first = self._consumer.poll(seconds)
        if first is None:
            return
        more = self._consumer.consume(5_000, 0)
        now = time.time()
        for message in (first, *more):
            if message.error() is None:
                yield Visible(message.value() or b"", now, message.timestamp()[1] / 1000)

    def close(self) -> None:
        """Let go of the consumer."""
        self._consumer.close()


def steady(times: list[float]) -> Steady:
    """Return the part between FIRST and LAST of the events of a run, given the time of each in any order."""
    ordered = sorted(times)
    first, last = int(FIRST * len(ordered)), int(LAST * len(ordered))
    return Steady(ordered[first], ordered[last], last - first)
