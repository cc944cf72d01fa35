"""One transactional producer per replica: results, costs and the group's offsets in one Kafka transaction (KIP-447)."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, ParamSpec, TypeVar

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from eventmill_connectors.kafka.daemon_thread import DaemonThread, dispose
from eventmill_connectors.kafka.group_metadata import Member
from eventmill_schemas.errors import OutcomeUnknown, ProducerFenced, StaleGeneration

P = ParamSpec("P")
T = TypeVar("T")

_LOG = logging.getLogger("librdkafka")

_STALE = frozenset({KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.FENCED_INSTANCE_ID})
_FENCED = frozenset({KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH})
_RECORD_AT_FAULT = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD, KafkaError._INVALID_ARG})

_LEAST_CALL = 0.5
"""Seconds for a call that comes when they are used up: an abort."""

_REPORT_WAIT = 0.1
"""Seconds in which outstanding delivery reports are awaited before an abort: they name the record at fault."""

_RETRY_PAUSE = 0.02
"""Seconds until a call that reports a retriable error is repeated: some come back at once."""

DEADLINE = 15.0
"""Seconds after which a transaction is taken for hung: its outcome is unknown, producer and thread are abandoned."""

_OWN_SHARE = 0.8
"""Part of the deadline that librdkafka is told: while no broker answers it says so, and is not taken for hung."""

_DEFAULTS = {
    "transaction.timeout.ms": 10_000,
    "message.timeout.ms": 10_000,  # never above the transaction's: the record would outlive it
    "linger.ms": 2,
    "compression.type": "lz4",
    "partitioner": "murmur2_random",  # as Java's; librdkafka's own default is another hash
    "retry.backoff.ms": 10,  # the default of 100 adds 100 ms to a commit
    "retry.backoff.max.ms": 100,
}


class OutRecord(NamedTuple):
    """A record to produce. `partition` None leaves the choice to the partitioner."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


