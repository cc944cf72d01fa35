"""The tick: one Kafka transaction of a replica over all its lanes.

What was finished since the last tick goes out with its costs, and for each lane its frontier and settled set. The call
that sends the offsets also carries the fencing, so every tick sends the offsets of every lane it touches.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence

import structlog

from eventmill_connectors.kafka.offsets import Committed
from eventmill_connectors.kafka.transaction import OffsetCommit, OutRecord, Rejected
from eventmill_schemas.errors import (
    DeliveryError,
    EventError,
    InvariantViolated,
    OutcomeUnknown,
    ProducerFenced,
    RecordTooLarge,
    SetupError,
    StaleGeneration,
    UnstorableResult,
)
from eventmill_schemas.events import RawRecord
from eventmill_streams.lane import Lane, Partition, State, Work
from eventmill_streams.metrics import Metrics
from eventmill_streams.session import Session
from eventmill_streams.settled import SettledSet
from eventmill_streams.settlement import End, Settlement
from eventmill_streams.takeover import Takeover
from eventmill_streams.window import Window

INTERVAL = 0.05
"""Seconds between two ticks: what a result waits at most before its transaction begins."""

_MOST = 5_000
"""Events of one transaction: keeps it far below its time-out."""

_log = structlog.get_logger()

Bury = Callable[[RawRecord, Settlement, EventError], Settlement]


class Ticker:
    """Commits what is ready.

    `bury` makes the dead letter of an event whose records can't be stored; `committed` is told each settlement, once.
    """

    def __init__(
        self,
        window: Window[Settlement],
        takeover: Takeover,
        bury: Bury,
        committed: Callable[[Settlement], None],
        metrics: Metrics,
    ) -> None:
        self.session: Session | None = None
        self.busy = asyncio.Lock()  # one user of the producer at a time
        self.last_commit = time.monotonic()
        self._window = window
        self._takeover = takeover
        self._bury = bury
        self._committed = committed
        self._metrics = metrics
        self._wake = asyncio.Event()
        self._many = asyncio.Event()
        self._early = max(64, min(_MOST, window.limits.unsettled // 4))

    def wake(self) -> None:
        """Say that something may be ready."""
        self._wake.set()
        if len(self._window.ready) >= self._early:
            self._many.set()

    async def run(self) -> None:
        """Tick until cancelled: INTERVAL after the first event became ready, or earlier when many did."""
        while True:
            await self._wake.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._many.wait(), INTERVAL)
            self._wake.clear()
            self._many.clear()
            await self.flush()

    async def flush(self) -> None:
        """Commit everything that is ready now, and frontiers that may move.

        What becomes ready meanwhile waits for the next tick: transactions of a few events each would cost a core.
        """
        async with self.busy:
            session = self.session
            if session is None or session.closed:
                return
            ready, self._window.ready = self._window.ready, []
            for start in range(0, max(1, len(ready)), _MOST):
                if not await self._commit(session, ready[start : start + _MOST]):
                    return
            if self._window.ready or _due(session):
                self.wake()

    async def prove(self, session: Session) -> None:
        """Commit the frontiers as they are, to learn whether the slot is still ours.

        Two replicas with one slot take the group membership from each other again and again; the producer of the
        earlier one is fenced for good. Raises InvariantViolated in that one.
        """
        async with self.busy:
            if session.closed or not session.lanes:
                return
            offsets = _offsets({lane: set() for lane in session.lanes.values() if lane.settled is not None})
            try:
                await self._takeover.producer.commit([], offsets, session.member)
            except ProducerFenced as error:
                _check_slot(session, error)
            except (OutcomeUnknown, StaleGeneration) as error:
                _log.info("could not prove the slot; the next tick will", reason=str(error))
            await self._takeover.open_producer(lambda: not session.closed)

    async def _commit(self, session: Session, works: Sequence[Work[Settlement]]) -> bool:
        """Commit `works`; False: the session is over, they stay READY and are adopted if their partitions come back."""
        pause = 0.05
        while not session.closed:
            if not works and not _due(session):
                return True
            began = time.monotonic()
            batches = _by_lane(works, _due(session))
            offsets = _offsets(batches)
            try:
                rejected = await self._takeover.producer.commit(_records(works), offsets, session.member)
            except StaleGeneration as error:
                _log.warning("results in hand can't be committed any more", reason=str(error), events=len(works))
                self._metrics.ticks.labels(outcome=error.kind).inc()
                self._close(session)
                return False
            except (OutcomeUnknown, ProducerFenced) as error:
                _log.warning("a transaction's outcome is unknown; reading what is committed", reason=str(error))
                self._metrics.ticks.labels(outcome=error.kind).inc()
                _check_slot(session, error)
                self._takeover.check_hangs()
                works = await self._resolve(session, works)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)
                continue
            if rejected is not None:
                self._metrics.ticks.labels(outcome="rejected").inc()
                if not await self._reject(session, works, rejected):
                    return False
                works = [work for work in works if work.state == State.READY]
                continue
            self._metrics.ticks.labels(outcome="committed").inc()
            self._metrics.tick_seconds.observe(time.monotonic() - began)
            self._settle(batches, offsets, works)
            return True
        return False

    def _close(self, session: Session) -> None:
        """Give the session up: nothing of it can be committed, so nothing more is begun."""
        session.closed = True
        if session is self.session:  # else a new assignment has begun meanwhile, and its events may begin
            self._window.accepting = False

    async def _reject(self, session: Session, works: Sequence[Work[Settlement]], rejected: Rejected) -> bool:
        """Find the event whose record can't be stored, make it a dead letter, let the others through."""
        if len(works) > 1 and rejected.index is None:
            middle = len(works) // 2  # halves, in order: few transactions, also where thousands wait
            return await self._commit(session, works[:middle]) and await self._commit(session, works[middle:])
        work = works[0] if len(works) == 1 else _owner(works, rejected.index or 0)
        settlement = _outcome(work)
        error = _refusal(rejected.reason)
        if settlement.end == End.DEAD_LETTER:
            raise SetupError(
                f"the dead letter of {work.record.source} can't be stored ({rejected.reason})",
                remedy="Raise max.message.bytes of the dead letter topic above the input topic's, then start again",
            )
        work.outcome = self._bury(work.record, settlement, error)
        return True

    def _settle(
        self,
        batches: dict[Lane[Settlement], set[int]],
        offsets: Sequence[OffsetCommit],
        works: Iterable[Work[Settlement]],
    ) -> None:
        now = self.last_commit = time.monotonic()
        for (lane, batch), commit in zip(batches.items(), offsets, strict=True):
            lane.tracker.settle(batch, commit.offset)
        for work in works:
            outcome = _outcome(work)
            self._metrics.settle_seconds.observe(now - outcome.finished_at)
            self._committed(outcome)
        self._window.settle(works)

    async def _resolve(self, session: Session, works: Sequence[Work[Settlement]]) -> list[Work[Settlement]]:
        """End the transaction, read what is committed, settle what turned out committed; return the rest."""
        truth: dict[Partition, SettledSet] = {}
        lanes = {work.lane.partition for work in works} | {lane.partition for lane in _due(session)}

        def found(partition: Partition, committed: Committed) -> None:
            truth[partition] = SettledSet(*committed)

        await self._takeover.open_producer(lambda: not session.closed)
        await self._takeover.read(lanes, lambda: not session.closed, found)
        if session.closed:
            return list(works)
        done = [work for work in works if truth[work.lane.partition].is_settled(work.offset)]
        batches = _by_lane(done, ())
        if any(truth[lane.partition].frontier > lane.tracker.proposal(batch)[0] for lane, batch in batches.items()):
            _log.warning("another replica has gone on with these partitions", events=len(works))
            self._close(session)
            return list(works)
        if done:
            offsets = [OffsetCommit(*lane.partition, truth[lane.partition].frontier, "") for lane in batches]
            self._settle(batches, offsets, done)
        return [work for work in works if work.state == State.READY]


