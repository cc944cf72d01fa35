"""`eventmill try` on a real broker and registry: records are read as any consumer would, and nothing is left behind."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner

from digest_pipeline import COPY, INPUT, PIPELINE, PROMPT, RESULT
from eventmill.cli import app
from eventmill.dev.addresses import Addresses


@pytest.fixture
def pipeline(tmp_path: Path, addresses: Addresses, unique: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a pipeline with topics of its own, and create them; give their common beginning."""
    kafka = f"kafka: {{bootstrap: '{addresses.bootstrap}', registry: '{addresses.registry}'}}"
    text = f"pipeline: {unique}\n{kafka}\n{PIPELINE.replace('{name}', unique)}"
    files = {"pipeline.yaml": text, "digest.avsc": RESULT, "copy.avsc": COPY, "digest.md": PROMPT, "note.avsc": INPUT}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["apply", "--inputs", "--partitions", "1"]).exit_code == 0
    return unique


def produce(tmp_path: Path, topic: str, *numbers: int) -> None:
    """Produce notes by the command."""
    file = tmp_path / "notes.jsonl"
    file.write_text("".join(f'{{"id": "n{number}", "body": "Note {number}."}}\n' for number in numbers))
    arguments = ["produce", topic, "--from", str(file), "--schema", "note.avsc", "--key", "id"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output


def trying(*arguments: str) -> Result:
    """Run the command to its end."""
    return CliRunner().invoke(app, ["try", *arguments, "--stand-in"])


def events(done: Result) -> list[dict[str, Any]]:
    """Read the events of a round."""
    found: list[dict[str, Any]] = json.loads(done.stdout)["events"]
    return found


def test_the_newest_records_are_tried_and_nothing_is_left_behind(
    tmp_path: Path, pipeline: str, addresses: Addresses
) -> None:
    """Committed records only, oldest first, with what can't be decoded as a dead letter and a tombstone as a skip.

    No group is there afterwards, and the stage's topics are as empty as before.
    """
    topic = f"{pipeline}.notes"
    assert "there are no records" in trying("digest", "--last", "3").stderr
    produce(tmp_path, topic, *range(5))
    producer = Producer({"bootstrap.servers": addresses.bootstrap, "transactional.id": f"{pipeline}.aborting"})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(topic, b'{"never": "seen"}', partition=0)
    producer.flush(10)
    producer.abort_transaction(20)
    plain = Producer({"bootstrap.servers": addresses.bootstrap})
    plain.produce(topic, b"no avro", b"k1", 0)
    plain.flush(10)
    plain.produce(topic, None, b"k2", 0)
    plain.flush(10)

    done = trying("digest", "--last", "4", "--json")
    assert done.exit_code == 1, done.output
    found = events(done)
    assert [event["event_id"] for event in found[:2]] == ["n3", "n4"]
    assert [event["outcome"] for event in found] == ["result", "result", "dead_letter", "skipped"]
    assert found[2]["dead_letter"]["kind"] == "undecodable"
    assert found[3]["skipped"] == "tombstone"
    assert all(event["place"].startswith(f"{topic}/") for event in found)
    assert "Note 3." in found[0]["calls"][0]["user"]
    assert len(events(trying("digest", "--last", "100", "--json"))) == 7

    groups = AdminClient({"bootstrap.servers": addresses.bootstrap}).list_consumer_groups().result(20)
    assert [group.group_id for group in groups.valid if pipeline in group.group_id] == []
    for kind in ("results", "costs", "dlq"):
        tail = CliRunner().invoke(app, ["tail", f"digest.{kind}", "-b", "--no-follow"])
        assert (tail.exit_code, tail.stdout) == (0, ""), tail.output


def test_a_file_is_typed_by_the_schema_that_the_registry_has(tmp_path: Path, pipeline: str) -> None:
    """Without --schema the topic's latest one is used, as in `produce`; before there is one, it says what to give."""
    file = tmp_path / "more.jsonl"
    file.write_text('{"id": "m1", "body": "A note."}\n')
    before = trying("digest", "--from", str(file))
    assert (before.exit_code, before.stdout) == (2, "")
    assert "--schema FILE.avsc" in before.stderr
    produce(tmp_path, f"{pipeline}.notes", 1)
    (event,) = events(trying("digest", "--from", str(file), "--json"))
    assert (event["event_id"], event["result"]["note"]) == ("m1", "m1")
    file.write_text('{"id": "m1", "boddy": "A note."}\n')
    wrong = trying("digest", "--from", str(file))
    assert wrong.exit_code == 2
    assert "more.jsonl:1" in wrong.stderr
