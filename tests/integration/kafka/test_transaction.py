"""One transaction per tick on a real broker: all or nothing, fenced by the group's generation."""

import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from eventmill.dev.addresses import Addresses
from eventmill_connectors.kafka.admin import Topics
from eventmill_connectors.kafka.group_metadata import Member, check_format
from eventmill_connectors.kafka.offsets import StableOffsets
from eventmill_connectors.kafka.transaction import OffsetCommit, OutRecord, TransactionalProducer
from eventmill_schemas.errors import OutcomeUnknown, ProducerFenced, StaleGeneration
from eventmill_schemas.topics import TopicSpec


@pytest.fixture
def topic(addresses: Addresses, unique: str) -> str:
    """Make a topic with two partitions that takes 10,000 bytes."""
    name = f"{unique}.out"
    Topics({"bootstrap.servers": addresses.bootstrap}).create([TopicSpec(name, 2, {"max.message.bytes": "10000"})])
    return name


@pytest.fixture
def member(addresses: Addresses, topic: str, unique: str) -> Iterator[Member]:
    """Join a group for real, and give its membership."""
    consumer = Consumer(
        {"bootstrap.servers": addresses.bootstrap, "group.id": unique, "enable.auto.commit": False}
    )
    consumer.subscribe([topic])
    end = time.monotonic() + 30
    while not consumer.assignment() and time.monotonic() < end:
        consumer.poll(0.1)
    raw = bytes(consumer.consumer_group_metadata())
    generation = int.from_bytes(raw[7:11], "little", signed=True)
    member_id = raw[11:].split(b"\0")[1].decode()
    joined = Member(unique, generation, member_id)
    assert joined.to_bytes() == raw
    yield joined
    consumer.close()


def committed_values(addresses: Addresses, topic: str) -> list[bytes]:
    """Read the topic from the start, read_committed, to its end."""
    consumer = Consumer(
        {
            "bootstrap.servers": addresses.bootstrap,
            "group.id": "reader",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(topic, p, 0) for p in (0, 1)])
    values, ended = [], set()
    while len(ended) < 2:
        message = consumer.poll(10)
        assert message is not None
        if message.error():
            ended.add(message.partition())
        else:
            values.append(message.value())
    consumer.close()
    return values


def test_group_metadata_is_what_the_library_makes() -> None:
    """The bytes that carry the fencing are the library's own format, with and without an instance id."""
    check_format()


async def test_records_and_offsets_commit_together(
    addresses: Addresses, topic: str, member: Member, unique: str
) -> None:
    """After a commit both are there; the stored text comes back without librdkafka's NUL."""
    producer = TransactionalProducer({"bootstrap.servers": addresses.bootstrap}, unique)
    offsets = StableOffsets({"bootstrap.servers": addresses.bootstrap}, member.group)
    await producer.open()
    rejected = await producer.commit(
        [OutRecord(topic, 1, b"k", b"v", [("h", None), ("h", b"2")])], [OffsetCommit(topic, 0, 7, "1vBQ==")], member
    )
    assert rejected is None
    assert committed_values(addresses, topic) == [b"v"]
    found = await offsets.read([(topic, 0), (topic, 1)])
    assert found[topic, 0].offset == 7
    assert found[topic, 0].metadata.rstrip("\0") == "1vBQ=="
    assert found[topic, 1].offset < 0
    producer.close()
    offsets.close()


async def test_a_stale_generation_commits_nothing(
    addresses: Addresses, topic: str, member: Member, unique: str
) -> None:
    """A replica whose group has moved on is refused, and none of its records is ever visible (case 88)."""
    producer = TransactionalProducer({"bootstrap.servers": addresses.bootstrap}, unique)
    await producer.open()
    zombie = Member(member.group, member.generation - 1, member.member_id)
    with pytest.raises(StaleGeneration):
        await producer.commit([OutRecord(topic, 0, None, b"zombie")], [OffsetCommit(topic, 0, 1, "")], zombie)
    await producer.open()
    assert await producer.commit([OutRecord(topic, 0, None, b"owner")], [OffsetCommit(topic, 0, 1, "")], member) is None
    assert committed_values(addresses, topic) == [b"owner"]
    producer.close()


