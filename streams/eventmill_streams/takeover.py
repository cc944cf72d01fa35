"""Taking partitions over: fence the predecessor, then read what it has committed.

The order matters: `init_transactions` ends the predecessor's open transaction (same transactional id), and only then
can a stable read tell which events are settled. There is no fall-back to an unstable read.
"""

import asyncio
from collections.abc import Callable, Collection

import structlog

from eventmill_connectors.kafka.offsets import Committed, StableOffsets
from eventmill_connectors.kafka.transaction import TransactionalProducer
from eventmill_schemas.errors import DeliveryError, InvariantViolated
from eventmill_streams.lane import Partition
from eventmill_streams.metrics import Metrics

ALARM_AFTER = 60.0
"""Seconds without a stable answer after which a person is asked to look: no time-out cures a hanging transaction."""

_ASK_AGAIN, _ASK_LATER = 0.1, 2.0
"""Seconds between two stable reads (each waits by itself too), and after one that failed, perhaps at once."""

_HANG_MEMORY = 300.0
"""Seconds in which one hung client call is borne; a second one ends the process, for the supervisor to start afresh."""

_log = structlog.get_logger()


def _now() -> float:
    """Return monotonic seconds: the event loop's, so that waits and their measure are one."""
    return asyncio.get_running_loop().time()


class Takeover:
    """Owns the transactional producer (one caller at a time: the ticker's lock) and the stable reader of a replica."""

    def __init__(self, producer: TransactionalProducer, offsets: StableOffsets, metrics: Metrics) -> None:
        self.producer = producer
        self.offsets = offsets
        self._metrics = metrics
        self._hung_seen = 0
        self._hung_at: float | None = None

    async def open_producer(self, wanted: Callable[[], bool]) -> None:
        """Open the producer, for as long as `wanted`; every failure is logged and tried again."""
        wait = 0.5
        while not self.producer.is_open and wanted():
            try:
                await self.producer.open()
            except DeliveryError as error:
                _log.warning("the transactional producer can't be opened yet", reason=str(error))
                self.check_hangs()
                await asyncio.sleep(wait)
                wait = min(wait * 2, 5.0)

    async def read(
        self,
        partitions: Collection[Partition],
        wanted: Callable[[], bool],
        found: Callable[[Partition, Committed], None],
    ) -> None:
        """Read what is committed; `found` is called for each partition as soon as its answer is stable.

        Ends when all were found or `wanted` turns false. Never ends by a time-out; after ALARM_AFTER seconds it says
        which partitions hang and what a person can do.
        """
        began, missing, alarmed = _now(), set(partitions), False
        try:
            while missing and wanted():
                for partition, committed in (await self.offsets.read(missing)).items():
                    missing.discard(partition)
                    if wanted():
                        found(partition, committed)
                self.check_hangs()
                if missing and _now() - began > ALARM_AFTER:
                    self._metrics.unstable_partitions.set(len(missing))
                    if not alarmed:
                        self._alarm(missing)
                    alarmed = True
                problem = self.offsets.problem
                if missing and problem is not None:
                    _log.warning("the committed offsets can't be read yet", reason=problem)
                if missing:
                    await asyncio.sleep(_ASK_AGAIN if problem is None else _ASK_LATER)
        finally:
            self._metrics.unstable_partitions.set(0)

    def check_hangs(self) -> None:
        """Raise InvariantViolated on the second hung client call within five minutes: each costs a thread, a client."""
        hung = self.producer.hung + self.offsets.hung
        if hung == self._hung_seen:
            return
        self._metrics.hung_calls.inc(hung - self._hung_seen)
        now, first = _now(), self._hung_seen == 0 or self._hung_at is None
        recent = self._hung_at is not None and now - self._hung_at < _HANG_MEMORY
        several = hung - self._hung_seen > 1
        self._hung_seen, self._hung_at = hung, now
        if several or (recent and not first):
            raise InvariantViolated(
                "the Kafka client hung twice within five minutes", remedy="The process must be started again"
            )

    def _alarm(self, missing: Collection[Partition]) -> None:
        topic, partition = min(missing)
        _log.error(
            "a pending transaction hides the committed offsets; nothing is lost, these partitions stand still",
            partitions=[f"{t}/{p}" for t, p in sorted(missing)],
            look="kafka-transactions.sh --bootstrap-server BROKER describe-producers "
            "--topic __consumer_offsets --partition N (CurrentTransactionStartOffset is not None)",
            remedy="if it never ends: kafka-transactions.sh --bootstrap-server BROKER abort --topic __consumer_offsets "
            "--partition N --start-offset OFFSET; events of that transaction may then be repeated",
            first=f"{topic}/{partition}",
        )
