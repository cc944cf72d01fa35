"""Lag as read from a real broker, with and without workers, and the command that shows it."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from confluent_kafka import Consumer, Producer, TopicPartition
from typer.testing import CliRunner

from eventmill.cli import app
from eventmill.dev.addresses import Addresses
from eventmill_connectors.kafka.admin import Topics
from eventmill_connectors.kafka.groups import Groups
from eventmill_connectors.kafka.positions import Positions
from eventmill_schemas.errors import KafkaUnreachable, SetupError
from eventmill_schemas.pipeline import Kafka
from eventmill_schemas.topics import TopicSpec
from eventmill_streams.lag import LagReader, PartitionLag, Standing
from eventmill_streams.offset_metadata import encode

BEGAN = 1_700_000_000_000  # milliseconds; the records' own time


@pytest.fixture
def client(addresses: Addresses) -> dict[str, str]:
    """Give the settings of a client of the broker."""
    return {"bootstrap.servers": addresses.bootstrap}


@pytest.fixture
def topic(client: dict[str, str], unique: str) -> str:
    """Make a topic of two partitions with 10 records in the first, one second apart."""
    name = f"{unique}.in"
    Topics(client).create([TopicSpec(name, 2)])
    produce(client, name, 10)
    return name


@pytest.fixture
def reader(addresses: Addresses) -> Iterator[LagReader]:
    """Give a reader of lag."""
    made = LagReader(Kafka(addresses.bootstrap, addresses.registry))
    yield made
    made.close()


def produce(client: dict[str, str], topic: str, count: int, *, transactional_id: str | None = None) -> Producer:
    """Write records to partition 0; with a transactional id the transaction is left open."""
    producer = Producer({**client, **({"transactional.id": transactional_id} if transactional_id else {})})
    if transactional_id:
        producer.init_transactions(10)
        producer.begin_transaction()
    for number in range(count):
        producer.produce(topic, b"x", partition=0, timestamp=BEGAN + 1000 * number)
    assert producer.flush(20) == 0
    return producer


def commit(client: dict[str, str], group: str, topic: str, offset: int, metadata: str = "") -> None:
    """Commit for partition 0 as a group without members."""
    consumer = Consumer({**client, "group.id": group, "enable.auto.commit": False})
    consumer.commit(offsets=[TopicPartition(topic, 0, offset, metadata=metadata)], asynchronous=False)
    consumer.close()


def once_marked(reader: LagReader, group: str, topic: str, end: int) -> PartitionLag:
    """Read partition 0 once the marker of a transaction is there: a commit is answered before it is written."""
    limit = time.monotonic() + 30
    while (found := reader.read(group, [topic], ages=True).partitions[0]).end != end:
        assert time.monotonic() < limit, found
    return found


def test_what_is_settled_beyond_the_frontier_is_no_backlog(
    client: dict[str, str], topic: str, unique: str, reader: LagReader
) -> None:
    """With 3 committed and 5..7 settled beyond it, 7 offsets lag and 4 records are left; the oldest is record 3."""
    commit(client, unique, topic, 3, encode(3, [3, 4], 8))
    lag = reader.read(unique, [topic], ages=True)
    first, second = lag.partitions
    assert (first.standing, first.committed, first.end, first.lag) == (Standing.WITHIN, 3, 10, 7)
    assert (first.settled, first.backlog) == (3, 4)
    assert first.seconds == pytest.approx(time.time() - BEGAN / 1000 - 3, abs=5)
    assert (second.standing, second.lag, second.seconds) == (Standing.NOTHING, 0, 0.0)
    assert (lag.total.lag, lag.total.backlog, lag.total.settled) == (7, 4, 3)


def test_a_group_that_never_ran_has_everything_before_it(topic: str, unique: str, reader: LagReader) -> None:
    """Without a committed offset eventmill starts at the first record: all of them lag."""
    lag = reader.read(unique, [topic])
    assert (lag.total.lag, lag.total.backlog, lag.total.unknown) == (10, 10, 0)
    assert reader.read(unique, [topic], from_start=False).total.unknown == 2


def test_records_of_an_open_transaction_are_beyond_the_end(
    client: dict[str, str], topic: str, unique: str, reader: LagReader
) -> None:
    """A read_committed reader can't read them yet: they raise the high watermark, and the end once committed."""
    open_transaction = produce(client, topic, 5, transactional_id=unique)
    before = reader.read(unique, [topic]).partitions[0]
    assert (before.end, before.high_watermark) == (10, 15)
    open_transaction.commit_transaction(10)
    assert once_marked(reader, unique, topic, 16).high_watermark == 16  # with the marker of the commit


