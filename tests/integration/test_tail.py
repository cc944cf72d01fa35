"""`eventmill tail` against a real broker: committed records only, and an end where there is one."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from click.testing import Result
from confluent_kafka import Producer
from typer.testing import CliRunner

from eventmill.cli import app
from eventmill.dev.addresses import Addresses
from eventmill.reading.topics import TopicReader
from eventmill_connectors.kafka.admin import Topics
from eventmill_connectors.registry import SchemaRegistry
from eventmill_schemas.codec import AvroWriter
from eventmill_schemas.errors import UsageError
from eventmill_schemas.events import RawRecord
from eventmill_schemas.pipeline import Kafka
from eventmill_schemas.topics import TopicSpec, subject

PARTITIONS = 2
Tail = Callable[..., Result]


@pytest.fixture
def topic(addresses: Addresses, unique: str) -> str:
    """Make a topic of two partitions."""
    Topics({"bootstrap.servers": addresses.bootstrap}).create([TopicSpec(f"{unique}.in", PARTITIONS)])
    return f"{unique}.in"


@pytest.fixture
def producer(addresses: Addresses) -> Iterator[Producer]:
    """Give a producer outside transactions."""
    made = Producer({"bootstrap.servers": addresses.bootstrap})
    yield made
    assert made.flush(10) == 0


@pytest.fixture
def tail(addresses: Addresses, topic: str) -> Tail:
    """Give a way to run the command for the topic to its end."""

    def run(*arguments: object) -> Result:
        where = ["--kafka", addresses.bootstrap, "--registry", addresses.registry]
        return CliRunner().invoke(app, ["tail", topic, "--no-follow", *map(str, arguments), *where])

    return run


def documents(done: Result) -> list[dict[str, Any]]:
    """Read what --json printed."""
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def fill(producer: Producer, topic: str, *numbers: int, partition: int = 0) -> None:
    """Write events in JSON; their time is their number in seconds."""
    for number in numbers:
        value = json.dumps({"n": number}).encode()
        producer.produce(topic, value, f"k{number % 3}".encode(), partition, timestamp=1_000_000 + number * 1000)
    assert producer.flush(10) == 0


@contextmanager
def transactional(addresses: Addresses, name: str) -> Iterator[Producer]:
    """Give a transactional producer; what it leaves open is aborted at the end."""
    producer = Producer({"bootstrap.servers": addresses.bootstrap, "transactional.id": name})
    producer.init_transactions(10)
    yield producer
    producer.begin_transaction()
    producer.abort_transaction(10)


def test_only_committed_records_are_shown_and_the_end_is_found(
    addresses: Addresses, topic: str, tail: Tail, unique: str
) -> None:
    """Where the last offsets are markers, aborted or not yet committed records."""
    with transactional(addresses, f"{unique}.tx") as producer:
        for number, commit in ((1, True), (2, False), (3, True), (4, False)):
            producer.begin_transaction()
            producer.produce(topic, json.dumps({"n": number}), partition=0)
            producer.flush(10)
            producer.commit_transaction(10) if commit else producer.abort_transaction(10)
        for arguments in (["--from-beginning"], ["--last", 10]):
            assert [shown["value"]["n"] for shown in documents(tail("--json", *arguments))] == [1, 3]
        assert [shown["value"]["n"] for shown in documents(tail("--json", "--last", 1))] == [3]
    with transactional(addresses, f"{unique}.open") as producer:
        producer.begin_transaction()
        producer.produce(topic, json.dumps({"n": 5}), partition=0)
        producer.flush(10)
        assert [shown["value"]["n"] for shown in documents(tail("--json", "-b"))] == [1, 3]
        producer.commit_transaction(10)
        assert [shown["value"]["n"] for shown in documents(tail("--json", "-b"))] == [1, 3, 5]


def test_the_newest_are_chosen_among_all_partitions_by_time(topic: str, producer: Producer, tail: Tail) -> None:
    """And shown in its order."""
    fill(producer, topic, 1, 2, 7, 8, partition=0)
    fill(producer, topic, 3, 4, 5, 9, partition=1)
    assert [shown["value"]["n"] for shown in documents(tail("--json", "--last", 5))] == [4, 5, 7, 8, 9]
    assert len(documents(tail("--json"))) == 8
    assert documents(tail("--json", "--last", 0)) == []


def test_the_newest_that_fit_are_searched_for_to_the_beginning(topic: str, producer: Producer, tail: Tail) -> None:
    """Far behind the end, over many steps back."""
    fill(producer, topic, *range(1_500))
    found = documents(tail("--json", "--last", 3, "--filter", "event.n < 5"))
    assert [shown["value"]["n"] for shown in found] == [2, 3, 4]
    scattered = documents(tail("--json", "--last", 4, "--filter", "event.n in (2, 3, 700, 1490, 1499)"))
    assert [shown["value"]["n"] for shown in scattered] == [3, 700, 1490, 1499]
    assert [shown["offset"] for shown in documents(tail("--json", "--last", 2, "--key", "k1"))] == [1495, 1498]


def test_filters_see_the_event_and_where_it_comes_from(topic: str, producer: Producer, tail: Tail) -> None:
    """What can't be judged is left out and counted, not a failure."""
    fill(producer, topic, 1, 2, 3)
    producer.produce(topic, b"\xff", partition=0)
    producer.produce(topic, None, b"k", partition=0)
    producer.flush(10)
    found = documents(tail("--json", "-b", "--filter", "meta.offset >= 1 and meta.key == 'k0'"))
    assert [shown["offset"] for shown in found] == [2]
    done = tail("--json", "-b", "--filter", "event.n > 1")
    assert [shown["offset"] for shown in documents(done)] == [1, 2]
    assert "2 records could not be judged by the filter and were left out; the first: " in done.stderr
    assert "neither framed Avro nor UTF-8 text" in done.stderr


