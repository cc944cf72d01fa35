"""One replica of a stage: assignment, intake and the events at work, joined.

Faust calls `assigned`, `revoked` and `take`; `Processor` says what an event becomes; the ticker commits it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import structlog

from eventmill_connectors.kafka.group_metadata import Member
from eventmill_connectors.kafka.offsets import Committed
from eventmill_schemas.errors import EventError, SetupError
from eventmill_schemas.events import RawRecord
from eventmill_streams.doors import Doors, EventGate
from eventmill_streams.lane import Batch, Lane, Partition, State, Work
from eventmill_streams.metrics import Metrics
from eventmill_streams.offset_metadata import UnreadableMetadataError
from eventmill_streams.session import Session
from eventmill_streams.settled import SettledSet
from eventmill_streams.settlement import Settlement
from eventmill_streams.takeover import Takeover
from eventmill_streams.tick import Ticker
from eventmill_streams.topic_end import check_end
from eventmill_streams.window import Limits, Window

REVOKE_FLUSH = 5.0
"""Seconds for the last commit of a revoked assignment: the group waits for it."""

DOOR_NEWS = 10.0
"""Seconds between two log lines about the same door's closing. The metrics count each."""

LAST_FLUSH = 10.0
"""Seconds for the last commit of a process; what its supervisor grants beyond the drain is for leaving too."""

_log = structlog.get_logger()


class Processor(Protocol):
    """What an event becomes: `now`, `run` and `bury` return a settlement, or raise only what must stop the process."""

    def now(self, record: RawRecord) -> Settlement | None:
        """Settle without waiting for anything; None where that is not possible."""

    async def run(self, record: RawRecord, gate: EventGate) -> Settlement:
        """Settle, waiting as needed. May be cancelled at any await."""

    def bury(self, record: RawRecord, settlement: Settlement, error: EventError) -> Settlement:
        """Return the dead letter, with the same costs, of an event whose `settlement` can't be stored."""

    def committed(self, settlement: Settlement) -> None:
        """Take note that `settlement` is committed."""


class Position(Protocol):
    """What the replica asks of the fetcher."""

    async def log_start(self, partition: Partition) -> int:
        """Return the first offset that retention has left."""

    async def log_end(self, partition: Partition) -> int:
        """Return the offset of the next record to come."""

    async def seek(self, partition: Partition, offset: int) -> None:
        """Read on from `offset`."""


