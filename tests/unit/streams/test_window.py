"""The window against a model: order per key, budgets, adoption after a rebalance."""

import asyncio
import random
from collections import defaultdict

import pytest

from eventmill_schemas.events import RawRecord, Source
from eventmill_streams.lane import Batch, State, Work
from eventmill_streams.settled import SettledSet
from eventmill_streams.window import Limits, Window

PARTITIONS = [("in", 0), ("in", 1), ("in", 2)]


def record(partition: tuple[str, int], offset: int, key: bytes | None, size: int = 10) -> RawRecord:
    """Build a record whose value is `size` bytes."""
    return RawRecord(Source(*partition, offset), key, b"v" * size, (), 0)


def batch(partition: tuple[str, int], start: int, keys: list[bytes | None]) -> Batch:
    """Build a batch of consecutive records."""
    records = [record(partition, start + i, key) for i, key in enumerate(keys)]
    return Batch(partition, 1, start, start + len(keys), records)


class Harness:
    """A window whose events finish when the test says so."""

    def __init__(self, limits: Limits) -> None:
        """Start with no lanes."""
        self.started: list[Work[str]] = []
        self.window: Window[str] = Window(limits, self.started.append)

    def open(self, committed: dict[tuple[str, int], tuple[int, str]] | None = None) -> None:
        """Assign all partitions and open their lanes."""
        for partition, lane in self.window.open(PARTITIONS).items():
            lane.settled = SettledSet(*(committed or {}).get(partition, (-1, "")))
            self.window.opened(lane)

    def finish(self, work: Work[str]) -> None:
        """Let one running event end."""
        self.started.remove(work)
        self.window.finished(work, f"outcome of {work.offset}")

    def commit(self) -> list[Work[str]]:
        """Commit everything that is ready, and return it."""
        works, self.window.ready = self.window.ready, []
        by_lane = defaultdict(set)
        for work in works:
            by_lane[work.lane].add(work.offset)
        for lane, offsets in by_lane.items():
            lane.tracker.settle(offsets, lane.tracker.proposal(offsets)[0])
        self.window.settle(works)
        return works


def limits(running: int = 4, unsettled: int = 8, events: int = 50, keyed: bool = True) -> Limits:
    """Small budgets, so that they bind."""
    return Limits(running, unsettled, events, 1 << 20, keyed)


@pytest.mark.parametrize("block", range(4))
def test_random_histories_keep_order_and_budgets(block: int) -> None:
    """Events of a key run one at a time and become ready in offset order, and no budget is ever exceeded.

    Rebalances in between: begun events are adopted, waiting ones come again, none settles twice, none is lost.
    """
    for seed in range(block * 100, block * 100 + 100):
        run_history(random.Random(seed))


def run_history(rng: random.Random) -> None:
    """Play one history to its end."""
    harness = Harness(limits(rng.randrange(1, 6), rng.randrange(6, 12), rng.randrange(5, 40)))
    window = harness.window
    log = {p: [rng.choice([None, b"a", b"b", b"c"]) for _ in range(rng.randrange(1, 80))] for p in PARTITIONS}
    committed: dict[tuple[str, int], tuple[int, str]] = {}
    settled: dict[tuple[str, int], list[int]] = {p: [] for p in PARTITIONS}
    order: dict[tuple[tuple[str, int], bytes], list[int]] = defaultdict(list)
    harness.open()
    for _ in range(20_000):
        if all(len(settled[p]) == len(log[p]) for p in PARTITIONS):
            break
        choice = rng.random()
        if choice < 0.3:
            deliver(rng, harness, log)
        elif choice < 0.75 and harness.started:
            harness.finish(rng.choice(harness.started))
        elif choice < 0.97:
            for work in harness.commit():
                partition = work.lane.partition
                committed[partition] = work.lane.tracker.proposal(set())
                settled[partition].append(work.offset)
                if work.record.key is not None:
                    order[partition, work.record.key].append(work.offset)
        else:
            window.close()
            harness.open(committed)
            harness.started[:] = [w for w in harness.started if w.state == State.RUNNING]
        assert window.running <= window.limits.running
        assert window.unsettled <= window.limits.unsettled
        assert window.running == len(harness.started)
        running_keys = [w.chain for w in harness.started if w.chain]
        assert len(running_keys) == len(set(running_keys)), "two events of one key at work"
    for partition in PARTITIONS:
        assert sorted(settled[partition]) == list(range(len(log[partition])))
    assert all(offsets == sorted(offsets) for offsets in order.values())
    assert window.running == window.unsettled == 0


def deliver(rng: random.Random, harness: Harness, log: dict[tuple[str, int], list[bytes | None]]) -> None:
    """Fetch for one partition, if its lane wants more."""
    partition = rng.choice(PARTITIONS)
    if not harness.window.wants(partition):
        return
    lane = harness.window.lanes[partition]
    start = lane.tracker.position
    keys = log[partition][start : start + rng.randrange(1, 20)]
    if keys:
        assert harness.window.take(lane, batch(partition, start, keys))
        harness.window.dispatch()