def test_at_most_so_many(topic: str, producer: Producer, tail: Tail) -> None:
    """The first ones of what would be shown."""
    fill(producer, topic, *range(20))
    assert [shown["value"]["n"] for shown in documents(tail("--json", "-b", "--max", 2))] == [0, 1]
    assert [shown["value"]["n"] for shown in documents(tail("--json", "--max", 2))] == [10, 11]


async def test_every_kind_of_value_is_shown_and_none_stops_it(
    addresses: Addresses, topic: str, producer: Producer, tail: Tail
) -> None:
    """Avro by its schema, JSON, text, tombstones, garbage; headers in their order (case 81)."""
    schema = json.dumps({"type": "record", "name": "R", "fields": [{"name": "a", "type": "string"}]})
    registry = SchemaRegistry(addresses.registry)
    schema_id = await registry.register(subject(topic), schema)
    await registry.close()
    avro = AvroWriter(schema, schema_id).encode({"a": "x"})
    for value in (avro, b'{"a": 1}', b"text", None, b"\xff\x00", avro[:-1], b"\x00\x7f\xff\xff\xffx"):
        producer.produce(topic, value, b"\xff", 0, headers=[("h", b"1"), ("h", None), ("h", b"\xfe")])
    producer.flush(10)
    found = documents(await asyncio.to_thread(tail, "--json", "-b"))
    assert [shown["value"] for shown in found[:4]] == [{"a": "x"}, {"a": 1}, "text", None]
    assert [set(shown["value"]) for shown in found[4:]] == [{"base64"}] * 3
    assert ["undecodable" in shown for shown in found] == [False] * 4 + [True] * 3
    assert found[0]["headers"] == [["h", "1"], ["h", None], ["h", {"base64": "/g=="}]]
    assert (found[0]["key"], found[0]["topic"], found[0]["partition"]) == ({"base64": "/w=="}, topic, 0)
    lines = (await asyncio.to_thread(tail, "-b", "--headers")).stdout.splitlines()
    assert [line.split("  ")[1] for line in lines] == [f"0@{offset}" for offset in range(7)]
    assert lines[0].endswith('0xff  {"a":"x"}  h=1 h=<null> h=0xfe')
    assert lines[3].split("  ")[3] == "<tombstone>"
    assert "<undecodable: it is neither framed Avro nor UTF-8 text> 0xff00" in lines[4]
    assert "the registry has no schema 2147483647" in lines[6]


def test_a_topic_that_is_not_there_is_told(addresses: Addresses, unique: str) -> None:
    """And is not created by looking."""
    done = CliRunner().invoke(app, ["tail", unique, "--kafka", addresses.bootstrap])
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"has no topic {unique}" in done.stderr
    assert Topics({"bootstrap.servers": addresses.bootstrap}).describe([unique]) == {}


def test_wrong_client_settings_are_told(addresses: Addresses) -> None:
    """As a matter of the set-up."""
    with pytest.raises(UsageError, match=r"no\.such\.setting"):
        TopicReader(Kafka(addresses.bootstrap, "", {"no.such.setting": "1"}), ["t"])


def test_reading_ends_where_a_partition_is_shorter_than_expected(
    addresses: Addresses, topic: str, producer: Producer
) -> None:
    """A topic that was made anew after its ends were asked for: what is there is given, and nothing is waited for."""
    fill(producer, topic, 1, 2)
    reader = TopicReader(Kafka(addresses.bootstrap, addresses.registry), [topic])
    found: list[RawRecord] = list(reader.read({(topic, 0): 0, (topic, 1): 0}, {(topic, 0): 100, (topic, 1): 5}))
    reader.close()
    assert [record.source.offset for record in found] == [0, 1]


@contextmanager
def following(addresses: Addresses, topic: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Run the command as a process that goes on."""
    where = ["--kafka", addresses.bootstrap, "--registry", addresses.registry]
    argv = [sys.executable, "-m", "eventmill.cli", "tail", topic, *arguments, *where]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_new_records_are_shown_as_they_come_and_ctrl_c_is_quiet(
    addresses: Addresses, topic: str, producer: Producer
) -> None:
    """The last one that was there, then the next; exit code 130 and not a word."""
    fill(producer, topic, 1, 2)
    with following(addresses, topic, "--json", "--last", "1") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["value"] == {"n": 2}
        fill(producer, topic, 3, partition=1)
        assert json.loads(process.stdout.readline())["value"] == {"n": 3}
        process.send_signal(signal.SIGINT)
        rest, told = process.communicate(timeout=20)
    assert (process.returncode, rest, told) == (130, "", "")


def test_a_reader_that_leaves_early_is_no_error(addresses: Addresses, topic: str, producer: Producer) -> None:
    """`eventmill tail ... | head -1` writes no stack trace, and ends."""
    fill(producer, topic, *range(2_000))
    with following(addresses, topic, "--from-beginning") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert '{"n":0}' in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        process.wait(20)