class Replica:
    """Single-threaded, on one event loop. `failed` is called once with what must stop the process."""

    def __init__(
        self,
        limits: Limits,
        processor: Processor,
        takeover: Takeover,
        position: Position,
        metrics: Metrics,
        failed: Callable[[BaseException], None],
    ) -> None:
        self.window: Window[Settlement] = Window(limits, self._start)
        self.doors = Doors(metrics.blocked, self._door_changed)
        self.session: Session | None = None
        self.ticker = Ticker(self.window, takeover, processor.bury, processor.committed, metrics)
        self._processor = processor
        self._takeover = takeover
        self._position = position
        self._metrics = metrics
        self._failed = failed
        self._draining = False
        self._member_id: str | None = None
        self._last_told: dict[str, float] = {}  # kind of door -> when its closing was last logged
        self._closing_told: set[str] = set()  # the doors whose closing was logged, and their opening not yet
        self._tasks: set[asyncio.Task[None]] = set()
        metrics.running.set_function(lambda: self.window.running)
        metrics.unsettled.set_function(lambda: self.window.unsettled)
        metrics.partitions.set_function(lambda: len(self.window.lanes))
        metrics.window_events.set_function(lambda: sum(len(lane.work) for lane in self.window.lanes.values()))
        metrics.window_bytes.set_function(lambda: sum(lane.bytes for lane in self.window.lanes.values()))

    def begin(self) -> None:
        """Start ticking. Needs a running event loop."""
        self._start_task(self.ticker.run())

    @property
    def ready(self) -> bool:
        """Whether every assigned lane is open: taking over is done."""
        session = self.session
        return session is not None and all(lane.settled is not None for lane in session.lanes.values())

    # Intake

    @property
    def room(self) -> asyncio.Event:
        """Set whenever a lane may have become willing to take more."""
        return self.window.room

    def wants(self, partition: Partition) -> bool:
        """Whether more records of `partition` should be fetched now."""
        return self.session is not None and not self.session.closed and self.window.wants(partition)

    def missed(self, partition: Partition, position: int) -> bool:
        """Whether the fetcher, now at `position`, has read records that never arrived: they were dropped as stale."""
        lane = self.window.lanes.get(partition)
        return lane is not None and lane.settled is not None and not lane.repairing and lane.settled.position < position

    def take(self, batch: Batch) -> None:
        """Admit a fetched batch. What belongs to an earlier assignment is dropped: it will be delivered again."""
        session = self.session
        if session is None or session.closed or session.member.generation != batch.generation:
            self._metrics.stale_batches.inc()
            return
        lane = session.lanes.get(batch.partition)
        if lane is None or lane.settled is None or lane.repairing:
            self._metrics.stale_batches.inc()
            return
        if not self.window.take(lane, batch):
            lane.repairing = True
            self._start_task(self._repair(session, lane))
        self.window.dispatch()
        if self.window.ready or lane.commit_due:
            self.ticker.wake()

    async def _repair(self, session: Session, lane: Lane[Settlement]) -> None:
        """Send the fetcher back to the lane's position, or accept what retention has removed."""
        tracker = lane.tracker
        while self.session is session and not session.closed:
            try:
                first = await self._position.log_start(lane.partition)
                if first > tracker.position:
                    if tracker.position > 0:
                        _log.warning(
                            "retention removed records before they were read",
                            partition=lane.partition,
                            missing=f"[{tracker.position}, {first})",
                        )
                    tracker.skip_to(first)
                await self._position.seek(lane.partition, tracker.position)
                self._metrics.seeks.inc()
                break
            except (TimeoutError, OSError, RuntimeError) as error:
                _log.warning("can't seek yet", partition=lane.partition, reason=repr(error))
                await asyncio.sleep(1)
        lane.repairing = False
        self.room.set()

    # Events at work

    def _start(self, work: Work[Settlement]) -> None:
        try:
            settlement = self._processor.now(work.record)
        except Exception as error:  # noqa: BLE001 - Faust would start its agent again, and go on without this event
            self._failed(error)
            return
        if settlement is None:
            work.task = self._spawn(self._run(work))
            return
        self.window.finished(work, settlement)
        self.ticker.wake()

    async def _run(self, work: Work[Settlement]) -> None:
        gate = EventGate(work, self.window, self.doors, self._metrics.blocked)
        settlement = await self._processor.run(work.record, gate)
        if work.state == State.RUNNING:  # else it was dropped meanwhile
            self.window.finished(work, settlement)
            self.ticker.wake()

    def _door_changed(self, kind: str, message: str | None) -> None:
        self._metrics.door_closed.labels(reason=kind).set(message is not None)
        now = asyncio.get_running_loop().time()
        if message is None:
            if kind in self._closing_told:
                self._closing_told.remove(kind)
                _log.info("lane door open", reason=kind)
        elif now - self._last_told.get(kind, -DOOR_NEWS) >= DOOR_NEWS:  # a flapping door would fill the log
            _log.warning("lane door closed: nothing new is taken", reason=kind, detail=message)
            self._last_told[kind] = now
            self._closing_told.add(kind)
        self._accept()
        self.window.dispatch()

    def _accept(self) -> None:
        live = self.session is not None and not self.session.closed
        self.window.accepting = live and not self.doors.closed and not self._draining

    # Assignment

    def assigned(self, member: Member, partitions: set[Partition]) -> None:
        """Start lanes for `partitions`; they open when their committed state is known."""
        self.session = self.ticker.session = session = Session(member, self.window.open(partitions))
        self.doors.reset()
        self._accept()
        orphans = sum(map(len, self.window.orphans.values()))
        _log.info("assigned", partitions=len(partitions), generation=member.generation, kept=orphans)
        self._start_task(self._open(session))

    async def _open(self, session: Session) -> None:
        def live() -> bool:
            return self.session is session and not session.closed

        def found(partition: Partition, committed: Committed) -> None:
            lane = session.lanes[partition]
            try:
                lane.settled = SettledSet(*committed)
            except UnreadableMetadataError as error:
                raise SetupError(
                    f"the committed offset of {partition[0]}/{partition[1]} carries text that is not ours: {error}",
                    remedy="Stop the group, set its offsets with kafka-consumer-groups --reset-offsets --to-offset N "
                    f"--topic {partition[0]}:{partition[1]} --execute, and start again; events beyond N are repeated",
                ) from error
            self.window.opened(lane)

        async with self.ticker.busy:
            await self._takeover.open_producer(live)
        await self._takeover.read(list(session.lanes), live, found)
        if not live():
            return
        self.doors.reset()
        for lane in session.lanes.values():
            self._start_task(check_end(self._position.log_end, lane.partition, lane.tracker.position, live))
        if self._member_id not in (None, session.member.member_id) and session.member.instance_id is not None:
            await self.ticker.prove(session)
        if live():
            self._member_id = session.member.member_id
            _log.info("open", partitions=len(session.lanes), generation=session.member.generation)

    async def revoked(self) -> None:
        """Commit what is ready while the generation is still valid, bounded by REVOKE_FLUSH; then close the lanes.

        Calls in flight go on: if their partitions come back they are adopted.
        """
        session = self.session
        if session is None:
            return
        flush = self._spawn(self.ticker.flush())
        await asyncio.wait({flush}, timeout=REVOKE_FLUSH)
        session.closed = True
        self.session = self.ticker.session = None
        self.window.close()
        _log.info("revoked", generation=session.member.generation, flushed=flush.done())

    async def drain(self, seconds: float) -> None:
        """Begin nothing new, let events at work finish for at most `seconds`, commit what is ready in LAST_FLUSH."""
        self._draining, self.window.accepting = True, False
        tasks = [work.task for work in self.window.at_work() if work.task is not None]
        _log.info("draining", events=len(tasks), seconds=seconds)
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        flush = self._spawn(self.ticker.flush())
        await asyncio.wait({flush}, timeout=LAST_FLUSH)
        left = sum(1 for _ in self.window.at_work())
        _log.info("drained", abandoned=left)
        if self.session is not None:
            self.session.closed = True

    def stop(self) -> None:
        """Cancel everything that still runs."""
        for task in self._tasks:
            task.cancel()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    def _start_task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run in the background; a failure stops the process."""
        self._spawn(coroutine)  # type: ignore[unused-awaitable]  # _reap looks at its end

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self.doors.closed and next(self.window.at_work(), None) is None:
            self.doors.reset()  # nobody is left, finished or dropped, who would notice that what was away is back
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)
