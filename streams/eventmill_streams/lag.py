"""How much of its topics a consumer group has still to do: by offset, by record and by time, workers up or down.

eventmill finishes events in any order. A group's committed offset is its *frontier*, the lowest unsettled one; what is
settled beyond it is written beside it (offset_metadata.py). So there are two numbers: `lag`, the offsets from the
frontier to the end, which every Kafka tool shows, and `backlog`, those of them that are not settled, which is the work
that is left. Offsets without a record (transaction markers, gaps of compaction) count in both until they are passed.
"""

import time
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from eventmill_connectors.kafka.offsets import Committed, Partition
from eventmill_connectors.kafka.positions import Positions, Span
from eventmill_connectors.kafka.settings import command_settings
from eventmill_schemas.pipeline import Kafka
from eventmill_streams.offset_metadata import UnreadableMetadataError, decode


class Standing(StrEnum):
    """How a committed offset relates to its partition."""

    WITHIN = "within"
    NOTHING = "nothing"  # the group has committed nothing there
    PENDING = "pending"  # a transaction that has not ended hides it
    BEFORE_START = "before_start"  # retention removed records before they were done
    BEYOND_END = "beyond_end"  # the topic is shorter than it was: made anew, or damaged
    OFFLINE = "offline"  # the partition has no leader


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """One partition. Numbers that can't be told are None.

    `position` is the offset of the next record to do, `committed` what the group has committed. `settled` counts the
    offsets beyond `position` that are done; None: the text beside the offset is not eventmill's. `seconds` is the age
    of the next record to do, 0 where none waits, None where it was not asked for or has no time.
    """

    topic: str
    partition: int
    standing: Standing
    committed: int | None
    position: int | None
    end: int | None
    high_watermark: int | None
    settled: int | None
    lag: int | None
    backlog: int | None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Total:
    """Several partitions together: sums, and the age of the oldest record. `unknown` of them have no numbers."""

    partitions: int
    unknown: int
    lag: int
    backlog: int
    settled: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class GroupLag:
    """A group in all partitions of its topics, in their order."""

    group: str
    partitions: tuple[PartitionLag, ...]

    @property
    def total(self) -> Total:
        """All partitions together."""
        return _total(self.partitions)

    def by_topic(self) -> dict[str, Total]:
        """Return the totals of each topic."""
        topics = dict.fromkeys(partition.topic for partition in self.partitions)
        return {topic: _total([p for p in self.partitions if p.topic == topic]) for topic in topics}


@dataclass(frozen=True, slots=True)
class Speed:
    """Offsets settled and arrived per second. `drained_in`: seconds until none is left at this pace, None: never."""

    settled: float
    arrived: float
    drained_in: float | None


def partition_lag(
    partition: Partition, committed: Committed | None, span: Span | None, *, from_start: bool = True
) -> PartitionLag:
    """Work out the lag of one partition. `committed` None: it could not be read stably; `span` None: no leader.

    `from_start` says where the group begins when it has committed nothing: at the first record, as eventmill does, or
    unknown.
    """
    topic, number = partition
    offset = committed.offset if committed is not None and committed.offset >= 0 else None
    if span is None:
        return PartitionLag(topic, number, Standing.OFFLINE, offset, None, None, None, None, None, None)
    standing = _standing(committed, span)
    if committed is None or (offset is None and not from_start):
        return PartitionLag(topic, number, standing, None, None, span.end, span.high_watermark, None, None, None)
    position = min(max(span.start if offset is None else offset, span.start), max(span.end, span.start))
    lag = max(0, span.end - position)
    settled = _settled(offset, committed.metadata, position, span.end)
    return PartitionLag(
        topic, number, standing, offset, position, span.end, span.high_watermark, settled, lag, lag - (settled or 0)
    )


def with_ages(lag: GroupLag, times: Mapping[Partition, int | None], now_ms: float) -> GroupLag:
    """Return the lag with `seconds` filled in.

    `times` of the next records, in milliseconds since the epoch: None where there is no record, missing where unknown.
    `now_ms` is the clock's time.
    """

    def aged(p: PartitionLag) -> PartitionLag:
        key = (p.topic, p.partition)
        if p.lag != 0 and key not in times:
            return p
        when = None if p.lag == 0 else times[key]
        return replace(p, seconds=0.0 if when is None else max(0.0, (now_ms - when) / 1000))

    return replace(lag, partitions=tuple(map(aged, lag.partitions)))


