"""What a pipeline writes, read by strangers and by our own client; what it reads, sent by both.

One run of a pipeline serves all tests: results of many types, and cost events of good, refused and uncertain attempts.
"""

import csv
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import Result as Done
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from typer.testing import CliRunner

from eventmill import CostRecord, Producer, Result, costs, results
from eventmill.cli import app
from eventmill.dev import jars
from eventmill.dev.addresses import Addresses
from eventmill_connectors.kafka.admin import Topics
from eventmill_schemas.codec import AvroReader, frame
from eventmill_schemas.cost import Certainty
from eventmill_schemas.errors import SetupError
from eventmill_schemas.topics import TopicSpec
from scenario import ModelServer, Scenario

EXAMPLES = Path(__file__).parents[3] / "examples" / "clients"
NOON = datetime(2026, 11, 20, 12, 0, 0, 123000, tzinfo=UTC)
EVENTS = 60
ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "shop", "type": "string"},
        {"name": "text", "type": "string"},
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "parts", "type": {"type": "array", "items": "string"}},
    ],
}
VERDICT = {
    "type": "record",
    "name": "Verdict",
    "fields": [
        *({**field, "from": f"event.{field['name']}"} for field in ORDER["fields"][2:]),   # type: ignore[index]  # a list
        {"name": "mood", "type": {"type": "enum", "name": "Mood", "symbols": ["GOOD", "BAD", "OTHER"]}, "doc": "How."},
        {"name": "note", "type": ["null", "string"], "default": None, "doc": "One sentence."},
    ],
}
PIPELINE = """
allow_unpriced: true
routes: {reader: [{provider: openai, model: gpt-5-mini}], odd: [{provider: openai, model: never-heard-of}]}
stages:
  verdict:
    input: "{name}.orders"
    event: {id: id, tenant: shop}
    result: verdict.avsc
    steps:
      - complete: {name: usual, route: reader, prompt: verdict.md, fields: [mood]}
      - complete: {name: odd, route: odd, prompt: verdict.md, fields: [note], when: event.shop == 's0'}
"""
PROMPT = "---\nname: verdict\nversion: '1'\n---\n{{ event.text | data }}\n"


def order(number: int) -> dict[str, Any]:
    """Make an event."""
    return {
        "id": f"o{number}",
        "shop": f"s{number % 3}",
        "text": f"Order {number} came late.",
        "amount": Decimal(number) / 100,
        "at": NOON,
        "parts": [f"p{part}" for part in range(number % 4)],
    }


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, addresses: Addresses) -> Iterator[Scenario]:
    """Give a pipeline that has answered all its events, which our own client sent."""
    name = f"t{uuid4().hex[:10]}"
    files = {"verdict.avsc": json.dumps(VERDICT), "verdict.md": PROMPT, "order.avsc": json.dumps(ORDER)}
    with Scenario(tmp_path_factory.mktemp("clients"), addresses, name, PIPELINE, files) as scenario:
        topic = f"{name}.orders"
        scenario.create(partitions=2, inputs=[topic])
        schema = scenario.folder / "order.avsc"
        with Producer(addresses.bootstrap, addresses.registry, topic, schema=schema) as producer:
            for number in range(EVENTS):
                producer.send(order(number), key=f"k{number % 7}")
        scenario.model = ModelServer("--latency", "fixed:0.01", "--errors", "429=0.05,500=0.1,refusal=0.05")
        scenario.start({"verdict": 1})
        scenario.wait(lambda: scenario.settled("verdict") >= EVENTS, 60)
        assert scenario.fleet is not None
        scenario.fleet.stop(20)
        yield scenario


@pytest.fixture(scope="module")
def answers(ran: Scenario) -> list[Result]:
    """Give all results of the first stage."""
    with results(ran.file, "verdict") as found:
        return list(found)


@pytest.fixture(scope="module")
def attempts(ran: Scenario) -> list[CostRecord]:
    """Give all cost events, found by the pipeline's name."""
    where = {"bootstrap": ran.addresses.bootstrap, "registry": ran.addresses.registry}
    with costs(ran.pipeline.name, "verdict", **where) as found:
        return list(found)