def test_a_batch_beyond_the_position_is_refused() -> None:
    """Records missing before a batch are noticed: taking it would pass over them."""
    harness = Harness(limits())
    harness.open()
    lane = harness.window.lanes["in", 0]
    assert harness.window.take(lane, batch(("in", 0), 0, [b"a"]))
    assert not harness.window.take(lane, batch(("in", 0), 5, [b"a"]))
    assert lane.tracker.position == 1


def test_a_waiting_key_takes_no_slot() -> None:
    """With 20 events of one key first, an event of another key runs at once."""
    harness = Harness(limits(running=2))
    harness.open()
    harness.window.take(harness.window.lanes["in", 0], batch(("in", 0), 0, [b"hot"] * 20 + [b"cold"]))
    harness.window.dispatch()
    assert [w.record.key for w in harness.started] == [b"hot", b"cold"]


def test_without_order_events_of_a_key_run_together() -> None:
    """`order: none` lifts the rule of one event per key."""
    harness = Harness(limits(running=3, keyed=False))
    harness.open()
    harness.window.take(harness.window.lanes["in", 0], batch(("in", 0), 0, [b"hot"] * 3))
    harness.window.dispatch()
    assert len(harness.started) == 3


def test_uncommitted_outcomes_stop_new_work() -> None:
    """With the broker away finished events pile up to the bound, and then nothing new is begun."""
    harness = Harness(limits(running=4, unsettled=8))
    harness.open()
    harness.window.take(harness.window.lanes["in", 0], batch(("in", 0), 0, [None] * 40))
    harness.window.dispatch()
    while harness.started:
        harness.finish(harness.started[0])
    assert len(harness.window.ready) == 8
    harness.commit()
    assert len(harness.started) == 4


def test_one_busy_partition_may_use_the_whole_window() -> None:
    """A lane alone with traffic is not held to its share; with all busy each has its share for certain."""
    harness = Harness(limits(running=200, unsettled=400, events=60))
    harness.open()
    window = harness.window
    window.take(window.lanes["in", 0], batch(("in", 0), 0, [None] * 40))
    window.dispatch()
    assert window.wants(("in", 0))
    window.take(window.lanes["in", 0], batch(("in", 0), 40, [None] * 40))
    window.dispatch()
    assert not window.wants(("in", 0))
    assert window.wants(("in", 1))


def test_bytes_close_a_lane() -> None:
    """Large records fill the byte budget long before the count."""
    harness = Harness(Limits(4, 8, 1000, 3000))
    harness.open()
    lane = harness.window.lanes["in", 0]
    harness.window.take(lane, Batch(("in", 0), 1, 0, 1, [record(("in", 0), 0, None, size=5000)]))
    assert not harness.window.wants(("in", 0))
    assert harness.window.wants(("in", 1))


async def test_a_paused_event_gives_its_slot_away_and_comes_first_again() -> None:
    """While one event waits for a retry another runs; when it resumes it has the next free slot before new ones."""
    harness = Harness(limits(running=1, unsettled=3))
    harness.open()
    window = harness.window
    window.take(window.lanes["in", 0], batch(("in", 0), 0, [None] * 3))
    window.dispatch()
    first = harness.started[0]
    window.pause(first)
    assert [w.offset for w in harness.started] == [0, 1]
    resumed = asyncio.create_task(window.resume(first))
    await asyncio.sleep(0)
    assert not resumed.done()
    harness.finish(harness.started[1])
    await resumed
    assert first.state == State.RUNNING
    assert window.running == 1
    assert [w.offset for w in harness.started] == [0]


async def test_dropping_a_resuming_event_gives_the_slot_on() -> None:
    """An event dropped in the moment it gets its slot leaves no slot behind."""
    harness = Harness(limits(running=1, unsettled=3))
    harness.open()
    window = harness.window
    window.take(window.lanes["in", 0], batch(("in", 0), 0, [None] * 2))
    window.dispatch()
    first, second = harness.started[0], None
    window.pause(first)
    second = harness.started[1]
    first.task = asyncio.create_task(window.resume(first))
    await asyncio.sleep(0)
    window.finished(second, "done")
    window.close()
    window.open([])
    with pytest.raises(asyncio.CancelledError):
        await first.task
    assert window.running == window.unsettled == 0


async def test_a_wait_broken_off_leaves_the_event_running() -> None:
    """A step whose own time-out ends its wait goes on: the event counts as running, and can finish."""
    harness = Harness(limits(running=1, unsettled=3))
    harness.open()
    window = harness.window
    window.take(window.lanes["in", 0], batch(("in", 0), 0, [None] * 2))
    window.dispatch()
    first = harness.started[0]
    window.pause(first)
    assert window.running == 1, "the second event has the slot"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await window.resume(first)
    assert first.state == State.RUNNING
    assert window.running == 2
    for work in list(harness.started):
        harness.finish(work)
    assert window.running == 0
    assert {work.offset for work in harness.commit()} == {0, 1}


def test_orphans_settled_by_others_are_dropped() -> None:
    """An event begun here and finished by another owner is cancelled when the partition comes back."""
    harness = Harness(limits())
    harness.open()
    window = harness.window
    window.take(window.lanes["in", 0], batch(("in", 0), 0, [b"a", b"b"]))
    window.dispatch()
    window.close()
    harness.open({("in", 0): (2, "")})
    assert window.running == window.unsettled == 0
    assert not window.orphans