def _refusal(reason: str) -> EventError:
    said = f"Kafka refused the event's records ({reason})"
    if reason == "MSG_SIZE_TOO_LARGE":
        return RecordTooLarge(said, remedy="Raise max.message.bytes of the topic, or ask for less text")
    return UnstorableResult(
        said, remedy="See the topic's settings: a compacted topic takes no record without a key, for example"
    )


def _check_slot(session: Session, error: DeliveryError) -> None:
    if isinstance(error, ProducerFenced) and session.member.instance_id is not None:
        raise InvariantViolated(
            f"another replica has taken the slot of {session.member.instance_id}, or this one was stopped for so long "
            "that Kafka gave it up",
            remedy="Give each replica its own --slot (or EVENTMILL_SLOT)",
        ) from error


def _due(session: Session) -> list[Lane[Settlement]]:
    return [lane for lane in session.lanes.values() if lane.commit_due]


def _by_lane(
    works: Iterable[Work[Settlement]], due: Collection[Lane[Settlement]]
) -> dict[Lane[Settlement], set[int]]:
    batches: dict[Lane[Settlement], set[int]] = defaultdict(set)
    for work in works:
        batches[work.lane].add(work.offset)
    for lane in due:
        batches.setdefault(lane, set())
    return dict(batches)


def _offsets(batches: dict[Lane[Settlement], set[int]]) -> list[OffsetCommit]:
    return [OffsetCommit(*lane.partition, *lane.tracker.proposal(batch)) for lane, batch in batches.items()]


def _records(works: Iterable[Work[Settlement]]) -> list[OutRecord]:
    return [record for work in works for record in _outcome(work).records]


def _outcome(work: Work[Settlement]) -> Settlement:
    if work.outcome is None:
        raise RuntimeError(f"{work.record.source} is ready without an outcome")
    return work.outcome


def _owner(works: Iterable[Work[Settlement]], index: int) -> Work[Settlement]:
    """Return the event that record `index` of the transaction belongs to."""
    passed = 0
    for work in works:
        passed += len(_outcome(work).records)
        if index < passed:
            return work
    raise IndexError(index)