def test_the_typed_client_gives_what_was_sent_and_answered(ran: Scenario, answers: list[Result]) -> None:
    """Every event has its own result, with typed values, its source, and the order of its key."""
    letters = ran.count(ran.topics("verdict").dlq)
    assert len(answers) + letters == EVENTS
    assert answers
    sent = {f"o{number}": order(number) for number in range(EVENTS)}
    for answer in answers:
        event = sent[answer.event_id]
        assert {name: answer[name] for name in ("text", "amount", "at", "parts")} == {
            name: event[name] for name in ("text", "amount", "at", "parts")
        }
        assert answer.tenant == event["shop"]
        assert answer.model in {"gpt-5-mini", "never-heard-of"}
        assert answer.prompt == "verdict@1"
        assert answer.source.topic == f"{ran.name}.orders"
        assert answer.key == f"k{int(answer.event_id[1:]) % 7}".encode()
    for key in {answer.key for answer in answers}:
        offsets = [answer.source.offset for answer in sorted(answers, key=lambda a: a.at.offset) if answer.key == key]
        assert offsets == sorted(offsets)


def test_a_strangers_deserializer_reads_every_record(
    ran: Scenario, addresses: Addresses, answers: list[Result], attempts: list[CostRecord]
) -> None:
    """Results and cost events mean the same to confluent-kafka's AvroDeserializer as to us."""
    with SchemaRegistryClient({"url": addresses.registry}) as registry:
        deserialize = AvroDeserializer(registry)

        def read(topic: str) -> dict[tuple[str, int, int], Any]:
            context = SerializationContext(topic, MessageField.VALUE)
            return {(topic, m.partition(), m.offset()): deserialize(m.value(), context) for m in ran.read(topic)}

        strange = read(ran.topics("verdict").results)
        billed = read(ran.topics("verdict").costs)
    assert (len(strange), len(billed)) == (len(answers), len(attempts))
    for answer in answers:
        value = strange[tuple(answer.at)]
        assert {name: value[name] for name in answer.fields} == dict(answer.fields)
        assert (value["event_id"], value["cost"]) == (answer.event_id, answer.cost)
        assert value["processed_at"] == answer.processed_at
    for attempt in attempts:
        value = billed[tuple(attempt.at)]
        assert (value["cost_id"], value["cost"], value["certainty"]) == (
            *(attempt.cost_id, attempt.cost),
            attempt.certainty,
        )
        assert value["input_tokens"] == (None if attempt.usage is None else attempt.usage.input_tokens)


def report(scenario: Scenario, *arguments: str) -> Done:
    """Run `eventmill cost report`."""
    return CliRunner().invoke(app, ["cost", "report", str(scenario.file), *arguments])


