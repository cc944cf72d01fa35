"""What a group has committed, read only where no transaction is pending on it."""

import asyncio
import time
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from eventmill_connectors.kafka.daemon_thread import DaemonThread, dispose

Partition = tuple[str, int]

_DEADLINE = 15.0
"""Seconds for one read, all partitions together; then client and thread are abandoned."""

_ROUND = 8.0
"""Seconds in which partitions are asked for, within one read."""

_ALL_AT_ONCE, _SINGLY = 3.0, 0.5
"""Seconds given to one request: one pending transaction fails the whole of it, so the second try asks singly."""


class Committed(NamedTuple):
    """What stands for one partition; `offset` is below 0 where nothing was committed."""

    offset: int
    metadata: str


class StableOffsets:
    """Reads (offset, metadata) with `require_stable`: `committed()` of a read_committed consumer that never joins.

    Not AdminClient: one that lives through a broker restart was seen to spin and to abort the process.
    """

    def __init__(self, client: Mapping[str, Any], group: str) -> None:
        self._config = {
            **client,
            "group.id": group,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "log_level": 0,  # never polled: it could not hand its lines to a logger
        }
        self._reader: Consumer | None = None
        self._thread = DaemonThread("offsets")
        self.problem: str | None = None  # why the last read failed, None where it did not
        self._turn = asyncio.Lock()  # a read that queued behind another would pass its deadline without being hung
        self.hung = 0

    async def read(self, partitions: Collection[Partition]) -> dict[Partition, Committed]:
        """Read what is committed. Partitions missing from the answer are unstable or unreadable now: ask again.

        There is no fall-back to an unstable read: it returns the offset before a pending commit, and following it
        would settle events twice. Callers take turns.
        """
        async with self._turn:
            return await self._read_once(list(partitions))

    def close(self) -> None:
        """Let go of the client without waiting."""
        if self._reader is not None:
            dispose(self._reader)
        self._reader = None
        self._thread.close()

    async def _read_once(self, partitions: list[Partition]) -> dict[Partition, Committed]:
        self.problem = None
        try:
            return await self._thread.call(_DEADLINE, self._read, partitions)
        except TimeoutError:
            self.hung += 1
            self.problem = f"no answer within {_DEADLINE:g} s"
            self._thread = DaemonThread("offsets")
        except KafkaException as error:  # a client that failed is not used again
            self.problem = str(error.args[0])
        if self._reader is not None:
            dispose(self._reader)
        self._reader = None
        return {}

    def _read(self, partitions: list[Partition]) -> dict[Partition, Committed]:
        reader = self._reader = self._reader or Consumer(self._config)
        return read_stable(reader, partitions)


def read_stable(reader: Consumer, partitions: Collection[Partition]) -> dict[Partition, Committed]:
    """Read what the group of `reader`, a read_committed consumer, has committed; blocks for about ten seconds at most.

    Partitions missing from the answer are unstable or unreadable now. Raises KafkaException where the client failed.
    """
    found: dict[Partition, Committed] = {}
    end, asks, limit = time.monotonic() + _ROUND, [list(partitions)], _ALL_AT_ONCE
    while asks and time.monotonic() < end:
        ask = asks.pop(0)
        try:
            answer = reader.committed([TopicPartition(*partition) for partition in ask], timeout=limit)
        except KafkaException as error:
            if error.args[0].code() not in (KafkaError._TIMED_OUT, KafkaError.UNSTABLE_OFFSET_COMMIT):
                raise
            if len(ask) > 1:
                asks += [[partition] for partition in ask]
            limit = _SINGLY
            continue
        found |= {(p.topic, p.partition): Committed(p.offset, p.metadata or "") for p in answer if p.error is None}
    return found
