"""Where a stage stands in its input: control records, foreign text beside offsets, and records that are gone."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from backends import local_obstacle
from checking.evidence import Expect
from digest_pipeline import COPY, INPUT
from eventmill.dev import jars
from eventmill.dev.addresses import Addresses
from eventmill.dev.kafka_tools import kafka_tool, tools_java
from eventmill_connectors.kafka.admin import Topics
from eventmill_schemas.topics import TopicSpec
from scenario import Put, Scenario
from worker_process import until

PIPELINE = """
stages:
  first:
    input: "{name}.notes"
    event: {id: id}
    result: first.avsc
    steps: []
  second:
    input: first
    result: second.avsc
    steps: []
"""
FIRST = COPY.replace("event.note", "event.id").replace("event.summary", "event.body")
FILES = {"first.avsc": FIRST, "second.avsc": COPY}
BATCH = 10


@pytest.fixture
def scenario(tmp_path: Path, addresses: Addresses, unique: str) -> Iterator[Scenario]:
    """Give two chained stages without steps on two partitions."""
    with Scenario(tmp_path, addresses, unique, PIPELINE, FILES) as made:
        made.create(2, [f"{unique}.notes"])
        yield made


def test_aborted_records_are_never_enriched_and_lag_reaches_zero(
    scenario: Scenario, request: pytest.FixtureRequest
) -> None:
    """An upstream producer commits and aborts transactions by turns, an aborted one last.

    Only committed records have results. Both stages, whose inputs end with control records, reach lag 0, as the
    offsets say and as Kafka's own tool prints it.
    """
    notes = f"{scenario.name}.notes"
    writer = scenario.writer(notes, INPUT)
    producer = Producer({"bootstrap.servers": scenario.addresses.bootstrap, "transactional.id": scenario.name})
    producer.init_transactions(20)
    for turn in range(8):
        producer.begin_transaction()
        body = "aborted" if turn % 2 else "committed"
        for number in range(BATCH):
            value = writer.encode({"id": f"{turn}.{number}", "body": body})
            producer.produce(notes, value, f"k{number % 3}".encode(), partition=number % 2)
        producer.flush(10)
        producer.abort_transaction(20) if turn % 2 else producer.commit_transaction(20)
    committed = 4 * BATCH

    scenario.start({"first": 1, "second": 1})
    scenario.wait(lambda: scenario.settled("second") >= committed, 60)
    for stage in ("first", "second"):
        report = scenario.check(stage, Expect(results=committed, dead_letters=0))
        assert report.clean, report
    groups = {f"{scenario.name}.first": notes, f"{scenario.name}.second": scenario.topics("first").results}
    scenario.wait(lambda: all(_lag(scenario, group, topic) == [0, 0] for group, topic in groups.items()), 20)
    cache = jars.cache_folder(request.config.rootpath)
    if local_obstacle(cache) is None:   # else Kafka's tools can't run here; the offsets above say the same
        for group in groups:
            assert _printed_lag(scenario, group) == ["0", "0"]


def test_foreign_text_beside_an_offset_stops_the_worker_before_it_loses_anything(scenario: Scenario) -> None:
    """Some other program commits the group's offset with text of its own: exit code 2, with the command that mends it.

    Reset with Kafka's own means, the stage goes on from there.
    """
    notes, group = f"{scenario.name}.notes", f"{scenario.name}.first"
    writer = scenario.writer(notes, INPUT)
    records: list[Put] = [(None, writer.encode({"id": f"{i}", "body": "b"}), []) for i in range(BATCH)]
    scenario.put(notes, 0, records)
    _commit(scenario, group, TopicPartition(notes, 0, 4, metadata="host-17 took over"))
    worker = scenario.worker("first", "--slot", "0")
    assert worker.code() == 2, worker.text
    said = worker.text.splitlines()[-2:]
    assert f"error: the committed offset of {notes}/0 carries text that is not ours" in said[0]
    assert f"kafka-consumer-groups --reset-offsets --to-offset N --topic {notes}:0" in said[1]
    assert "Traceback" not in worker.text
    assert scenario.settled("first") == 0

    until(lambda: _commit(scenario, group, TopicPartition(notes, 0, 4)), 30)   # once the group has no member left
    scenario.worker("first", "--slot", "0")
    scenario.wait(lambda: scenario.settled("first") >= BATCH - 4, 40)
    assert sorted(record.offset() for record in scenario.read(scenario.topics("first").results)) == list(range(6))


def test_records_that_retention_removed_are_told_and_passed(scenario: Scenario) -> None:
    """While no worker runs, records that it had not read are deleted: a warning names them, the rest goes on."""
    notes = f"{scenario.name}.notes"
    writer = scenario.writer(notes, INPUT)
    records: list[Put] = [(f"{i}".encode(), writer.encode({"id": f"{i}", "body": "b"}), []) for i in range(3 * BATCH)]
    scenario.put(notes, 0, records[:BATCH])
    worker = scenario.worker("first", "--slot", "0")
    scenario.wait(lambda: scenario.settled("first") >= BATCH, 40)
    assert worker.stop() == 0
    scenario.put(notes, 0, records[BATCH:])
    admin = AdminClient({"bootstrap.servers": scenario.addresses.bootstrap})
    for future in admin.delete_records([TopicPartition(notes, 0, 2 * BATCH)]).values():
        future.result(10)

    again = scenario.worker("first", "--slot", "0")
    again.says("retention removed records before they were read", 40)
    assert f'"missing": "[{BATCH}, {2 * BATCH})"' in again.text
    scenario.wait(lambda: scenario.settled("first") >= 2 * BATCH, 30)
    keys = sorted(int(record.key() or b"") for record in scenario.read(scenario.topics("first").results))
    assert keys == [*range(BATCH), *range(2 * BATCH, 3 * BATCH)]


def test_a_topic_that_was_made_anew_is_read_from_its_start(scenario: Scenario) -> None:
    """The input topic is deleted and created again while no worker runs: all records of the new one have results."""
    notes = f"{scenario.name}.notes"
    writer = scenario.writer(notes, INPUT)
    records: list[Put] = [(None, writer.encode({"id": f"{i}", "body": "b"}), []) for i in range(BATCH)]
    scenario.put(notes, 0, records)
    worker = scenario.worker("first", "--slot", "0")
    scenario.wait(lambda: scenario.settled("first") >= BATCH, 40)
    assert worker.stop() == 0
    admin = AdminClient({"bootstrap.servers": scenario.addresses.bootstrap})
    admin.delete_topics([notes])[notes].result(10)
    scenario.wait(lambda: notes not in admin.list_topics(timeout=10).topics, 10)
    Topics({"bootstrap.servers": scenario.addresses.bootstrap}).create([TopicSpec(notes, 2)])
    scenario.put(notes, 0, records[: BATCH // 2])
    scenario.worker("first", "--slot", "0")
    scenario.wait(lambda: scenario.settled("first") >= BATCH + BATCH // 2, 40)


def test_an_offset_beyond_the_end_stops_the_worker_instead_of_skipping_what_comes(scenario: Scenario) -> None:
    """A group's offset above the end of its partition: the next records would count as settled, so the worker refuses.

    Exit code 2, with partition, both offsets and the command. Set right, nothing was skipped.
    """
    notes, group = f"{scenario.name}.notes", f"{scenario.name}.first"
    writer = scenario.writer(notes, INPUT)
    records: list[Put] = [(None, writer.encode({"id": f"{i}", "body": "b"}), []) for i in range(BATCH)]
    scenario.put(notes, 1, records)
    _commit(scenario, group, TopicPartition(notes, 1, BATCH + 7))
    worker = scenario.worker("first", "--slot", "0", "--leave")
    assert worker.code() == 2, worker.text
    said = f"{notes}/1 ends at offset {BATCH}, and the group has settled it up to {BATCH + 7}"
    assert f"error: {said}" in worker.text
    assert f"--reset-offsets --to-latest --topic {notes}:1" in worker.text
    assert "Traceback" not in worker.text

    until(lambda: _commit(scenario, group, TopicPartition(notes, 1, 0)), 30)
    scenario.worker("first", "--slot", "0")
    scenario.wait(lambda: scenario.settled("first") >= BATCH, 40)


def _commit(scenario: Scenario, group: str, position: TopicPartition) -> bool:
    """Commit as a program outside of the group would. False: the group has members, so Kafka refuses."""
    consumer = Consumer({"bootstrap.servers": scenario.addresses.bootstrap, "group.id": group})
    try:
        consumer.commit(offsets=[position], asynchronous=False)
    except KafkaException:
        return False
    finally:
        consumer.close()
    return True


def _lag(scenario: Scenario, group: str, topic: str) -> list[int]:
    """Return log end offset minus committed offset of each partition, as Kafka's tools count."""
    consumer = Consumer({"bootstrap.servers": scenario.addresses.bootstrap, "group.id": group})
    committed = consumer.committed([TopicPartition(topic, partition) for partition in range(2)], timeout=10)
    ends = [consumer.get_watermark_offsets(partition, timeout=10)[1] for partition in committed]
    consumer.close()
    return [end - max(0, partition.offset) for end, partition in zip(ends, committed, strict=True)]


def _printed_lag(scenario: Scenario, group: str) -> list[str]:
    """Return the column LAG of `kafka-consumer-groups --describe`."""
    arguments = ["--describe", "--group", group]
    tool = kafka_tool(
        "consumer-groups", arguments, java=tools_java(print), bootstrap=scenario.addresses.bootstrap
    )
    done = subprocess.run(list(tool.argv), env=tool.environment, check=True, capture_output=True, text=True, timeout=60)
    rows = [line.split() for line in done.stdout.splitlines() if line.strip()]
    head = next(row for row in rows if "LAG" in row)
    return [row[head.index("LAG")] for row in rows if row[0] == group]
