"""One lane per input partition: what has arrived, what is at work, what is settled.

Single-threaded; no I/O, no clock.
"""

from __future__ import annotations

from asyncio import Task
from collections import deque
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final, Generic, NamedTuple, TypeVar

from eventmill_schemas.events import RawRecord
from eventmill_streams.settled import SettledSet

Partition = tuple[str, int]
OutcomeT = TypeVar("OutcomeT")

RECORD_OVERHEAD: Final = 300
"""Bytes that a waiting record costs beside its key, value and headers: objects, queue entries."""


class Batch(NamedTuple):
    """Records that were read together: [start, end) was read without a hole.

    What lies in that range and was not delivered does not exist (control records, compaction). None: not known,
    because a rebalance came in between.
    """

    partition: Partition
    generation: int  # of the consumer group, noted before the read
    start: int | None
    end: int | None
    records: Sequence[RawRecord]


class State(IntEnum):
    """The life of one event in a replica, in order. A PAUSED one waits without an in-flight slot."""

    WAITING = 0
    RUNNING = 1
    PAUSED = 2
    READY = 3
    SETTLED = 4


class Work(Generic[OutcomeT]):
    """One event, from arrival to settlement. `outcome` is what its tick will commit, once it is READY."""

    __slots__ = ("chain", "lane", "outcome", "record", "size", "state", "task")

    def __init__(self, lane: Lane[OutcomeT], record: RawRecord, chain: tuple[Partition, bytes] | None) -> None:
        self.lane = lane
        self.record = record
        self.chain = chain
        self.size = RECORD_OVERHEAD + len(record.key or b"") + len(record.value or b"")
        self.size += sum(len(name) + len(value or b"") for name, value in record.headers)
        self.state = State.WAITING
        self.outcome: OutcomeT | None = None
        self.task: Task[Any] | None = None

    @property
    def offset(self) -> int:
        """The record's offset in its partition."""
        return self.record.source.offset

    @property
    def begun(self) -> bool:
        """Whether enriching it has started and is not settled: what a crash may make us repeat."""
        return State.RUNNING <= self.state <= State.READY


class Lane(Generic[OutcomeT]):
    """The window and the offset tracker of one input partition, for one assignment.

    `settled` is None until the committed state was read; until then nothing is taken.
    """

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.settled: SettledSet | None = None
        self.work: dict[int, Work[OutcomeT]] = {}  # arrived and not settled, by offset
        self.backlog: deque[RawRecord] = deque()  # delivered, and beyond the span: at most one batch
        self.runnable = 0  # events that only wait for a slot
        self.bytes = 0
        self.repairing = False  # a seek is under way: nothing is taken
        self._backlog_end: int | None = None

    @property
    def tracker(self) -> SettledSet:
        """The settled set of an opened lane."""
        if self.settled is None:
            raise RuntimeError(f"lane {self.partition} is not open yet")
        return self.settled

    @property
    def commit_due(self) -> bool:
        """Whether the frontier could move although nothing became ready: control records or holes were passed."""
        return self.settled is not None and self.settled.drained_to > self.settled.frontier

    def take(self, batch: Batch) -> bool:
        """Accept a batch for `advance`. False: records before it are missing, so the reader must be sent back."""
        position = self.tracker.position
        start = batch.start if batch.start is not None else _first_offset(batch, position)
        if start > position or self.backlog:
            return False
        self.backlog.extend(batch.records)
        self._backlog_end = batch.end
        return True

    def next_new(self) -> RawRecord | None:
        """Return the next record to work on, noted as open; None: the backlog is empty or the span is full.

        The caller registers the work before anything else runs: in between, a commit would call the offset settled.
        """
        tracker, backlog = self.tracker, self.backlog
        while backlog and tracker.room(backlog[0].source.offset):
            record = backlog.popleft()
            if tracker.arrive(record.source.offset):
                return record
        if not backlog and self._backlog_end is not None:
            tracker.skip_to(self._backlog_end)
            self._backlog_end = None
        return None

    def register(self, work: Work[OutcomeT]) -> None:
        """Hold `work` until it is settled."""
        self.work[work.offset] = work
        self.bytes += work.size

    def discard(self, work: Work[OutcomeT]) -> None:
        """Forget `work`, if this lane holds it."""
        if self.work.get(work.offset) is work:
            del self.work[work.offset]
            self.bytes -= work.size


def _first_offset(batch: Batch, position: int) -> int:
    return batch.records[0].source.offset if batch.records else position
