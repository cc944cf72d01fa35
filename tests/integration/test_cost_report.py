"""`eventmill cost report` on what a topic can hold: aborted transactions and records of somebody else."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from typer.testing import CliRunner

from eventmill.cli import app
from eventmill.dev.addresses import Addresses
from eventmill.produce.schema import latest
from eventmill_schemas.codec import AvroWriter

PIPELINE = """
pipeline: {name}
kafka: {{bootstrap: {addresses.bootstrap}, registry: "{addresses.registry}"}}
stages:
  copy: {{input: {name}.notes, event: {{id: id}}, result: copy.avsc, steps: []}}
"""
COPY = '{"type": "record", "name": "Copy", "fields": [{"name": "a", "type": "string", "from": "event.a"}]}'


def test_only_committed_cost_events_are_summed_and_what_is_none_is_told(
    tmp_path: Path, addresses: Addresses, unique: str
) -> None:
    """An aborted attempt's cost is in no sum; a record that is no cost event makes the exit code 1."""
    file = tmp_path / "pipeline.yaml"
    file.write_text(PIPELINE.format(name=unique, addresses=addresses))
    (tmp_path / "copy.avsc").write_text(COPY)
    applied = CliRunner().invoke(app, ["apply", str(file), "--inputs", "--partitions", "2"])
    assert applied.exit_code == 0, applied.output
    topic = f"{unique}.copy.costs"
    registered = latest(addresses.registry, topic)
    assert registered is not None
    writer = AvroWriter(registered.text, registered.schema_id)
    words: dict[str, Any] = dict.fromkeys(("cost_id", "call_id", "event_id", "step", "source_topic", "provider"), "x")
    numbers: dict[str, Any] = dict.fromkeys(("source_partition", "source_offset", "attempt", "duration_ms"), 1)
    event = {
        **words,
        **numbers,
        "pipeline": unique,
        "stage": "copy",
        "model": "small",
        "outcome": "ok",
        "certainty": "EXACT",
        "started_at": datetime(2026, 11, 20, tzinfo=UTC),
    }
    producer = Producer({"bootstrap.servers": addresses.bootstrap, "transactional.id": f"{unique}.tx"})
    producer.init_transactions(20)
    for cost, commit in (("1.5", True), ("7", False), ("0.000000000001", True)):
        producer.begin_transaction()
        producer.produce(topic, writer.encode({**event, "cost": Decimal(cost)}), b"k")
        producer.flush(20)
        if commit:
            producer.commit_transaction(20)
        else:
            producer.abort_transaction(20)

    done = CliRunner().invoke(app, ["cost", "report", str(file)])
    assert (done.exit_code, done.stderr) == (0, "")
    *_, row, total = [line.split() for line in done.stdout.splitlines()]
    assert row[:4] == ["copy", "small", "2", "1.500000000001"]
    assert total[3:5] == ["2", "1.500000000001"]

    plain = Producer({"bootstrap.servers": addresses.bootstrap})
    plain.produce(topic, b'{"cost": 99}', b"k")
    assert plain.flush(20) == 0
    done = CliRunner().invoke(app, ["cost", "report", str(file), "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["totals"][0]["cost"] == "1.500000000001"
    assert json.loads(done.stdout)["unread"] == 1
    assert "1 record is not in these sums" in done.stderr
    assert "it is no cost event" in done.stderr
