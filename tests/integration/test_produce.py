"""`eventmill produce` against a real broker and registry: what is acknowledged is there, once, and as asked."""

import json
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from random import randbytes
from typing import Any

import fastavro
import pytest
from click.testing import Result
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from typer.testing import CliRunner

from eventmill.cli import app
from eventmill.dev.addresses import Addresses
from eventmill.produce.job import produce
from eventmill.produce.mail import MAIL_SCHEMA
from eventmill.produce.options import Options
from eventmill.produce.prepare import Plan
from eventmill.produce.report import Progress
from eventmill.produce.run import Listeners, Run
from eventmill.produce.schema import register
from eventmill.produce.send import Sender
from eventmill.produce.source import Reader, file_source
from eventmill.produce.target import Target
from eventmill_connectors.kafka.admin import Topics
from eventmill_connectors.kafka.settings import command_settings
from eventmill_schemas.codec import AvroReader, frame
from eventmill_schemas.errors import SetupError
from eventmill_schemas.pipeline import Kafka
from eventmill_schemas.topics import TopicSpec

ROOT = Path(__file__).parents[2]
MAILS = ROOT / "examples" / "support-mail" / "mails.jsonl"
SCHEMA = ROOT / "examples" / "intents" / "schemas" / "query.avsc"

Command = Callable[..., Result]


@pytest.fixture
def topic(addresses: Addresses, unique: str) -> str:
    """Make a topic of four partitions."""
    Topics({"bootstrap.servers": addresses.bootstrap}).create([TopicSpec(f"{unique}.in", 4)])
    return f"{unique}.in"


@pytest.fixture
def command(addresses: Addresses, topic: str) -> Command:
    """Give a way to run the command for the topic."""

    def run(*arguments: object, stdin: str | bytes | None = None) -> Result:
        where = ["--kafka", addresses.bootstrap, "--registry", addresses.registry]
        return CliRunner().invoke(app, ["produce", topic, *map(str, arguments), *where], input=stdin)

    return run


@pytest.fixture
def there(addresses: Addresses, topic: str) -> Callable[[], list[Message]]:
    """Give a way to read everything that is in the topic now, a partition after the other."""

    def read() -> list[Message]:
        consumer = Consumer(
            {"bootstrap.servers": addresses.bootstrap, "group.id": topic, "enable.partition.eof": True}
        )
        listed = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in listed])
        found: list[Message] = []
        ended: set[int] = set()
        while len(ended) < len(listed):
            message = consumer.poll(10)
            assert message is not None, "the broker does not answer"
            if message.error() is None:
                found.append(message)
            else:
                assert message.error().code() == KafkaError._PARTITION_EOF
                ended.add(message.partition())
        consumer.close()
        return sorted(found, key=lambda message: (message.partition(), message.offset()))

    return read


def queries(*texts: str) -> str:
    """Write events of SCHEMA, one a line."""
    return "".join(json.dumps({"id": f"q{number}", "text": text}) + "\n" for number, text in enumerate(texts, start=1))