class OffsetCommit(NamedTuple):
    """The frontier of one input partition, with the text beside it."""

    topic: str
    partition: int
    offset: int
    metadata: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The broker or the client refused a record, and nothing was committed.

    `index` is its place in the records of the transaction; None: one of them, to be found one by one.
    """

    index: int | None
    reason: str


class TransactionalProducer:
    """Commits all of a tick, or nothing.

    Not safe for concurrent use: one `open` or `commit` at a time. `hung` counts calls that passed their deadline.
    """

    def __init__(self, client: Mapping[str, Any], transactional_id: str, *, deadline: float = DEADLINE) -> None:
        self._config = {**_DEFAULTS, **client, "transactional.id": transactional_id}
        self._deadline = deadline
        self._producer: Producer | None = None
        self._thread = DaemonThread("transactions")
        self.hung = 0

    @property
    def is_open(self) -> bool:
        """Whether `commit` may be called."""
        return self._producer is not None

    async def open(self) -> None:
        """Make a new producer with the same transactional id: it fences the old one and ends its transaction.

        Raises OutcomeUnknown where no broker answered in time, ProducerFenced where another one took the id meanwhile.
        """
        self._release()
        producer = Producer(self._config, logger=_LOG)
        try:
            self._producer = await self._bounded(_initialise, producer, _OWN_SHARE * self._deadline)
        except BaseException:
            dispose(producer)  # never here: its destructor may wait
            raise

    async def commit(
        self, records: Sequence[OutRecord], offsets: Sequence[OffsetCommit], member: Member
    ) -> Rejected | None:
        """Commit `records` and `offsets` together, or nothing.

        Returns None when committed, Rejected when a record can never be stored (nothing committed).
        Raises StaleGeneration when the group has moved on (nothing committed); ProducerFenced when the transactional id
        is another producer's, OutcomeUnknown otherwise: then read the offsets and repeat what is missing. After each of
        them the producer is closed: `open` it again.
        """
        if self._producer is None:
            raise OutcomeUnknown("the transactional producer is not open")
        seconds = _OWN_SHARE * self._deadline
        rejected = await self._bounded(_transact, self._producer, records, offsets, member, seconds)
        if rejected is not None:
            await self.open()  # librdkafka's sequence numbers are not to be trusted after a refusal: it repeats it
        return rejected

    def close(self) -> None:
        """Let go of the producer without waiting. An open transaction is ended by the next owner of the id."""
        self._release()
        self._thread.close()

    async def _bounded(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await self._thread.call(self._deadline, function, *args, **kwargs)
        except StaleGeneration:
            self._release()  # librdkafka's sequence numbers are not to be trusted after such an abort either
            raise
        except BaseException as error:
            self._release()
            if isinstance(error, (TimeoutError, asyncio.CancelledError)):
                self._thread = DaemonThread("transactions")  # the old one is still inside the call
            if isinstance(error, TimeoutError):
                self.hung += 1
                raise OutcomeUnknown(f"a Kafka transaction call did not return in {self._deadline:g} s") from error
            if isinstance(error, KafkaException) and error.args[0].code() in _FENCED:
                raise ProducerFenced(f"the transactional id is in use by another producer: {error.args[0]}") from error
            if isinstance(error, KafkaException):
                raise OutcomeUnknown(f"a Kafka transaction failed: {error.args[0]}") from error
            raise

    def _release(self) -> None:
        if self._producer is not None:
            dispose(self._producer)
        self._producer = None


def _initialise(producer: Producer, seconds: float) -> Producer:
    _repeat(time.monotonic() + seconds, producer.init_transactions)
    return producer


def _transact(
    producer: Producer, records: Sequence[OutRecord], offsets: Sequence[OffsetCommit], member: Member, seconds: float
) -> Rejected | None:
    """Run one transaction, in the thread."""
    end = time.monotonic() + seconds
    failed: list[tuple[int, KafkaError]] = []
    positions = [TopicPartition(o.topic, o.partition, o.offset, metadata=o.metadata) for o in offsets]
    producer.begin_transaction()
    try:
        refused = _produce(producer, records, failed)
        if refused is None:
            _repeat(end, producer.send_offsets_to_transaction, positions, member.to_bytes())
            _repeat(end, producer.commit_transaction)
            producer.poll(0)  # hands the library's log lines over
            return None
    except KafkaException as error:
        reason = error.args[0]
        if reason.fatal():
            raise
        producer.poll(_REPORT_WAIT)  # a refused record may surface here first, as a call in an "erroneous state"
        delivered = list(failed)  # the abort adds purge callbacks of innocent records
        _repeat(end, producer.abort_transaction)
        if reason.code() in _STALE:
            raise StaleGeneration(f"the consumer group has moved on ({reason.name()})") from error
        at_fault = [(index, e) for index, e in delivered if e.code() in _RECORD_AT_FAULT]
        if not at_fault:
            raise
        # One oversized record fails its whole batch, so the callbacks name innocent ones too.
        return Rejected(at_fault[0][0] if len(records) == 1 else None, at_fault[0][1].name())
    _repeat(end, producer.abort_transaction)
    return refused


def _produce(producer: Producer, records: Sequence[OutRecord], failed: list[tuple[int, KafkaError]]) -> Rejected | None:
    """Hand over the records; Rejected: this one was refused by the client itself and never sent."""

    def report(index: int) -> Callable[[KafkaError | None, Any], None]:
        return lambda error, _: failed.append((index, error)) if error is not None else None

    for index, record in enumerate(records):
        target = {} if record.partition is None else {"partition": record.partition}
        while True:
            try:
                producer.produce(
                    record.topic,
                    record.value,
                    record.key,
                    headers=list(record.headers),
                    on_delivery=report(index),
                    **target,
                )
                break
            except BufferError:
                producer.poll(0.05)
            except KafkaException as error:
                if error.args[0].code() not in _RECORD_AT_FAULT:
                    raise
                return Rejected(index, error.args[0].name())
        if index & 1023 == 1023:
            producer.poll(0)
    return None


def _repeat(end: float, function: Callable[..., Any], *args: Any) -> None:
    """Call `function` with the seconds until `end` as its last argument, again while it reports a retriable error."""
    while True:
        try:
            function(*args, max(_LEAST_CALL, end - time.monotonic()))
        except KafkaException as error:
            if not error.args[0].retriable() or time.monotonic() >= end:
                raise
            time.sleep(_RETRY_PAUSE)
        else:
            return


