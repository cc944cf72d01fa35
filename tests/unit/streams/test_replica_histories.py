"""Whole replicas against a scripted Kafka, over thousands of random histories.

Commits succeed, fail, are refused or leave doubt; the group rebalances, other owners work on the partitions, processes
die, batches are dropped, models go away; events end in any order. Whatever happens: each record has one outcome, those
of a key in the order of their offsets, and nothing is left hanging.
"""

import asyncio
import random
from collections import defaultdict

import pytest
from structlog.testing import capture_logs

from eventmill_connectors.kafka.group_metadata import Member
from eventmill_connectors.kafka.offsets import Committed
from eventmill_connectors.kafka.transaction import OutRecord
from eventmill_schemas.errors import EventError, InvariantViolated, ModelUnreachable, RegistryUnreachable
from eventmill_schemas.events import RawRecord, Source
from eventmill_streams.doors import EventGate
from eventmill_streams.lane import Batch, Partition
from eventmill_streams.metrics import Metrics
from eventmill_streams.replica import Replica
from eventmill_streams.settled import SettledSet
from eventmill_streams.settlement import End, Settlement
from eventmill_streams.takeover import Takeover
from eventmill_streams.window import Limits
from scripted_kafka import REFUSED, Cluster, Fate, ScriptedOffsets, ScriptedProducer, published
from virtual_time import run_virtually

PARTITIONS: list[Partition] = [("in", 0), ("in", 1), ("in", 2)]
RESULT, DEAD = "results", "dlq"


class Log:
    """The input: records and holes, as they lie in Kafka."""

    def __init__(self, rng: random.Random) -> None:
        """Write a random log of each partition."""
        self.ends: dict[Partition, int] = {}
        self.records: dict[Partition, dict[int, RawRecord]] = {}
        for topic, number in PARTITIONS:
            size, holes = rng.randrange(0, 60), rng.choice((0, 0.1, 0.4))
            self.ends[topic, number] = size
            self.records[topic, number] = {
                offset: RawRecord(
                    Source(topic, number, offset),
                    rng.choice((None, b"a", b"b", b"c")),
                    b"large" if rng.random() < 0.02 else rng.choice((b"now", b"call", b"call", b"call")),
                    (),
                    0,
                )
                for offset in range(size)
                if rng.random() >= holes
            }


class Outside:
    """The models: away at times. Satisfies Processor."""

    def __init__(self, rng: random.Random) -> None:
        """Start with everything there."""
        self.rng = rng
        self.away = False
        self.silent = rng.random() < 0.5

    def now(self, record: RawRecord) -> Settlement | None:
        """Settle some records at once."""
        return self._settlement(record) if record.value == b"now" else None

    async def run(self, record: RawRecord, gate: EventGate) -> Settlement:
        """Wait as real steps do: between attempts, at doors, within time-outs of their own."""
        rng = self.rng
        await asyncio.sleep(rng.expovariate(2.0))
        if rng.random() < 0.2:
            try:
                async with asyncio.timeout(rng.random()):
                    await gate.pause(rng.random(), "overloaded")
            except TimeoutError:
                await asyncio.sleep(rng.random() / 10)
        waits, kind = 0, rng.choice((ModelUnreachable, RegistryUnreachable))
        while self.away:
            waits += 1
            await gate.wait_open(kind("away"), waits)
        if waits and not self.silent:   # else the server is there, and says no: the event ends without a word
            gate.opened(kind)
        return self._settlement(record)

    def bury(self, record: RawRecord, settlement: Settlement, error: EventError) -> Settlement:
        """Make the dead letter."""
        return Settlement(End.DEAD_LETTER, (_out(DEAD, record),), settlement.costs, error.kind)

    def committed(self, settlement: Settlement) -> None:
        """Nothing is counted here."""

    def _settlement(self, record: RawRecord) -> Settlement:
        if record.value == b"large":
            return Settlement(End.RESULT, (OutRecord(RESULT, 0, record.key, REFUSED),))
        return Settlement(End.RESULT, (_out(RESULT, record),))


def _out(topic: str, record: RawRecord) -> OutRecord:
    return OutRecord(topic, record.source.partition, record.key, str(record.source).encode())