def test_a_marker_alone_has_no_age(client: dict[str, str], unique: str, reader: LagReader) -> None:
    """Where only a transaction's marker is left, an offset lags and nothing waits."""
    topic = f"{unique}.marked"
    Topics(client).create([TopicSpec(topic, 1)])
    produce(client, topic, 1, transactional_id=unique).commit_transaction(10)
    commit(client, unique, topic, 1)
    partition = once_marked(reader, unique, topic, 2)
    assert (partition.lag, partition.seconds) == (1, 0.0)


def test_a_pending_commit_is_told_and_not_guessed(
    client: dict[str, str], topic: str, unique: str, reader: LagReader
) -> None:
    """While a transaction with offsets is open, the partition is pending; the other partition is known."""
    commit(client, unique, topic, 3)
    hanging = Producer({**client, "transactional.id": unique})
    member = Consumer({**client, "group.id": unique, "enable.auto.commit": False})
    hanging.init_transactions(10)
    hanging.begin_transaction()
    hanging.send_offsets_to_transaction([TopicPartition(topic, 0, 6)], member.consumer_group_metadata(), 10)
    lag = reader.read(unique, [topic])
    assert [p.standing for p in lag.partitions] == [Standing.PENDING, Standing.NOTHING]
    assert (lag.partitions[0].lag, lag.total.unknown) == (None, 1)
    hanging.commit_transaction(10)
    assert reader.read(unique, [topic]).partitions[0].committed == 6
    member.close()


def test_a_topic_that_was_made_anew_is_told(client: dict[str, str], topic: str, unique: str, reader: LagReader) -> None:
    """An offset beyond the log's end is not taken for "nothing to do"."""
    commit(client, unique, topic, 900)
    assert reader.read(unique, [topic]).partitions[0].standing == Standing.BEYOND_END


def test_missing_topics_are_named(unique: str, reader: LagReader) -> None:
    """A topic that is not there is an error with its name, and the reader works on."""
    with pytest.raises(SetupError, match=f"{unique}.nowhere"):
        reader.read(unique, [f"{unique}.nowhere"])


def test_without_a_broker_there_is_an_error_each_time() -> None:
    """A dead address ends in KafkaUnreachable, at the second try with new clients too."""
    reader = LagReader(Kafka("127.0.0.1:9", "http://127.0.0.1:9"))
    for _ in range(2):
        with pytest.raises(KafkaUnreachable, match=r"127\.0\.0\.1:9"):
            reader.read("group", ["topic"])
    reader.close()


def test_times_follow_the_position(client: dict[str, str], topic: str, unique: str) -> None:
    """The time of the next record changes with the position, and with what is written at the end."""
    positions = Positions(client, unique)
    place = (topic, 0)
    assert positions.times({place: 2}) == {place: BEGAN + 2000}
    assert positions.times({place: 2}) == {place: BEGAN + 2000}
    assert positions.times({place: 9, (topic, 1): 0}) == {place: BEGAN + 9000, (topic, 1): None}
    assert positions.times({place: 10}) == {place: None}
    produce(client, topic, 1)
    assert positions.times({place: 10}) == {place: BEGAN}
    positions.close()


def test_groups_tell_their_state(client: dict[str, str], topic: str, unique: str) -> None:
    """A group is dead where Kafka does not know it, empty without members, and knows the topics it committed for."""
    groups = Groups(client)
    assert not groups.describe([unique])[unique].exists
    commit(client, unique, topic, 1)
    assert groups.describe([unique])[unique].state == "empty"
    assert groups.topics(unique) == (topic,)
    member = Consumer({**client, "group.id": unique, "client.id": "someone", "group.instance.id": "slot-1"})
    member.subscribe([topic])
    end = time.monotonic() + 30
    while not member.assignment() and time.monotonic() < end:
        member.poll(0.1)
    found = groups.describe([unique])[unique]
    assert found.state == "stable"
    assert [(m.client_id, m.instance_id, m.partitions) for m in found.members] == [
        ("someone", "slot-1", ((topic, 0), (topic, 1)))
    ]
    member.close()


