"""The checker against a real Kafka and registry: what it reads is what a committed reader sees, and no more."""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import fastavro
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

import checker
from checker import CannotCheckError, Expect, Rate, Report, StageTopics, check, quotes

PARTITIONS = 2
CALL = Decimal("0.00045")   # what 1000 prompt and 100 completion tokens cost
PRICES = {"m": Rate(Decimal("0.25"), Decimal(2))}
TEXTS = ("The boiler is cold. Come soon.", "Où est mon colis ?", "Rechnung doppelt", "Please refuse")
SOURCE = [
    {"name": "source_topic", "type": "string"},
    {"name": "source_partition", "type": "int"},
    {"name": "source_offset", "type": "long"},
]
SUMMARY = {"name": "summary", "type": "string"}
USD = {
    "name": "cost",
    "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 12}],
}
COST = {
    "type": "record",
    "name": "Cost",
    "fields": [
        {"name": "cost_id", "type": "string"},
        *SOURCE,
        {"name": "model", "type": "string"},
        {"name": "input_tokens", "type": ["null", "long"]},
        {"name": "output_tokens", "type": ["null", "long"]},
        {"name": "certainty", "type": "string"},
        USD,
    ],
}


@dataclass
class Stage:
    """Topics of one imaginary stage, and what is needed to write to them as a stage would."""

    bootstrap: str
    registry: str
    name: str
    framing: dict[str, tuple[int, Any]] = field(default_factory=dict)

    @property
    def topics(self) -> StageTopics:
        """Its topics as the checker takes them."""
        return StageTopics([f"{self.name}.in"], f"{self.name}.out", f"{self.name}.costs", f"{self.name}.dlq")

    def check(self, **settings: Any) -> Report:
        """Check it with the prices and the reply check of these tests."""
        expect = settings.pop("expect", Expect(answers=quotes("text")))
        return check(self.bootstrap, self.registry, self.topics, prices=PRICES, expect=expect, timeout=30, **settings)

    def register(self, kind: str, schema: dict[str, Any]) -> None:
        """Register the schema of a kind of record and keep its number."""
        request = Request(
            f"{self.registry}/subjects/{self.name}.{kind}-value/versions",
            json.dumps({"schema": json.dumps(schema)}).encode(),
            {"Content-Type": "application/vnd.schemaregistry.v1+json"},
        )
        with build_opener(ProxyHandler({})).open(request, timeout=30) as response:
            self.framing[kind] = (json.load(response)["id"], fastavro.parse_schema(schema))

    def frame(self, kind: str, value: dict[str, Any]) -> bytes:
        """Encode a value in Confluent framing."""
        number, schema = self.framing[kind]
        stream = BytesIO()
        fastavro.schemaless_writer(stream, schema, value)
        return b"\0" + number.to_bytes(4, "big") + stream.getvalue()

    def producer(self) -> Producer:
        """Start a transactional producer."""
        name = f"{self.name}-{uuid.uuid4()}"
        settings = {"bootstrap.servers": self.bootstrap, "transactional.id": name, "transaction.timeout.ms": 60_000}
        producer = Producer(settings)
        producer.init_transactions(30)
        return producer

    def write(self, kind: str, records: Sequence[dict[str, Any]], *, commit: bool = True) -> None:
        """Write records in one transaction of their own."""
        producer = self.producer()
        producer.begin_transaction()
        for record in records:
            producer.produce(f"{self.name}.{kind}", **record)
        producer.flush(30)
        if commit:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)

    def event(self, number: int) -> dict[str, Any]:
        """Give event `number`, which lies at offset `number // 2` of partition `number % 2` if written first."""
        return {
            "key": f"k{number % 2}",
            "value": self.frame("in", {"text": TEXTS[number]}),
            "partition": number % 2,
            "headers": [("trace", b"%d" % number)],
        }

    def source(self, number: int) -> dict[str, Any]:
        """Give the fields of an output record that say where it comes from."""
        return {"source_topic": f"{self.name}.in", "source_partition": number % 2, "source_offset": number // 2}

    def result(self, number: int, text: str | None = None) -> dict[str, Any]:
        """Give the result of event `number`."""
        value = {**self.source(number), "summary": TEXTS[number] if text is None else text, "cost": CALL}
        return {**self.event(number), "value": self.frame("out", value), "headers": []}

    def cost(self, number: int) -> dict[str, Any]:
        """Give the cost record of the only call of event `number`."""
        billed = {"model": "m", "input_tokens": 1000, "output_tokens": 100, "certainty": "EXACT"}
        value = {**self.source(number), **billed, "cost_id": f"c{number}", "cost": CALL}
        return {**self.event(number), "value": self.frame("costs", value), "headers": []}

    def dead_letter(self, number: int) -> dict[str, Any]:
        """Give the dead letter of event `number`."""
        event = self.event(number)
        place = {"topic": f"{self.name}.in", "partition": number % 2, "offset": number // 2}
        place |= {"kind": "refused_reply", "attempts": 1, "cost": CALL}
        errors = [(f"eventmill.error.{name}", str(value).encode()) for name, value in place.items()]
        return {**event, "headers": [*event["headers"], *errors]}


@pytest.fixture
def stage(addresses: Any) -> Iterator[Stage]:
    """Make topics in which every event has been settled rightly: three results, a dead letter and four cost records.

    Each topic ends with an aborted record on one partition, and therefore with no record that a reader could wait for.
    """
    made = Stage(addresses.bootstrap, addresses.registry, f"checker-{uuid.uuid4().hex[:8]}")
    topics = [made.topics.inputs[0], made.topics.results, str(made.topics.costs), str(made.topics.dlq)]
    admin = AdminClient({"bootstrap.servers": made.bootstrap})
    for future in admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in topics]).values():
        future.result(30)
    made.register("in", {"type": "record", "name": "In", "fields": [{"name": "text", "type": "string"}]})
    made.register("out", {"type": "record", "name": "Out", "fields": [*SOURCE, SUMMARY, USD]})
    made.register("costs", COST)
    made.write("in", [made.event(number) for number in range(4)])
    made.write("out", [made.result(number) for number in range(3)])
    made.write("costs", [made.cost(number) for number in range(4)])
    made.write("dlq", [made.dead_letter(3)])
    for kind in ("in", "out", "costs", "dlq"):
        made.write(kind, [{"key": "k0", "value": b"never committed", "partition": 0}], commit=False)
    yield made
    for future in admin.delete_topics(topics).values():
        future.result(30)