def test_the_cost_report_is_the_sum_of_the_cost_events(ran: Scenario, attempts: list[CostRecord]) -> None:
    """By stage, tenant and day, to the last digit; what has no amount is counted and never added as 0."""
    done = report(ran, "--by", "stage,tenant", "--by", "day", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["by"] == ["stage", "tenant", "day"]
    for row in document["rows"]:
        mine = [a for a in attempts if (a.stage, a.tenant, a.started_at.date().isoformat()) == tuple(
            row[name] for name in document["by"]
        )]
        amounts = [a.cost for a in mine if a.certainty == Certainty.EXACT and a.cost is not None]
        assert row["attempts"] == len(mine) > 0
        assert row["cost"] == (f"{sum(amounts, Decimal(0)):f}" if amounts else None)
        assert row["uncertain"] == sum(a.certainty == Certainty.UNCERTAIN for a in mine)
        assert row["unpriced"] == sum(a.certainty == Certainty.UNPRICED for a in mine)
        assert row["input_tokens"] == sum(a.usage.input_tokens for a in mine if a.usage is not None)
    (total,) = document["totals"]
    certainties = Counter(a.certainty for a in attempts)
    assert (total["attempts"], total["uncertain"], total["unpriced"]) == (
        *(len(attempts), certainties["UNCERTAIN"]),
        certainties["UNPRICED"],
    )
    assert min(certainties["UNCERTAIN"], certainties["UNPRICED"], certainties["EXACT"]) > 0
    assert {(row["stage"], row["tenant"]) for row in document["rows"]} == {("verdict", f"s{n}") for n in range(3)}


def test_the_cost_report_as_text_and_csv(ran: Scenario, attempts: list[CostRecord]) -> None:
    """The same figures for people and spreadsheets; a period without events has no sum."""
    text = report(ran, "--by", "model")
    lines = text.stdout.splitlines()
    assert lines[0].split()[:6] == ["MODEL", "ATTEMPTS", "COST", "CURRENCY", "UNCERTAIN", "UNPRICED"]
    assert lines[-1].startswith("in all")
    assert "attempts have no known price and are not in COST" in text.stderr
    odd = next(line for line in lines if line.startswith("never-heard-of"))
    assert int(odd.split()[1]) == sum(a.model == "never-heard-of" for a in attempts)
    rows = list(csv.DictReader(StringIO(report(ran, "--by", "model", "--csv").stdout)))
    assert sum(int(row["attempts"]) for row in rows) == len(attempts)
    assert report(ran, "--until", "2020-01-01").stdout == "no cost events\n"
    assert json.loads(report(ran, "--since", "1d", "--json").stdout)["totals"][0]["attempts"] == len(attempts)
    for wrong in (["--since", "yesterday"], ["--by", "colour"], ["--json", "--csv"]):
        assert report(ran, *wrong).exit_code == 2


def test_members_of_a_group_share_and_go_on(ran: Scenario, answers: list[Result]) -> None:
    """What the first has asked behind does not come again; what it was still working on does."""
    group = f"{ran.name}.readers"
    first: list[Result] = []
    with results(ran.file, "verdict", group=group) as found:
        for result in found:
            first.append(result)
            if len(first) == 10:
                break
    with results(ran.file, "verdict", group=group) as found:
        rest = list(found)
    assert first[-1].at in {one.at for one in rest}
    assert {one.at for one in first[:-1]}.isdisjoint(one.at for one in rest)
    assert {one.at for one in [*first, *rest]} == {one.at for one in answers}
    with results(ran.file, "verdict", group=group) as found:
        assert list(found) == []


def test_two_members_read_everything_between_them(ran: Scenario, answers: list[Result]) -> None:
    """Each its partitions, to their end; together all of it."""

    def read(_: int) -> list[Result]:
        with results(ran.file, "verdict", group=f"{ran.name}.two") as found:
            return list(found)

    with ThreadPoolExecutor(2) as threads:
        parts = list(threads.map(read, range(2)))
    assert {one.at for part in parts for one in part} == {one.at for one in answers}


@pytest.mark.parametrize("is_member", [False, True])
def test_following_waits_for_more(ran: Scenario, addresses: Addresses, unique: str, is_member: bool) -> None:
    """What is there comes first, and the end of the topic is not the end."""
    Topics({"bootstrap.servers": addresses.bootstrap}).create([TopicSpec(unique, 1)])
    old, new = ran.read(ran.topics("verdict").results)[:2]
    ran.put(unique, 0, [(old.key(), old.value(), [])])
    with results(ran.file, "verdict", topic=unique, group=unique if is_member else None, follow=True) as found:
        assert next(found).at.offset == 0
        with ThreadPoolExecutor(1) as threads:
            more = threads.submit(next, found)
            with pytest.raises(FutureTimeout):
                more.result(0.5)
            ran.put(unique, 0, [(new.key(), new.value(), [])])
            assert more.result(20).at.offset == 1


def test_a_missing_topic_is_told(ran: Scenario) -> None:
    """With and without a group, to readers and to senders."""
    where = {"bootstrap": ran.addresses.bootstrap, "registry": ran.addresses.registry}
    for group in (None, f"{ran.name}.nobody"):
        with results("no.such", "stage", group=group, **where) as found, pytest.raises(SetupError, match="no topic"):
            next(found)
    with pytest.raises(SetupError, match="there is no topic"):
        Producer(topic="no.such.topic", **where)


def run(*command: str, stdin: str | None = None) -> str:
    """Run a program to its good end and return what it printed."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_reading_example_works(ran: Scenario, addresses: Addresses, answers: list[Result]) -> None:
    """Every result is a line; a topic that is not there is said."""
    topic = ran.topics("verdict").results
    lines = run(sys.executable, str(EXAMPLES / "read_results.py"), addresses.bootstrap, addresses.registry, topic)
    found = [json.loads(line) for line in lines.splitlines()]
    assert sorted(one["value"]["event_id"] for one in found) == sorted(one.event_id for one in answers)
    command = [sys.executable, str(EXAMPLES / "read_results.py"), addresses.bootstrap, addresses.registry, "no.such"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "there is no topic no.such\n")


def test_the_sending_example_works(ran: Scenario, addresses: Addresses, unique: str) -> None:
    """Every line is an event that a stage can read, where our own producer would have put it."""
    topic, schema = f"{unique}.queries", EXAMPLES.parent / "intents" / "schemas" / "query.avsc"
    Topics({"bootstrap.servers": addresses.bootstrap}).create([TopicSpec(topic, 4)])
    events = [{"id": f"q{n}", "text": "x", "label": None} for n in range(8)]
    command = [str(EXAMPLES / "send_events.py"), addresses.bootstrap, addresses.registry, topic, str(schema), "id"]
    run(sys.executable, *command, stdin="".join(json.dumps(event) + "\n" for event in events))
    with Producer(addresses.bootstrap, addresses.registry, topic) as producer:
        for event in events:
            producer.send(event, key=event["id"])
    reader = AvroReader(schema.read_text())
    places: dict[str, list[int | None]] = {}
    for message in ran.read(topic):
        event = reader.decode(frame(message.value())[1])
        assert (event, message.key().decode()) == ({**event, "text": "x", "label": None}, event["id"])
        places.setdefault(event["id"], []).append(message.partition())
    assert all(len(found) == 2 and len(set(found)) == 1 for found in places.values())
    assert len(places) == len(events)


def test_the_typed_example_works(ran: Scenario, answers: list[Result]) -> None:
    """One line for each result, and what they cost."""
    *lines, spent = run(sys.executable, str(EXAMPLES / "typed.py"), str(ran.file), "verdict").splitlines()
    assert len(lines) == len(answers)
    assert spent.endswith(" USD")
    assert Decimal(spent.removesuffix(" USD")) > 0


# Decided when tests are collected, so that a test that can't run is not there rather than skipped: these two need
# programs that eventmill itself does not.
if shutil.which("javac") is not None:

    def test_the_java_example_works(ran: Scenario, addresses: Addresses, answers: list[Result]) -> None:
        """With Kafka's own client and Avro's library; their archives are those of the local stack."""
        archives = jars.ensure(jars.cache_folder(), print)
        (avro,) = (archives / "registry" / "lib" / "main").glob("org.apache.avro.avro-*.jar")
        lines = run(
            *("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", f"{archives}/kafka/*:{avro}"),
            *(str(EXAMPLES / "ReadResults.java"), addresses.bootstrap, addresses.registry),
            ran.topics("verdict").results,
        ).splitlines()
        assert len(lines) == len(answers)
        for answer in answers:
            assert any(f'"event_id": "{answer.event_id}"' in line and answer["text"] in line for line in lines)


if shutil.which("kcat") is not None:

    def test_the_kcat_example_works(ran: Scenario, addresses: Addresses) -> None:
        """Every dead letter is there with its reason."""
        topic = ran.topics("verdict").dlq
        printed = run("sh", str(EXAMPLES / "dead_letters.sh"), addresses.bootstrap, topic)
        assert printed.count("eventmill.error.kind=") == ran.count(topic) > 0
        assert "eventmill.error.kind=refused_reply" in printed