class Fetcher:
    """Faust's side: reads what lanes want, delivers late, drops what a rebalance made stale. Satisfies Position."""

    def __init__(self, rng: random.Random, log: Log, replica: Replica | None = None) -> None:
        """Read from `log`."""
        self.rng = rng
        self.log = log
        self.replica = replica
        self.positions: dict[Partition, int] = {}
        self.generation = 0
        self.calm = False

    async def log_start(self, partition: Partition) -> int:
        """Nothing was removed."""
        return 0

    async def log_end(self, partition: Partition) -> int:
        """Nothing was lost: it ends where the group is, or later."""
        return 1 << 40

    async def seek(self, partition: Partition, offset: int) -> None:
        """Move, sometimes at the second try."""
        await asyncio.sleep(self.rng.random() / 10)
        if not self.calm and self.rng.random() < 0.2:
            raise OSError("not now")
        if partition in self.positions:
            self.positions[partition] = offset

    async def run(self) -> None:
        """Fetch for ever."""
        while True:
            await asyncio.sleep(self.rng.random() / 20)
            for partition in list(self.positions):
                await self._read(partition)

    async def _read(self, partition: Partition) -> None:
        rng, replica = self.rng, self.replica
        assert replica is not None
        if partition not in self.positions or not replica.wants(partition):
            return
        generation, start = self.generation, self.positions[partition]
        end = min(self.log.ends[partition], start + rng.randrange(1, 15))
        end = max(start, end)
        known = self.log.records[partition]
        batch = Batch(partition, generation, start, end, [known[o] for o in range(start, end) if o in known])
        self.positions[partition] = end
        await asyncio.sleep(rng.random() / 20)
        if not self.calm and rng.random() < 0.15:
            return   # dropped as stale: the fetcher is already past it
        if start != end or replica.missed(partition, end):
            replica.take(batch)