async def test_an_oversized_record_is_named_and_nothing_commits(
    addresses: Addresses, topic: str, member: Member, unique: str
) -> None:
    """The broker's refusal of one record commits nothing; alone it is named, and the producer goes on."""
    producer = TransactionalProducer({"bootstrap.servers": addresses.bootstrap, "compression.type": "none"}, unique)
    await producer.open()
    large = OutRecord(topic, 0, None, b"x" * 20_000)
    small = OutRecord(topic, 0, None, b"small")
    commit = [OffsetCommit(topic, 0, 1, "")]
    together = await producer.commit([small, large], commit, member)
    assert together is not None
    assert together.index is None
    alone = await producer.commit([large], commit, member)
    assert alone is not None
    assert alone.index == 0
    offsets = StableOffsets({"bootstrap.servers": addresses.bootstrap}, member.group)
    assert (await offsets.read([(topic, 0)]))[topic, 0].offset < 0, "the offset of a refused record was committed"
    offsets.close()
    assert await producer.commit([small], commit, member) is None
    assert committed_values(addresses, topic) == [b"small"]
    producer.close()


async def test_a_second_producer_of_the_slot_fences_the_first(
    addresses: Addresses, topic: str, member: Member, unique: str
) -> None:
    """With one transactional id the later producer wins: what the earlier one still sends never commits."""
    client = {"bootstrap.servers": addresses.bootstrap}
    first, second = TransactionalProducer(client, unique), TransactionalProducer(client, unique)
    await first.open()
    await second.open()
    with pytest.raises(ProducerFenced):
        await first.commit([OutRecord(topic, 0, None, b"first")], [OffsetCommit(topic, 0, 1, "")], member)
    assert not first.is_open
    assert await second.commit([OutRecord(topic, 0, None, b"second")], [OffsetCommit(topic, 0, 1, "")], member) is None
    assert committed_values(addresses, topic) == [b"second"]
    first.close()
    second.close()


async def test_a_pending_transaction_hides_the_offset_until_it_ends(
    addresses: Addresses, topic: str, member: Member, unique: str
) -> None:
    """The stable read leaves an undecided partition out; opening the same id ends the transaction and it comes back."""
    dying = Producer({"bootstrap.servers": addresses.bootstrap, "transactional.id": unique})
    dying.init_transactions(10)
    dying.begin_transaction()
    dying.produce(topic, b"never", partition=0)
    dying.send_offsets_to_transaction([TopicPartition(topic, 0, 5, metadata="x")], member.to_bytes(), 10)
    offsets = StableOffsets({"bootstrap.servers": addresses.bootstrap}, member.group)
    found = await offsets.read([(topic, 0), (topic, 1)])
    assert (topic, 0) not in found
    assert (topic, 1) in found
    successor = TransactionalProducer({"bootstrap.servers": addresses.bootstrap}, unique)
    await successor.open()
    end = time.monotonic() + 20
    while (topic, 0) not in (found := await offsets.read([(topic, 0)])) and time.monotonic() < end:
        pass
    assert found[topic, 0].offset < 0
    with pytest.raises(KafkaException):
        dying.commit_transaction(5)
    assert committed_values(addresses, topic) == []
    successor.close()
    offsets.close()


async def test_without_a_broker_opening_fails_and_says_so() -> None:
    """A broker that is not there gives OutcomeUnknown within the deadline, and does not count as a hang.

    Two hangs end the process, and while a broker is away a worker waits.
    """
    producer = TransactionalProducer({"bootstrap.servers": "127.0.0.1:9", "log_level": 0}, "t", deadline=3)
    began = time.monotonic()
    with pytest.raises(OutcomeUnknown):
        await producer.open()
    assert time.monotonic() - began < 10
    assert producer.hung == 0
    producer.close()
