"""What Kafka promises to a replica, in memory: logs, committed offsets, fencing; each commit ends as the test says.

Stands in for eventmill_connectors.kafka at the two parts of a Takeover: TransactionalProducer and StableOffsets.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from eventmill_connectors.kafka.group_metadata import Member
from eventmill_connectors.kafka.offsets import Committed
from eventmill_connectors.kafka.transaction import OffsetCommit, OutRecord, Rejected
from eventmill_schemas.errors import OutcomeUnknown, ProducerFenced, StaleGeneration

Partition = tuple[str, int]

REFUSED = b"refused by the broker"


class Fate(Enum):
    """How a commit ends, if the group and the slot are still ours."""

    COMMIT = auto()
    COMMIT_UNKNOWN = auto()   # committed, and nobody was told
    ABORT_UNKNOWN = auto()    # not committed, and nobody was told


@dataclass
class Cluster:
    """The broker's side. `visible` is what read_committed readers see, in order."""

    generation: int = 1
    refusal: str = "MSG_SIZE_TOO_LARGE"   # what is said of a record whose value is REFUSED
    epoch: int = 0   # of the transactional id
    committed: dict[Partition, Committed] = field(default_factory=dict)
    visible: list[OutRecord] = field(default_factory=list)
    pending: set[Partition] = field(default_factory=set)   # a transaction that has not ended hides their offsets
    commits: list[tuple[list[OutRecord], list[OffsetCommit]]] = field(default_factory=list)

    def store(self, records: Sequence[OutRecord], offsets: Sequence[OffsetCommit]) -> None:
        """Commit, all together."""
        self.visible += records
        self.commits.append((list(records), list(offsets)))
        for topic, partition, offset, metadata in offsets:
            self.committed[topic, partition] = Committed(offset, metadata)

    def frontier(self, partition: Partition) -> int:
        """Return the committed offset, -1 where there is none."""
        return self.committed.get(partition, Committed(-1, "")).offset


class ScriptedProducer:
    """A TransactionalProducer as its documentation describes it. `fate` is asked once per commit."""

    def __init__(self, cluster: Cluster, fate: Callable[[], Fate] = lambda: Fate.COMMIT) -> None:
        """Start closed."""
        self.cluster = cluster
        self.fate = fate
        self.hung = 0
        self.delay: Callable[[], float] = lambda: 0.0
        self.opened = 0
        self.hold: asyncio.Event | None = None   # commits wait for it
        self._epoch = -1
        self._busy = False

    @property
    def is_open(self) -> bool:
        """Whether `commit` may be called."""
        return self._epoch >= 0

    def _enter(self) -> None:
        assert not self._busy, "two callers use the producer at the same time"
        self._busy = True

    async def open(self) -> None:
        """Fence whoever had the id."""
        self._enter()
        try:
            self._epoch = -1
            await asyncio.sleep(self.delay())
            self.cluster.epoch += 1
            self.opened += 1
            self._epoch = self.cluster.epoch
        finally:
            self._busy = False

    async def commit(
        self, records: Sequence[OutRecord], offsets: Sequence[OffsetCommit], member: Member
    ) -> Rejected | None:
        """Commit, refuse or leave the caller in doubt."""
        if not self.is_open:
            raise OutcomeUnknown("the transactional producer is not open")
        self._enter()
        try:
            await asyncio.sleep(self.delay())
            if self.hold is not None:
                await self.hold.wait()
            return self._end(records, offsets, member)
        finally:
            self._busy = False

    def _end(self, records: Sequence[OutRecord], offsets: Sequence[OffsetCommit], member: Member) -> Rejected | None:
        fate, epoch = self.fate(), self._epoch
        if epoch != self.cluster.epoch:
            self._epoch = -1
            raise ProducerFenced("the transactional id is in use by another producer")
        if fate is Fate.ABORT_UNKNOWN:
            self._epoch = -1
            raise OutcomeUnknown("no answer")
        if any(record.value == REFUSED for record in records):
            self.cluster.epoch += 1
            self._epoch = self.cluster.epoch
            return Rejected(0 if len(records) == 1 else None, self.cluster.refusal)
        if member.generation != self.cluster.generation:
            self._epoch = -1
            raise StaleGeneration("the consumer group has moved on")
        self.cluster.store(records, offsets)
        if fate is Fate.COMMIT_UNKNOWN:
            self._epoch = -1
            raise OutcomeUnknown("no answer")
        return None

    def close(self) -> None:
        """Let go."""
        self._epoch = -1


class ScriptedOffsets:
    """A StableOffsets as its documentation describes it: what is pending is missing from the answer."""

    def __init__(self, cluster: Cluster) -> None:
        """Read from `cluster`."""
        self.cluster = cluster
        self.hung = 0
        self.problem: str | None = None
        self.broken: str | None = None   # while set, every read fails for this reason
        self.reads = 0
        self.delay: Callable[[], float] = lambda: 0.0

    async def read(self, partitions: Collection[Partition]) -> dict[Partition, Committed]:
        """Read what is committed."""
        asked = list(partitions)
        await asyncio.sleep(self.delay())
        self.reads += 1
        self.problem = self.broken
        if self.broken is not None:
            return {}
        known = self.cluster.committed
        return {p: known.get(p, Committed(-1, "")) for p in asked if p not in self.cluster.pending}

    def close(self) -> None:
        """Let go."""


def published(cluster: Cluster) -> dict[tuple[str, int, int], list[OutRecord]]:
    """Return the visible records by the input record that their value names (`topic/partition@offset`)."""
    found: dict[tuple[str, int, int], list[OutRecord]] = defaultdict(list)
    for record in cluster.visible:
        topic, _, rest = (record.value or b"").decode().partition("/")
        partition, _, offset = rest.partition("@")
        found[topic, int(partition), int(offset)].append(record)
    return found