class History:
    """One random history of a slot: its replicas one after the other, and what else happens to the group."""

    def __init__(self, seed: int) -> None:
        """Draw the log and the budgets."""
        self.rng = rng = random.Random(seed)
        self.log = Log(rng)
        self.cluster = Cluster()
        self.outside = Outside(rng)
        self.calm = False
        self.errors: list[BaseException] = []
        self.elsewhere: dict[Partition, set[int]] = defaultdict(set)   # settled by other owners
        self.limits = Limits(rng.randrange(1, 6), rng.randrange(6, 12), rng.randrange(5, 40), 1 << 20)
        self.tasks: list[asyncio.Task[None]] = []
        self.start()

    def start(self) -> None:
        """Start a replica process in the slot."""
        metrics = Metrics()
        self.producer = ScriptedProducer(self.cluster, self.fate)
        offsets = ScriptedOffsets(self.cluster)
        self.producer.delay = offsets.delay = lambda: self.rng.choice((0.0, self.rng.expovariate(20.0)))
        self.fetcher = Fetcher(self.rng, self.log)
        takeover = Takeover(self.producer, offsets, metrics)
        self.replica = Replica(self.limits, self.outside, takeover, self.fetcher, metrics, self.errors.append)
        self.fetcher.replica = self.replica
        self.fetcher.calm = self.calm

    def fate(self) -> Fate:
        """Decide how a commit ends."""
        draw = 1.0 if self.calm else self.rng.random()
        return Fate.COMMIT_UNKNOWN if draw < 0.06 else Fate.ABORT_UNKNOWN if draw < 0.12 else Fate.COMMIT

    def begin(self) -> None:
        """Let the replica work."""
        self.replica.begin()
        self.tasks.append(asyncio.create_task(self.fetcher.run()))
        self.assign()

    def assign(self) -> None:
        """Give the replica some of the partitions, in a new generation."""
        rng = self.rng
        self.cluster.generation += 1
        mine = set(PARTITIONS) if self.calm else {p for p in PARTITIONS if rng.random() < 0.8}
        self.fetcher.generation = self.cluster.generation
        self.fetcher.positions = {p: rng.randrange(0, max(self.cluster.frontier(p), 0) + 1) for p in mine}
        member = Member("g", self.cluster.generation, rng.choice(("m1", "m2")), None)
        self.replica.assigned(member, mine)

    async def revoke(self) -> None:
        """Take all partitions away."""
        await self.replica.revoked()
        self.fetcher.positions = {}

    def others_work(self) -> None:
        """Let another owner settle some open records, lowest first as every owner must per key."""
        self.cluster.generation += 1
        for partition in PARTITIONS:
            if self.rng.random() < 0.5:
                continue
            settled = SettledSet(*self.cluster.committed.get(partition, Committed(-1, "")))
            arrived = [record for offset, record in self.log.records[partition].items() if settled.arrive(offset)]
            arrived = arrived[: self.rng.randrange(0, 6)]
            settled = SettledSet(*self.cluster.committed.get(partition, Committed(-1, "")))
            done = {record.source.offset for record in arrived if settled.arrive(record.source.offset)}
            if done:
                self.elsewhere[partition] |= done
                self.cluster.visible += [_out(RESULT, record) for record in arrived]
                self.cluster.committed[partition] = Committed(*settled.proposal(done))

    async def die(self) -> None:
        """End the process without a word; what it had on the wire is done or not."""
        for task in self.tasks:
            task.cancel()
        self.tasks.clear()
        self.replica.stop()
        self.cluster.epoch += 1
        await asyncio.sleep(0.1)
        self.start()
        self.begin()

    async def disturb(self) -> None:
        """Let one thing happen."""
        draw = self.rng.random()
        if draw < 0.35:
            await self.revoke()
            if self.rng.random() < 0.4:
                self.others_work()
            await asyncio.sleep(self.rng.expovariate(5.0))
            self.assign()
        elif draw < 0.5:   # expired without knowing it
            self.others_work()
            await asyncio.sleep(self.rng.expovariate(2.0))
            await self.revoke()
            self.assign()
        elif draw < 0.6:
            await self.die()
        elif draw < 0.8:
            self.outside.away = not self.outside.away
        else:
            partition = self.rng.choice(PARTITIONS)
            self.cluster.pending.symmetric_difference_update({partition})

    async def play(self) -> None:
        """Play the history to its end, and judge it."""
        self.begin()
        for _ in range(self.rng.randrange(0, 12)):
            await asyncio.sleep(self.rng.expovariate(1.0))
            await self.disturb()
            assert not self.errors, self.errors
        self.calm = self.fetcher.calm = True
        self.outside.away = False
        self.cluster.pending.clear()
        session = self.replica.session
        complete = session is not None and not session.closed and len(session.lanes) == len(PARTITIONS)
        if not complete or self.rng.random() < 0.2:   # a session that is over is noticed by the heartbeat
            await self.revoke()
            self.assign()
        end = asyncio.get_running_loop().time() + 600
        while not self.drained():
            assert not self.errors, self.errors
            assert asyncio.get_running_loop().time() < end, f"stands still: {self.standing()}"
            await asyncio.sleep(0.5)
        await self.replica.drain(5)
        self.judge()
        for task in self.tasks:
            task.cancel()
        self.replica.stop()

    def drained(self) -> bool:
        """Whether the lanes are open, and the group has committed up to the end of each partition."""
        ends = {p: end for p, end in self.log.ends.items() if self.log.records[p]}
        return self.replica.ready and all(self.cluster.frontier(p) >= end for p, end in ends.items())

    def standing(self) -> str:
        """Say what stands still."""
        window = self.replica.window
        states = {p: [(w.offset, w.state.name) for w in lane.work.values()] for p, lane in window.lanes.items()}
        return f"{self.cluster.committed} {self.log.ends} {states} {window.running} {window.unsettled} " + str(
            self.replica.doors.closed
        )

    def judge(self) -> None:
        """Hold what is visible against the log."""
        found = published(self.cluster)
        for partition, records in self.log.records.items():
            order = defaultdict(list)
            for offset, record in records.items():
                outcomes = found.pop((*partition, offset), [])
                assert len(outcomes) == 1, f"{partition}@{offset}: {outcomes}"
                ours = outcomes[0].topic == (DEAD if record.value == b"large" else RESULT)
                assert ours or offset in self.elsewhere[partition]
                assert outcomes[0].key == record.key
            for out in self.cluster.visible:
                source = (out.value or b"").decode()
                if out.key is not None and source.startswith(f"{partition[0]}/{partition[1]}@"):
                    order[out.key].append(int(source.rpartition("@")[2]))
            assert all(offsets == sorted(offsets) for offsets in order.values()), order
        assert not found
        window = self.replica.window
        assert window.running == 0
        assert window.unsettled == 0
        assert not self.replica.doors.closed


async def _play(seed: int) -> None:
    random.seed(seed)   # the doors' jitter
    with capture_logs():
        await History(seed).play()


@pytest.mark.parametrize("block", range(8))
def test_random_histories_settle_every_record_once_in_order(block: int) -> None:
    """Each record has exactly one visible outcome, keys keep their order, and every budget is back at zero."""
    for seed in range(block * 25, block * 25 + 25):
        try:
            run_virtually(_play(seed))
        except (AssertionError, InvariantViolated) as error:
            raise AssertionError(f"seed {seed}: {error}") from error