def speed(before: GroupLag, after: GroupLag, seconds: float) -> Speed | None:
    """Return the pace between two looks that are `seconds` apart; None where no partition has numbers in both."""
    old = {(p.topic, p.partition): p for p in before.partitions}
    pairs = [(old[key], p) for p in after.partitions if (key := (p.topic, p.partition)) in old]
    known = [(a, b) for a, b in pairs if _done(a) is not None and _done(b) is not None]
    if not known or seconds <= 0:
        return None
    settled = sum((_done(b) or 0) - (_done(a) or 0) for a, b in known) / seconds
    arrived = sum((b.end or 0) - (a.end or 0) for a, b in known) / seconds
    left = after.total.backlog
    if left == 0:
        return Speed(settled, arrived, 0.0)
    return Speed(settled, arrived, left / (settled - arrived) if settled > arrived else None)


class _Source(Protocol):
    def partitions(self, topics: Collection[str]) -> list[Partition]: ...
    def committed(self, partitions: Collection[Partition]) -> dict[Partition, Committed]: ...
    def spans(self, partitions: Collection[Partition]) -> dict[Partition, Span]: ...
    def times(self, positions: Mapping[Partition, int]) -> dict[Partition, int | None]: ...
    def close(self) -> None: ...


class LagReader:
    """Reads the lag of groups from Kafka, as often as is wanted: clients are kept, one pair per group.

    Not to be used by two threads at once.
    """

    def __init__(self, kafka: Kafka) -> None:
        self._settings = command_settings(kafka)
        self._positions: dict[str, _Source] = {}

    def read(self, group: str, topics: Collection[str], *, ages: bool = False, from_start: bool = True) -> GroupLag:
        """Read the lag of `group` in `topics`; with `ages` also how old the next records are.

        Blocks: some milliseconds as a rule, up to about 20 seconds while brokers are away or transactions hang. Raises
        KafkaUnreachable (the next call tries anew), SetupError for a topic that there is not.
        """
        source = self._positions.get(group)
        if source is None:
            source = self._positions[group] = Positions(self._settings, group)
        partitions = source.partitions(topics)
        committed = source.committed(partitions)  # before the ends: what is committed meanwhile must not look negative
        spans = source.spans(partitions)
        lag = GroupLag(
            group,
            tuple(partition_lag(p, committed.get(p), spans.get(p), from_start=from_start) for p in partitions),
        )
        if not ages:
            return lag
        waiting = {(p.topic, p.partition): p.position for p in lag.partitions if p.position is not None and p.lag}
        return with_ages(lag, source.times(waiting), time.time() * 1000)

    def close(self) -> None:
        """Let go of the clients without waiting."""
        for source in self._positions.values():
            source.close()
        self._positions.clear()


def _standing(committed: Committed | None, span: Span) -> Standing:
    if committed is None:
        return Standing.PENDING
    if committed.offset < 0:
        return Standing.NOTHING
    if committed.offset < span.start:
        return Standing.BEFORE_START
    return Standing.BEYOND_END if committed.offset > span.high_watermark else Standing.WITHIN


def _settled(committed: int | None, metadata: str, position: int, end: int) -> int | None:
    """Count the settled offsets in [position, end)."""
    if committed is None:
        return 0
    try:
        open_offsets, known_to = decode(committed, metadata)
    except UnreadableMetadataError:
        return None
    known_to = min(known_to, end)
    if known_to <= position:
        return 0
    still_open = bisect_left(open_offsets, known_to) - bisect_left(open_offsets, position)
    return known_to - position - still_open


def _done(partition: PartitionLag) -> int | None:
    """Count the offsets of the partition that are done, from its beginning."""
    return None if partition.position is None else partition.position + (partition.settled or 0)


def _total(partitions: Iterable[PartitionLag]) -> Total:
    listed = list(partitions)
    ages = [p.seconds for p in listed if p.seconds is not None]
    return Total(
        partitions=len(listed),
        unknown=sum(p.lag is None for p in listed),
        lag=sum(p.lag or 0 for p in listed),
        backlog=sum(p.backlog or 0 for p in listed),
        settled=sum(p.settled or 0 for p in listed),
        seconds=max(ages, default=None),
    )
