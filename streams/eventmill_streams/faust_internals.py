"""Every private part of Faust and aiokafka that eventmill touches, one function or override each.

Written against faust-streaming 0.15.3 and aiokafka 0.14.0, which are pinned; each place names the upstream lines it
stands on. What it changes: an agent's `async for batch in stream.noack()` yields whole fetched batches (`Batch`)
instead of single records, partitions are fetched only when their lane wants more, and generation and positions are
noted around each read, so that a lane knows of every hole.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Protocol

import aiokafka
from faust.events import Event
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from eventmill_connectors.kafka.group_metadata import Member
from eventmill_schemas.events import RawRecord, Source
from eventmill_streams.lane import Batch, Partition

_READ_ALL = 1.0
"""Seconds that a read waits for records when every partition is wanted."""

_READ_SOME = 0.05
"""Seconds when some are refused: a partition that becomes wanted meanwhile is not looked at until the read returns."""

_FLOW_CHECK = 0.1
"""Seconds between looks at Faust's flow control, which sets no event."""


class Intake(Protocol):
    """Who says which partitions may be fetched."""

    @property
    def room(self) -> asyncio.Event:
        """Set whenever the answer of `wants` may have become yes; cleared by the fetcher."""

    def wants(self, partition: Partition) -> bool:
        """Whether more records of `partition` should be fetched now."""

    def missed(self, partition: Partition, position: int) -> bool:
        """Whether the fetcher, now at `position`, has read records that never arrived."""


class BatchThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # Faust ships no usable types
    """The consumer's thread: notes generation and positions around each read."""

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        """drivers/aiokafka.py:568. Faust offers read_committed only with its own exactly_once."""
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        return consumer

    async def _fetch_records(
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        active_partitions: Collection[TP],
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is Faust's
        max_records: int | None = None,
    ) -> list[Batch]:
        """drivers/aiokafka.py:1088. Runs in the consumer's thread.

        A read that met only control records moves the position and returns no record: it is an empty batch, else the
        next one would look like a gap. So is a partition whose position did not move: a read that spans a rebalance may
        have moved it, and its records were dropped as stale.
        """
        generation = consumer._coordinator.generation
        before = _positions(consumer, active_partitions)
        records = await super()._fetch_records(consumer, active_partitions, timeout=timeout, max_records=max_records)
        after = _positions(consumer, active_partitions)
        if consumer._coordinator.generation != generation:
            before = {}  # a rebalance came between: the positions say nothing
        return [
            Batch((tp.topic, tp.partition), generation, before.get(tp), after.get(tp), _raw(records.get(tp, ())))
            for tp in after.keys() | records.keys()
        ]


class BatchConsumer(driver.Consumer):  # type: ignore[misc]  # Faust ships no usable types
    """Faust's consumer, driven by demand."""

    intake: Intake | None = None

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        """drivers/aiokafka.py:237."""
        return BatchThread(self, loop=self.loop, beacon=self.beacon)

    async def _drain_messages(self, fetcher: Any) -> None:
        """transport/consumer.py:1170."""
        try:
            while not (self.should_stop or fetcher.should_stop):
                if not self.flow_active:
                    await self.wait(self.can_resume_flow)
                    continue
                active = self._get_active_partitions()
                wanted = {tp for tp in active if self.intake is None or self.intake.wants((tp.topic, tp.partition))}
                if not wanted or self._undelivered():  # an empty set would fetch every partition
                    await self._wait_for_room()
                    continue
                batches = await self._getmany(wanted, timeout=_READ_ALL if wanted >= active else _READ_SOME)
                await asyncio.sleep(0)
                if self.flow_active and not self.should_stop:  # else dropped: the lane sees the gap and seeks back
                    for batch in batches:
                        if batch.records or batch.start != batch.end or self._missed(batch):
                            self._deliver(batch)
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise

    def _missed(self, batch: Batch) -> bool:
        return self.intake is not None and batch.end is not None and self.intake.missed(batch.partition, batch.end)

    def _undelivered(self) -> bool:
        """transport/conductor.py:262: the channels' queues."""
        return any(not topic.queue.empty() for topics in self.app.topics._tp_index.values() for topic in topics)

    async def _wait_for_room(self) -> None:
        if self.intake is None:
            await asyncio.sleep(_FLOW_CHECK)
            return
        self.intake.room.clear()
        try:
            await asyncio.wait_for(self.intake.room.wait(), _FLOW_CHECK)
        except TimeoutError:
            return

    def _deliver(self, batch: Batch) -> None:
        """Put the batch as one event on its agents' queues; streams.py:1289 drops it when its generation is stale."""
        topic, partition = batch.partition
        tp = TP(topic, partition)
        offset = batch.records[-1].source.offset if batch.records else (batch.end or 1) - 1
        message = ConsumerMessage(
            topic, partition, offset, 0.0, 0, [], None, None, None, tp=tp, generation_id=batch.generation
        )
        for channel in self.app.topics._tp_index.get(tp, ()):
            channel.queue.put_nowait_enhanced(
                Event(self.app, None, batch, None, message), on_pressure_high=_nothing, on_pressure_drop=_nothing
            )
        self._read_offset[tp] = offset


def install(intake: Intake | None) -> None:
    """Make Faust's aiokafka transport use these classes (transport/base.py: `Transport.Consumer`). Before it starts."""
    BatchConsumer.intake = intake
    driver.Transport.Consumer = BatchConsumer


def membership(app: Any, instance_id: str | None) -> Member:
    """Return the group membership, read from the aiokafka coordinator. Only inside the assigned signal."""
    coordinator = app.consumer._thread._consumer._coordinator
    return Member(app.conf.id, coordinator.generation, coordinator.member_id, instance_id)


def leave_on_stop(app: Any) -> None:
    """Let a static member leave the group when the consumer stops (aiokafka/consumer/group_coordinator.py:374).

    Static members stay by themselves, which is the point of them: their partitions wait for the restart.
    """
    app.consumer._thread._consumer._coordinator._group_instance_id = None


async def log_start(app: Any, partition: Partition) -> int:
    """Return the first offset that retention has left. drivers/aiokafka.py:1048."""
    tp = TP(*partition)
    earliest: Mapping[TP, int] = await app.consumer._thread.earliest_offsets(tp)
    return earliest[tp]


async def log_end(app: Any, partition: Partition) -> int:
    """Return the offset of the next record to come. drivers/aiokafka.py:1054."""
    tp = TP(*partition)
    ends: Mapping[TP, int] = await app.consumer._thread.highwaters(tp)
    return ends[tp]


async def seek(app: Any, partition: Partition, offset: int) -> None:
    """Move the fetcher. drivers/aiokafka.py:1007; `Consumer.seek` (1027) would touch the other thread's loop."""
    await app.consumer._thread.seek_wait({TP(*partition): offset})


def _positions(consumer: aiokafka.AIOKafkaConsumer, tps: Iterable[TP]) -> dict[TP, int]:
    """aiokafka/consumer/subscription_state.py: the fetch position of each partition that has one."""
    subscription = consumer._subscription.subscription
    assignment = subscription.assignment if subscription is not None else None
    states = {tp: assignment.state_value(tp) for tp in tps} if assignment is not None else {}
    return {tp: state.position for tp, state in states.items() if state is not None and state.has_valid_position}


def _raw(records: Iterable[Any]) -> list[RawRecord]:
    return [RawRecord(Source(r.topic, r.partition, r.offset), r.key, r.value, r.headers, r.timestamp) for r in records]


def _nothing() -> None:
    """Stand in for Faust's pressure callbacks: the lanes say what may be fetched."""