def events(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Decode framed values of SCHEMA."""
    reader = AvroReader(SCHEMA.read_text())
    return [reader.decode(frame(message.value())[1]) for message in messages]


def ids(messages: Sequence[Message]) -> list[str]:
    """Return the ids of events, sorted."""
    return sorted(event["id"] for event in events(messages))


def test_every_line_is_an_event_with_key_and_schema(
    command: Command, there: Callable[[], list[Message]], tmp_path: Path
) -> None:
    """Framed with the registered id, keyed by the field, said to be acknowledged; the next time the registry knows."""
    file = tmp_path / "a.jsonl"
    file.write_text(queries("one", "two", "three"))
    done = command("--from", file, "--schema", SCHEMA, "--key", "id", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    found = there()
    assert (report["events"], report["skipped"], report["without_key"]) == (3, 0, 0)
    assert {frame(message.value())[0] for message in found} == {report["schema_id"]}
    assert report["bytes"] == sum(len(message.value()) + len(message.key()) for message in found)
    assert {message.key().decode(): event["id"] for message, event in zip(found, events(found), strict=True)} == {
        "q1": "q1",
        "q2": "q2",
        "q3": "q3",
    }
    again = command("--from", file)
    assert again.exit_code == 0, again.output
    assert f"3 events produced to {found[0].topic()} with schema {report['schema_id']}, all ack" in again.stdout
    assert "there is no order between them" in again.stderr


def test_a_key_goes_to_the_partition_that_javas_clients_choose(
    command: Command, there: Callable[[], list[Message]]
) -> None:
    """Hashes from Kafka's own test of murmur2: several producers of one topic must agree."""
    hashes = {
        "21": -973932308,
        "foobar": -790332482,
        "a-little-bit-long-string": -985981536,
        "a-little-bit-longer-string": -1486304829,
        "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
        "abc": 479470107,
    }
    lines = "".join(json.dumps({"id": key, "text": ""}) + "\n" for key in hashes)
    done = command("--from", "-", "--schema", SCHEMA, "--key", "id", stdin=lines)
    assert done.exit_code == 0, done.output
    found = {message.key().decode(): message.partition() for message in there()}
    assert found == {key: (value & 0x7FFFFFFF) % 4 for key, value in hashes.items()}


def test_order_per_key_is_that_of_the_file(
    command: Command, there: Callable[[], list[Message]], tmp_path: Path
) -> None:
    """Also over several rounds."""
    file = tmp_path / "a.jsonl"
    file.write_text("".join(f'{{"id": "{n}", "text": "k{n % 5}"}}\n' for n in range(100)))
    done = command("--from", file, "--schema", SCHEMA, "--key", "text", "--repeat", 3)
    assert done.exit_code == 0, done.output
    per_key: dict[bytes, list[str]] = {}
    for message, event in zip(found := there(), events(found), strict=True):
        per_key.setdefault(message.key(), []).append(event["id"])
    for number in range(5):
        first = [str(n) for n in range(number, 100, 5)]
        assert per_key[f"k{number}".encode()] == [*first, *(f"{i}-r2" for i in first), *(f"{i}-r3" for i in first)]


def test_as_many_events_as_asked_for(command: Command, there: Callable[[], list[Message]], tmp_path: Path) -> None:
    """The file again and again, with new ids, up to exactly that number; or less than the file."""
    file = tmp_path / "a.jsonl"
    file.write_text(queries("one", "two", "three"))
    assert command("--from", file, "--schema", SCHEMA, "--events", 7).exit_code == 0
    assert ids(there()) == sorted(["q1", "q2", "q3", "q1-r2", "q2-r2", "q3-r2", "q1-r3"])
    assert command("--from", file, "--events", 2).exit_code == 0
    assert len(there()) == 9


def test_nothing_after_a_bad_line_is_produced_and_it_goes_on_where_it_is_told(
    command: Command, there: Callable[[], list[Message]], topic: str, tmp_path: Path
) -> None:
    """The message's own advice leaves every event in the topic exactly once (case 99)."""
    file = tmp_path / "a.jsonl"
    file.write_text(queries("one", "two") + '{"id": "q3"}\n' + queries("x").replace("q1", "q4"))
    stopped = command("--from", file, "--schema", SCHEMA)
    assert stopped.exit_code == 2
    assert f"error: {file}:3: the field 'text' has no value" in stopped.stderr
    assert f"2 events before it are in {topic}" in stopped.stderr
    assert "`--skip-lines 2`, or leave it out with `--skip-lines 3`" in stopped.stderr
    assert ids(there()) == ["q1", "q2"]
    assert command("--from", file, "--skip-lines", 3).exit_code == 0
    assert ids(there()) == ["q1", "q2", "q4"]


def test_bad_lines_can_be_skipped(command: Command, there: Callable[[], list[Message]]) -> None:
    """Each is told with its line, the others are produced, and they are counted once for all rounds."""
    lines = queries("one") + "nonsense\n" + '{"id": "", "text": ""}\n' + queries("x").replace("q1", "q4")
    done = command("--from", "-", "--schema", SCHEMA, "--on-error", "skip", "--id", "id", "--json", stdin=lines)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["skipped"] == 2
    assert "skipped: standard input:2: the line is not a JSON event" in done.stderr
    assert "skipped: standard input:3: the field 'id' is empty" in done.stderr
    assert ids(there()) == ["q1", "q4"]


def test_csv_is_mapped_to_the_schema(command: Command, there: Callable[[], list[Message]], tmp_path: Path) -> None:
    """Column names, the number of the line, empty values, several lines in one."""
    file = tmp_path / "a.csv"
    file.write_text('query,mood\n"first\nquestion",\nsecond,glad\n')
    done = command(
        *("--from", file, "--schema", SCHEMA),
        *("--map", "text=query", "--map", "label=mood", "--map", "id=#line"),
    )
    assert done.exit_code == 0, done.output
    assert sorted(events(there()), key=lambda event: event["id"]) == [
        {"id": "2", "text": "first\nquestion", "label": None},
        {"id": "4", "text": "second", "label": "glad"},
    ]


def test_an_avro_file_brings_its_schema(
    command: Command, there: Callable[[], list[Message]], tmp_path: Path
) -> None:
    """Registered where the topic has none; a file that does not fit what is registered is refused with the field."""
    avro = {
        "type": "record",
        "name": "Order",
        "fields": [{"name": "id", "type": "string"}, {"name": "amount", "type": "int"}],
    }
    file, other = tmp_path / "orders.avro", tmp_path / "other.avro"
    with file.open("wb") as out:
        fastavro.writer(out, fastavro.parse_schema(avro, {}), [{"id": "a", "amount": 1}, {"id": "b", "amount": 2}])
    done = command("--from", file, "--key", "id", "--json")
    assert done.exit_code == 0, done.output
    reader = AvroReader(json.dumps(avro))
    found = [reader.decode(frame(message.value())[1]) for message in there()]
    assert sorted(event["amount"] for event in found) == [1, 2]
    with other.open("wb") as out:
        changed = {**avro, "fields": [avro["fields"][0], {"name": "amount", "type": "string"}]}
        fastavro.writer(out, fastavro.parse_schema(changed, {}), [{"id": "c", "amount": "3"}])
    refused = command("--from", other)
    assert refused.exit_code == 2
    assert "the field 'amount' is string, which can't be read as int" in refused.stderr
    assert len(there()) == 2


def test_case_99_a_mail_that_is_none_is_named_and_the_next_run_goes_on(
    command: Command, there: Callable[[], list[Message]], tmp_path: Path
) -> None:
    """By file, line and number; the message's own advice leaves every mail in the topic exactly once."""
    file = tmp_path / "a.mbox"
    start = "From a@x.example Mon Sep 14 06:12:40 2026\n"
    mails = [f"{start}Message-ID: <m{n}@x>\nSubject: {{}}\n\nx\n\n" for n in range(3)]
    file.write_text("".join(m.format(s) for m, s in zip(mails, ("a", "=?utf-8?q?caf=E9?=", "c"), strict=True)))
    stopped = command("--from", file, "--key", "sender")
    assert stopped.exit_code == 2
    assert f"error: {file}:7: mail 2: byte 0xe9 at 4 of the Subject header is not utf-8" in stopped.stderr
    assert "`--skip 1`, or leave it out with `--skip 2`" in stopped.stderr
    assert command("--from", file, "--skip", 1, "--encoding", "cp1252").exit_code == 0
    reader = AvroReader(json.dumps(MAIL_SCHEMA))
    found = {event["id"]: event["subject"] for event in (reader.decode(frame(m.value())[1]) for m in there())}
    assert (len(there()), found) == (3, {"m0@x": "a", "m1@x": "café", "m2@x": "c"})
    skipping = command("--from", file, "--on-error", "skip", "--json")
    assert json.loads(skipping.stdout)["skipped"] == 1
    assert f"skipped: {file}:7: mail 2: byte" in skipping.stderr


def test_an_incompatible_schema_is_refused_before_anything_is_produced(
    command: Command, there: Callable[[], list[Message]], tmp_path: Path
) -> None:
    """With the registry's reason."""
    assert command("--from", "-", "--schema", SCHEMA, stdin=queries("one")).exit_code == 0
    other = tmp_path / "other.avsc"
    other.write_text(json.dumps({"type": "record", "name": "Query", "fields": [{"name": "id", "type": "long"}]}))
    done = command("--from", "-", "--schema", other, stdin='{"id": 1}\n')
    assert done.exit_code == 2
    assert "the registry refuses the schema of" in done.stderr
    assert len(there()) == 1


def test_without_any_schema_it_says_what_to_give(command: Command, topic: str) -> None:
    """And offers JSON."""
    done = command("--from", "-", stdin=queries("one"))
    assert done.exit_code == 2
    assert f"the registry has no schema for {topic}" in done.stderr
    assert "--schema FILE.avsc" in done.stderr


def test_json_values_are_the_files_lines(command: Command, there: Callable[[], list[Message]]) -> None:
    """Unchanged, without a registry."""
    done = command("--from", "-", "--value-format", "json", "--registry", "http://127.0.0.1:1", stdin=queries("one"))
    assert done.exit_code == 0, done.output
    assert [message.value() for message in there()] == [queries("one").encode().rstrip()]


def test_cloudevents_headers_are_there_on_request(command: Command, there: Callable[[], list[Message]]) -> None:
    """With the event's own id; without the request there are none."""
    assert command("--from", "-", "--schema", SCHEMA, "--ce-headers", stdin=queries("one")).exit_code == 0
    (message,) = there()
    assert dict(message.headers()) == {
        "ce_specversion": b"1.0",
        "ce_id": b"q1",
        "ce_source": b"eventmill/produce",
        "ce_type": b"intents.Query",
        "content-type": b"application/avro",
    }


def test_a_missing_topic_is_created_only_on_request(addresses: Addresses, unique: str) -> None:
    """Else the message says how."""
    where = ["--kafka", addresses.bootstrap, "--registry", addresses.registry, "--from", "-", "--schema", str(SCHEMA)]
    name = f"{unique}.new"
    refused = CliRunner().invoke(app, ["produce", name, *where], input=queries("one"))
    assert refused.exit_code == 2
    assert f"there is no topic {name}" in refused.stderr
    assert "eventmill apply --inputs" in refused.stderr
    done = CliRunner().invoke(
        app, ["produce", name, *where, "--create-topic", "--partitions", "3"], input=queries("one")
    )
    assert done.exit_code == 0, done.output
    assert "created with 3 partitions" in done.stderr
    assert Topics({"bootstrap.servers": addresses.bootstrap}).describe([name])[name].partitions == 3


def test_a_header_that_does_not_fit_creates_nothing(addresses: Addresses, unique: str, tmp_path: Path) -> None:
    """Neither the topic nor the schema: the file is checked first."""
    file = tmp_path / "a.csv"
    file.write_text("nix\n1\n")
    where = ["--kafka", addresses.bootstrap, "--registry", addresses.registry, "--schema", str(SCHEMA)]
    done = CliRunner().invoke(app, ["produce", unique, "--from", str(file), "--create-topic", *where])
    assert done.exit_code == 2
    assert f"{file}:1: there is no field for the column 'nix'" in done.stderr
    assert Topics({"bootstrap.servers": addresses.bootstrap}).describe([unique]) == {}


def test_a_record_above_the_topics_limit_names_line_and_limit(
    command: Command, there: Callable[[], list[Message]], addresses: Addresses, topic: str
) -> None:
    """A record just below it is produced, and none after the large one."""
    Topics({"bootstrap.servers": addresses.bootstrap}).configure(topic, {"max.message.bytes": "2000"})
    done = command("--from", "-", "--schema", SCHEMA, stdin=queries("x" * 1_850, "x" * 2_000, "y"))
    assert done.exit_code == 2
    assert "standard input:2: the record has 2,1" in done.stderr
    assert f"the topic {topic} takes 2,000 (max.message.bytes)" in done.stderr
    assert ids(there()) == ["q1"]


def test_what_the_broker_refuses_is_told_with_its_line(
    addresses: Addresses, there: Callable[[], list[Message]], topic: str, tmp_path: Path
) -> None:
    """The limit shrinks while a production runs: it stops, and the advice misses no event."""
    kafka = Kafka(addresses.bootstrap, addresses.registry)
    Topics(command_settings(kafka)).configure(topic, {"max.message.bytes": "2000"})
    file = tmp_path / "a.jsonl"
    incompressible = b64encode(randbytes(6_000)).decode()
    file.write_text(queries("a", "b", incompressible, "c"))
    options = Options(schema=SCHEMA)
    avro = json.loads(SCHEMA.read_text())
    rows = file_source(str(file))
    plan, reader = Plan(rows, options, avro), Reader(rows)
    reader.open()
    reader.begin(plan.check_header)
    sender = Sender(command_settings(kafka), topic, 1_000_000)
    encoder = plan.encoder(topic, register(kafka.registry, topic, avro))
    run = Run(rows, reader, encoder, sender, Target(topic, 1_000_000), options)
    seen: list[Progress] = []
    with pytest.raises(SetupError, match="the event was not produced: Kafka refused it") as caught:
        run.complete(Listeners(seen.append, print))
    reader.close()
    line = sender.failed_line
    assert line is not None
    assert f"`--skip-lines {line - 1}`" in str(caught.value)
    assert str(caught.value).startswith(f"{file}:{line}:")
    assert {f"q{number}" for number in range(1, line)} <= set(ids(there()))
    assert line <= 3
    assert seen[-1].line == line - 1


def test_a_rate_is_kept(addresses: Addresses, topic: str, tmp_path: Path) -> None:
    """Never faster than asked for, as the report says."""
    file = tmp_path / "a.jsonl"
    file.write_text(queries(*"abcdefghij"))
    kafka = Kafka(addresses.bootstrap, addresses.registry)
    report = produce(kafka, topic, file_source(str(file)), Options(schema=SCHEMA, rate=20))
    assert report.events == 10
    assert report.seconds >= 9 / 20


def test_ctrl_c_says_how_to_go_on(
    addresses: Addresses, there: Callable[[], list[Message]], topic: str, tmp_path: Path
) -> None:
    """Exit code 130; what is said to be there is there, and going on completes it without doubles."""
    file = tmp_path / "a.jsonl"
    file.write_text(queries(*("x" for _ in range(200))))
    where = ["--kafka", addresses.bootstrap, "--registry", addresses.registry, "--schema", str(SCHEMA)]
    argv = [sys.executable, "-m", "eventmill.cli", "produce", topic, "--from", str(file), *where]
    with subprocess.Popen([*argv, "--rate", "20"], stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 30
        while not there():
            assert time.monotonic() < deadline, "nothing is produced"
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in told
    count = len(there())
    assert f"interrupted: {count} events of {file} are in {topic}; go on with `--skip-lines {count}`" in told
    done = subprocess.run([*argv, "--skip-lines", str(count)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert ids(there()) == sorted(f"q{number}" for number in range(1, 201))


def test_the_example_mails_are_produced_as_they_are(command: Command, there: Callable[[], list[Message]]) -> None:
    """The first thing that a newcomer does; prints how fast one process is."""
    schema = MAILS.parent / "schemas" / "mail.avsc"
    done = command("--from", MAILS, "--schema", schema, "--key", "customer", "--events", 5000, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    print(f"\n{report['per_second']:,.0f} events/s of {report['bytes'] / report['events']:,.0f} bytes")
    assert len(there()) == 5000
