"""`eventmill init --topic` on a real broker and registry: what it writes reads that topic."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from confluent_kafka import Producer
from typer.testing import CliRunner

from eventmill.cli import app
from eventmill.dev.addresses import Addresses
from worker_process import until

MAILS = Path(__file__).parents[2] / "examples/support-mail"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, addresses: Addresses, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, with the stack's addresses in the variables that files and commands read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAFKA", addresses.bootstrap)
    monkeypatch.setenv("REGISTRY", addresses.registry)
    return tmp_path


def run(*arguments: str) -> Result:
    """Run `eventmill` in this process."""
    return CliRunner().invoke(app, list(arguments))


def data(*arguments: str) -> Any:
    """Run a command that must do its work, and read its JSON."""
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_topic_of_avro_events_becomes_a_pipeline_that_runs_on_it(
    place: Path, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Schema and samples decide the files; they pass `check`, and `try` on the topic's newest events.

    The backlog is counted, and its cost is the price of one event so many times.
    """
    topic = f"{unique}.mails"
    schema = str(MAILS / "schemas/mail.avsc")
    source = ("--from", str(MAILS / "mails.jsonl"), "--schema", schema, "--key", "customer")
    assert run("produce", topic, *source, "--create-topic").exit_code == 0
    report = data("init", "inbox", "--topic", topic, "--stage", "sort")
    backlog = report["backlog"]
    assert (backlog["events"], backlog["samples"]) == (81, 81)
    assert float(backlog["cost"]) == pytest.approx(81 * float(backlog["price"]))
    monkeypatch.chdir(place / "inbox")
    assert run("check").exit_code == 0
    tried = data("try", "sort", "--last", "4", "--stand-in")
    assert tried["totals"]["results"] == 4
    sent = max(tried["events"], key=lambda event: len(event["calls"][0]["user"]))["calls"][0]["user"]
    assert "Subject:\n<data-" in sent
    pipeline = Path("pipeline.yaml").read_text()
    assert "event: {id: id, tenant: tenant}" in pipeline
    assert json.loads(Path(f"schemas/{topic}-value.avsc").read_text()) == json.loads(Path(schema).read_text())

    told = run("init", "--topic", topic, "--stage", "sort", "--force")
    assert "the 81 events in" in told.stdout
    assert "USD" in told.stdout
    assert "assumed" in told.stdout


def test_a_topic_of_json_events_needs_no_schema(place: Path, unique: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields and classes come from the samples."""
    topic = f"{unique}.lines"
    lines = [{"event_id": f"e{n}", "the text": f"Line {n}.", "kind": ["a", "b"][n % 2]} for n in range(6)]
    Path("lines.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    produced = run("produce", topic, "--from", "lines.jsonl", "--value-format", "json", "--create-topic")
    assert produced.exit_code == 0, produced.output
    data("init", "json", "--topic", topic)
    monkeypatch.chdir(place / "json")
    assert run("check").exit_code == 0
    report = data("try", "triage", "--last", "6", "--stand-in")
    assert sorted(event["event_id"] for event in report["events"]) == [line["event_id"] for line in lines]
    assert {event["result"]["category"] for event in report["events"]} <= {"A", "B"}


def test_what_can_not_be_told_is_said(place: Path, unique: str, addresses: Addresses) -> None:
    """No such topic, or one of which nothing can be known: nothing is written. What can be read is enough to begin."""
    missing = run("init", "a", "--topic", f"{unique}.none")
    assert (missing.exit_code, missing.stdout) == (2, "")
    assert f"{unique}.none" in missing.stderr
    Path("one.jsonl").write_text('{"a": 1}\n')
    topic = f"{unique}.odd"
    run("produce", topic, "--from", "one.jsonl", "--value-format", "json", "--create-topic", "--partitions", "1")
    producer = Producer({"bootstrap.servers": addresses.bootstrap})
    for _ in range(3):
        producer.produce(topic, b"\x01\x02", partition=0)
    assert producer.flush(10) == 0
    assert run("init", "b", "--topic", topic).exit_code == 0   # one record can be read
    empty = f"{unique}.odd2"
    run("produce", empty, "--from", "one.jsonl", "--value-format", "json", "--create-topic", "--skip-lines", "1")
    until(lambda: run("tail", empty, "--no-follow").exit_code == 0, 30)   # its partitions have leaders
    nothing = run("init", "c", "--topic", empty)
    assert nothing.exit_code == 2
    assert "nothing can be told" in nothing.stderr
    away = run("init", "d", "--topic", topic, "--registry", "http://127.0.0.1:9")
    assert away.exit_code == 0   # JSON needs no registry
    assert not any(Path(name).exists() for name in "ac")