PIPELINE = """
pipeline: {name}
kafka: {{bootstrap: "{kafka}", registry: "{registry}"}}
stages:
  copy: {{input: {name}.in, result: copy.avsc}}
"""
COPY = {"type": "record", "name": "Copy", "fields": [{"name": "text", "type": "string", "from": "event.text"}]}


@pytest.fixture
def file(tmp_path: Path, addresses: Addresses, unique: str) -> Path:
    """Write a pipeline whose stage reads the topic."""
    (tmp_path / "copy.avsc").write_text(json.dumps(COPY))
    made = tmp_path / "pipeline.yaml"
    made.write_text(PIPELINE.format(name=unique, kafka=addresses.bootstrap, registry=addresses.registry))
    return made


def command(*arguments: str) -> Result:
    """Run `eventmill lag`."""
    done = CliRunner().invoke(app, ["lag", *arguments])
    assert "Traceback" not in done.output
    return done


def test_the_command_shows_a_stage_that_no_worker_runs(
    client: dict[str, str], topic: str, unique: str, file: Path
) -> None:
    """The table has the numbers of the library, and says that nobody works on what is left."""
    commit(client, f"{unique}.copy", topic, 3, encode(3, [3, 4], 8))
    done = command(str(file))
    assert done.exit_code == 0
    head, columns, first, _, total = done.stdout.splitlines()
    assert head == f"{unique}.copy: empty (0 members)"
    assert columns.split()[:2] == ["TOPIC", "PARTITION"]
    assert first.split()[:8] == [topic, "0", "3", "10", "10", "7", "3", "4"]
    assert total.split()[:2] == ["in", "all"]
    assert "eventmill worker copy" in done.stderr


def test_any_group_can_be_shown_with_and_without_a_pipeline(
    client: dict[str, str], topic: str, unique: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sink's group is found by name: its topics are those it has committed for; an unknown partition is none."""
    commit(client, f"{unique}-sink", topic, 4)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for place in ([str(file)], ["--kafka", client["bootstrap.servers"]]):
        done = command(*place, "--group", f"{unique}-sink", "--json")
        [group] = json.loads(done.stdout)["groups"]
        assert (group["stage"], group["total"]["lag"], group["total"]["unknown"]) == (None, 6, 1)


def test_wrong_groups_topics_and_brokers_are_one_message_each(unique: str, file: Path, addresses: Addresses) -> None:
    """Unknown group or missing topic: the user's turn, exit code 2. No broker: exit code 1."""
    done = command(str(file), "--group", f"{unique}.nobody")
    assert (done.exit_code, f"{unique}.nobody" in done.stderr) == (2, True)
    assert f"{unique}.copy" in done.stderr  # what there is instead
    done = command(str(file))
    assert (done.exit_code, f"{unique}.in" in done.stderr) == (2, True)
    done = command(str(file), "--kafka", "127.0.0.1:9")
    assert (done.exit_code, "127.0.0.1:9" in done.stderr) == (1, True)


def test_a_watch_follows_until_it_is_interrupted(client: dict[str, str], topic: str, unique: str, file: Path) -> None:
    """Off a terminal it writes a line per look, with the pace from the second on, and ends by Ctrl-C with 130."""
    watch = subprocess.Popen(
        [sys.executable, "-m", "eventmill.cli", "lag", str(file), "--watch", "0.2"], stdout=subprocess.PIPE, text=True
    )
    assert watch.stdout is not None
    try:
        assert "lag=10" in watch.stdout.readline()
        commit(client, f"{unique}.copy", topic, 10)
        line = ""
        while "lag=0" not in line:
            line = watch.stdout.readline()
            assert line
        assert "settled" in line
    finally:
        watch.send_signal(signal.SIGINT)
        assert watch.wait(30) == 130
        watch.stdout.close()
