"""The window of a replica: which events run, which wait, in what order. Single-threaded; no I/O, no clock.

Three separate budgets:

- running: events being enriched, an upper bound of the calls in flight. An event that waits for an earlier one of its
  key, for a retry or at a closed door uses none.
- unsettled: events begun and not committed: what a crash can make us buy again. Bounded, so that an unreachable broker
  stops the spending.
- ahead: records taken from Kafka and not settled, in events and bytes, shared by the lanes: memory.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from eventmill_schemas.events import RawRecord
from eventmill_streams.lane import Batch, Lane, Partition, State, Work

OutcomeT = TypeVar("OutcomeT")
Chain = tuple[Partition, bytes]


@dataclass(frozen=True, slots=True)
class Limits:
    """The three budgets, all per replica. `keyed` False lets events of one key run at the same time."""

    running: int
    unsettled: int
    events: int
    bytes: int
    keyed: bool = True


class Window(Generic[OutcomeT]):
    """Decides what runs. `start` is called for each event whose turn has come; it must not await."""

    def __init__(self, limits: Limits, start: Callable[[Work[OutcomeT]], None]) -> None:
        self.limits = limits
        self.running = 0
        self.unsettled = 0
        self.lanes: dict[Partition, Lane[OutcomeT]] = {}
        self.ready: list[Work[OutcomeT]] = []  # finished, in the order of finishing
        self.orphans: dict[Partition, dict[int, Work[OutcomeT]]] = {}  # begun under an earlier assignment
        self.room = asyncio.Event()  # set whenever a lane may have become willing to take more
        self.accepting = True  # False: nothing new is begun (a closed door, a drain)
        self._start = start
        self._dispatching = False
        self._runnable: deque[Work[OutcomeT]] = deque()
        self._resuming: deque[asyncio.Future[None]] = deque()
        self._behind: dict[Chain, deque[Work[OutcomeT]]] = {}  # a key with an event at work -> those that wait for it

    # Intake

    def wants(self, partition: Partition) -> bool:
        """Whether more records of `partition` should be fetched now."""
        lane = self.lanes.get(partition)
        if lane is None or lane.settled is None or lane.repairing or lane.backlog or not self.accepting:
            return False
        share = max(1, len(self.lanes))
        return (
            lane.runnable < max(32, 2 * self.limits.running // share)
            and self._affords(lane, share)
            and lane.settled.room(lane.settled.position)
        )

    def _affords(self, lane: Lane[OutcomeT], share: int) -> bool:
        """Each lane has its share for certain, and may use what the others leave: one busy partition gets it all."""
        lanes = self.lanes.values()
        events = len(lane.work) < self.limits.events / share or sum(len(x.work) for x in lanes) < self.limits.events
        return events and (lane.bytes < self.limits.bytes / share or sum(x.bytes for x in lanes) < self.limits.bytes)

    def take(self, lane: Lane[OutcomeT], batch: Batch) -> bool:
        """Admit a batch. False: records before it are missing: send the reader back to the lane's position."""
        if not lane.take(batch):
            return False
        self._advance(lane)
        return True

    def _advance(self, lane: Lane[OutcomeT]) -> None:
        while (record := lane.next_new()) is not None:
            self._admit(lane, record)
        if orphans := self.orphans.get(lane.partition):  # those that were passed will not come: retention, compaction
            self._drop(lane.partition, [offset for offset in orphans if offset < lane.tracker.position])

    def _admit(self, lane: Lane[OutcomeT], record: RawRecord) -> None:
        orphan = self.orphans.get(lane.partition, {}).pop(record.source.offset, None)
        if orphan is not None:
            orphan.lane = lane
            lane.register(orphan)
            if orphan.state == State.READY:
                self.ready.append(orphan)
            return
        chain = (lane.partition, record.key) if self.limits.keyed and record.key is not None else None
        work: Work[OutcomeT] = Work(lane, record, chain)
        lane.register(work)
        behind = self._behind.get(chain) if chain else None
        if behind is not None:
            behind.append(work)
            return
        if chain:
            self._behind[chain] = deque()
        self._enqueue(work)

    # Running

    def dispatch(self) -> None:
        """Begin whatever has its turn and fits the budgets. Never recurses: a start may finish at once."""
        if self._dispatching:
            return
        self._dispatching = True
        try:
            while self._resuming and self.running < self.limits.running:
                waiter = self._resuming.popleft()
                if not waiter.done():
                    self.running += 1
                    waiter.set_result(None)
            while self._runnable and self.accepting and self._has_room():
                work = self._runnable.popleft()
                work.lane.runnable -= 1
                work.state = State.RUNNING
                self.running += 1
                self.unsettled += 1
                self._start(work)
        finally:
            self._dispatching = False
        self.room.set()

    def _has_room(self) -> bool:
        return self.running < self.limits.running and self.unsettled < self.limits.unsettled

    def _enqueue(self, work: Work[OutcomeT]) -> None:
        work.lane.runnable += 1
        self._runnable.append(work)

    def pause(self, work: Work[OutcomeT]) -> None:
        """Give the slot of a running event back: it is about to wait for something."""
        work.state = State.PAUSED
        self.running -= 1
        self.dispatch()

    async def resume(self, work: Work[OutcomeT]) -> None:
        """Take a slot again, before events that have not begun."""
        waiter = asyncio.get_running_loop().create_future()
        self._resuming.append(waiter)
        self.dispatch()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():  # the slot was given just now
                self.running -= 1
            self.reclaim(work)
            raise
        work.state = State.RUNNING

    def reclaim(self, work: Work[OutcomeT]) -> None:
        """Count a paused event as running again, over the budget if need be: its wait was broken off.

        A step may do so by a time-out of its own, and go on. One that was dropped meanwhile gets nothing.
        """
        if work.state == State.PAUSED:
            work.state = State.RUNNING
            self.running += 1
        self.dispatch()

    def finished(self, work: Work[OutcomeT], outcome: OutcomeT) -> None:
        """Take note of how an event ended. It is ready before the key's next event can even start."""
        self.running -= 1
        work.state, work.outcome, work.task = State.READY, outcome, None
        if work.lane.work.get(work.offset) is work:
            self.ready.append(work)
        self._release_key(work.chain)
        self.dispatch()

    def _release_key(self, chain: Chain | None) -> None:
        if chain is None:
            return
        behind = self._behind.get(chain)
        if behind:
            self._enqueue(behind.popleft())
        elif behind is not None:
            del self._behind[chain]

    # Settling

    def settle(self, works: Iterable[Work[OutcomeT]]) -> None:
        """Free the room of `works`, whose outcomes are committed."""
        lanes: dict[Partition, Lane[OutcomeT]] = {}
        for work in works:
            if work.state == State.SETTLED:
                continue
            work.state = State.SETTLED
            self.unsettled -= 1
            work.lane.discard(work)
            self._forget_orphan(work)
            lanes[work.lane.partition] = work.lane
        for partition, lane in lanes.items():
            if self.lanes.get(partition) is lane:
                self._advance(lane)
        self.dispatch()

    def _forget_orphan(self, work: Work[OutcomeT]) -> None:
        orphans = self.orphans.get(work.lane.partition)
        if orphans is not None and orphans.get(work.offset) is work:
            del orphans[work.offset]

    # Assignment

    def close(self) -> None:
        """Partitions were revoked. Waiting events are forgotten (they cost nothing), begun ones go on as orphans."""
        for lane in self.lanes.values():
            begun = {offset: work for offset, work in lane.work.items() if work.begun}
            self.orphans.setdefault(lane.partition, {}).update(begun)
            lane.work = {}  # `finished` of an orphan finds nothing here
            lane.backlog.clear()
        self.lanes, self.ready = {}, []
        self._runnable.clear()
        unfinished = (work for works in self.orphans.values() for work in works.values() if work.state < State.READY)
        self._behind = {work.chain: deque() for work in unfinished if work.chain}
        self.room.set()

    def open(self, partitions: Iterable[Partition]) -> dict[Partition, Lane[OutcomeT]]:
        """Start lanes for a new assignment. Orphans of partitions that went elsewhere are dropped."""
        wanted = set(partitions)
        for partition in [p for p in self.orphans if p not in wanted]:
            self._drop(partition, list(self.orphans[partition]))
        self.lanes = {partition: Lane(partition) for partition in wanted}
        return self.lanes

    def opened(self, lane: Lane[OutcomeT]) -> None:
        """Let `lane` take records: its committed state is known. Orphans that turned out settled are dropped."""
        settled = lane.tracker
        orphans = self.orphans.get(lane.partition, {})
        self._drop(lane.partition, [o for o in orphans if settled.is_settled(o) or o < settled.position])
        self.room.set()

    def _drop(self, partition: Partition, offsets: Iterable[int]) -> None:
        for offset in offsets:
            work = self.orphans[partition].pop(offset)
            if work.state == State.RUNNING:
                self.running -= 1
            if work.state < State.READY:
                self._release_key(work.chain)
            work.state = State.SETTLED
            self.unsettled -= 1
            if work.task is not None:
                work.task.cancel()
        if not self.orphans.get(partition):
            self.orphans.pop(partition, None)

    def at_work(self) -> Iterator[Work[OutcomeT]]:
        """Iterate over the events begun and not finished, of this assignment and of earlier ones."""
        held = [lane.work for lane in self.lanes.values()] + list(self.orphans.values())
        return (work for works in held for work in works.values() if State.RUNNING <= work.state < State.READY)