@pytest.fixture
def ledger() -> Iterator[str]:
    """Serve the ledger of a model's server that was called once for each event."""
    usage = {"served": True, "outcome": "ok", "prompt_tokens": 1000, "completion_tokens": 100}
    entries = [{"sequence": n, "model": "m", "sha256": text, **usage} for n, text in enumerate(TEXTS, 1)]
    body = json.dumps({"calls": 4, "entries": entries}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/_ledger?entries=1" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_committed_records_are_judged_and_aborted_ones_do_not_exist(stage: Stage, ledger: str) -> None:
    """A right run is clean to the last digit, though every topic ends with an aborted record."""
    report = stage.check(ledger_url=ledger)
    assert report.clean, report.as_json()
    wanted = {"events": 4, "results": 3, "dead_letters": 1, "cost_records": 4, "calls_served": 4}
    assert {name: report.counts[name] for name in wanted} == wanted
    assert report.cost_total == report.ledger_total == Decimal("0.0018")
    assert report.dead_letter_kinds == {"refused_reply": 1}


def test_a_result_of_an_aborted_transaction_does_not_settle_its_event(stage: Stage) -> None:
    """An event is lost when its only result was aborted."""
    stage.write("in", [stage.event(0)])
    stage.write("out", [stage.result(0)], commit=False)
    assert stage.check().faults == {"lost": 1}


def test_an_event_of_an_aborted_transaction_must_not_be_settled(stage: Stage) -> None:
    """A result for a record that was never committed has no source."""
    aborted = {**stage.source(0), "source_offset": 3, "summary": "never committed", "cost": None}   # behind a marker
    stage.write("out", [{"key": "k0", "value": stage.frame("out", aborted), "partition": 0}])
    assert stage.check().faults == {"without_source": 1}


def test_swapped_replies_and_a_late_result_are_noticed_as_read_from_kafka(stage: Stage) -> None:
    """The summary of another event, and a result behind that of a later event, are named with their places."""
    stage.write("out", [stage.result(0, TEXTS[1])])
    report = stage.check()
    assert report.faults == {"duplicates": 1, "order_violations": 1, "wrong_replies": 1}
    assert report.samples["order_violations"] == [f"{stage.name}.in/0@0"]


def test_a_transaction_that_does_not_end_is_reported(stage: Stage) -> None:
    """Records behind an open transaction are not read, and the check says where they wait instead of waiting itself."""
    producer = stage.producer()
    producer.begin_transaction()
    producer.produce(stage.topics.results, **stage.result(0))
    producer.flush(30)
    try:
        report = stage.check()
    finally:
        producer.abort_transaction(30)
    assert report.faults == {"behind_open_transaction": 1}
    assert report.samples["behind_open_transaction"][0].startswith(f"{stage.name}.out/0")
    assert stage.check().clean


def test_a_topic_or_ledger_that_is_not_there_is_named(stage: Stage) -> None:
    """What can't be read is an error with its name, never a clean report."""
    with pytest.raises(CannotCheckError, match="no-such-topic"):
        check(stage.bootstrap, stage.registry, StageTopics(["no-such-topic"], stage.topics.results), timeout=10)
    with pytest.raises(CannotCheckError, match="_ledger"):
        stage.check(ledger_url="http://127.0.0.1:9")


def test_the_command_line_says_the_same_and_exits_by_it(stage: Stage, ledger: str) -> None:
    """As a script: 0 and JSON for a right run, 1 and the fault for a wrong one, 2 for a wrong command."""
    command = [
        *(sys.executable, str(Path(checker.__file__))),
        *("--kafka", stage.bootstrap, "--registry", stage.registry, "--results", stage.topics.results),
        *("--input", stage.topics.inputs[0], "--costs", str(stage.topics.costs), "--dlq", str(stage.topics.dlq)),
    ]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120, check=False)

    right = run("--ledger", ledger, "--price", "m=0.25,2", "--quotes", "text", "--json")
    assert (right.returncode, right.stderr) == (0, "")
    assert json.loads(right.stdout)["cost_total"] == "0.0018"
    wrong = run("--expect-dead-letters", "0", "--price", "m=0.25,3")
    assert wrong.returncode == 1
    assert "dead_letters: 1 instead of 0" in wrong.stdout
    assert "c0: 0.00045 instead of 0.00055" in wrong.stdout
    assert run("--price", "0.25").returncode == 2
    assert run("--ledger", "http://127.0.0.1:9").returncode == 2
