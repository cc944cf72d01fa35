"""A stage whose results have every type that a warehouse stores, written as a worker would, and its connectors."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from click.testing import Result
from confluent_kafka import Producer
from typer.testing import CliRunner

from backends import Worker
from eventmill.cli import app
from eventmill.dev.addresses import Addresses
from eventmill_connectors.registry import SchemaRegistry
from eventmill_schemas.codec import AvroWriter

PIPELINE = """
pipeline: {name}
kafka: {{bootstrap: "{kafka}", registry: "{registry}"}}
stages:
  sort: {{input: {name}.in, result: sort.avsc}}
"""


def computed(name: str, avro: Any) -> dict[str, Any]:
    """Return a field that the stage takes from the event."""
    return {"name": name, "type": avro, "from": f"event.{name}"}


MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 12}
MOMENT = {"type": "long", "logicalType": "timestamp-millis"}
WRITER = {
    "type": "record",
    "name": "Writer",
    "fields": [{"name": "name", "type": "string"}, {"name": "age", "type": ["null", "int"], "default": None}],
}
FIELDS = [
    computed("category", {"type": "enum", "name": "Category", "symbols": ["BUG", "OTHER"]}),
    computed("tags", {"type": "array", "items": "string"}),
    computed("vector", {"type": "array", "items": "float"}),
    computed("amount", MONEY),
    computed("seen_at", MOMENT),
    computed("day", {"type": "int", "logicalType": "date"}),
    computed("reference", {"type": "string", "logicalType": "uuid"}),
    computed("payload", "bytes"),
    computed("large", "long"),
    computed("ratio", "double"),
    computed("urgent", "boolean"),
    computed("order", ["null", "string"]),   # a word of SQL
    computed("repliedBy", ["null", "string"]),   # not in lower case
    computed("writer", WRITER),
    computed("reader", ["null", "Writer"]),
]
SORT = {"type": "record", "name": "Sort", "fields": FIELDS}
AT = datetime(2026, 11, 20, 8, 30, 1, 123000, tzinfo=UTC)
REFERENCE = UUID("7f1c9b1e-0000-4000-8000-00000000002a")


def result(event_id: str, **changes: Any) -> dict[str, Any]:
    """Return the fields of a result."""
    return {
        "event_id": event_id,
        "category": "BUG",
        "tags": ["a", "ü"],
        "vector": [0.5, -0.25],
        "amount": Decimal("-12345678901234567890.123456789012"),
        "seen_at": AT,
        "day": date(2026, 2, 28),
        "reference": str(REFERENCE),
        "payload": b"\x00\xff",
        "large": 2**62,
        "ratio": 0.1,
        "urgent": True,
        "order": "first",
        "repliedBy": None,
        "writer": {"name": "Ada", "age": None},
        "reader": None,
        "tenant": "acme",
        "source_topic": "in",
        "source_partition": 0,
        "source_offset": 7,
        "processed_at": AT,
        "model": "gpt",
        "prompt": "p@1",
        "cost": Decimal("0.000000000001"),
        **changes,
    }


def cost(cost_id: str, **changes: Any) -> dict[str, Any]:
    """Return the fields of a cost event that has no nullable one."""
    return {
        "cost_id": cost_id,
        "call_id": "c",
        "event_id": "e",
        "pipeline": "p",
        "stage": "s",
        "step": "t",
        "source_topic": "in",
        "source_partition": 0,
        "source_offset": 1,
        "attempt": 1,
        "provider": "openai",
        "model": "gpt",
        "outcome": "ok",
        "certainty": "EXACT",
        "currency": "USD",
        "started_at": AT,
        "duration_ms": 12,
        **changes,
    }


class SortPipeline:
    """A stage whose topics the test writes to as a worker would, and the connectors of its topics."""

    def __init__(self, folder: Path, addresses: Addresses, worker: Worker, name: str) -> None:
        """Write the files."""
        self.name, self.addresses, self.worker = name, addresses, worker
        self.folder, self.connectors = folder, folder / "connect"
        text = PIPELINE.format(name=name, kafka=addresses.bootstrap, registry=addresses.registry)
        (folder / "pipeline.yaml").write_text(text)
        self.declare(SORT)
        self.writers: dict[str, AvroWriter] = {}
        self.producer = Producer({"bootstrap.servers": addresses.bootstrap, "transactional.id": name})
        self.producer.init_transactions(20)

    def declare(self, schema: Mapping[str, Any]) -> None:
        """Write the schema of results."""
        (self.folder / "sort.avsc").write_text(json.dumps(schema))

    def cli(self, *arguments: str) -> Result:
        """Run a command of eventmill."""
        environ = {"NO_COLOR": "1", "CONNECT": self.worker.url}
        return CliRunner().invoke(app, list(arguments), env=environ)

    def must(self, *arguments: str) -> Result:
        """Run a command that must do its work."""
        done = self.cli(*arguments)
        assert done.exit_code == 0, done.output
        return done

    def apply(self) -> None:
        """Make topics and schemas, and take the newest schemas for what is written from now on."""
        self.must("apply", str(self.folder / "pipeline.yaml"), "--inputs", "--partitions", "1")
        self.writers = asyncio.run(self._newest())

    def topic(self, kind: str) -> str:
        """Return the name of one of the stage's topics."""
        return f"{self.name}.sort.{kind}"

    def table(self, kind: str) -> str:
        """Return the name of the table that belongs to a topic."""
        return f"{self.name}_sort_{kind}"

    def connector(self, kind: str, sink: str = "postgres") -> str:
        """Return the name of the connector that belongs to a topic."""
        return f"{self.topic(kind)}.{sink}"

    def connect(self, *options: str) -> None:
        """Make connectors for both topics, and see them run."""
        where = ("-o", str(self.connectors), "-p", str(self.folder / "pipeline.yaml"))
        self.must("connect", "generate", "sort", *where, "--registry", self.worker.registry, *options)
        self.must("connect", "validate", str(self.connectors))
        self.must("connect", "apply", str(self.connectors), "--kafka", self.addresses.bootstrap)

    def write(self, kind: str, rows: Sequence[Mapping[str, Any]], *, commit: bool = True) -> None:
        """Write records in one transaction, keyed like inputs: with anything."""
        self.producer.begin_transaction()
        for row in rows:
            self.producer.produce(self.topic(kind), self.writers[kind].encode(row), key=b"\xff\xfe")
        if commit:
            self.producer.commit_transaction(20)
        else:
            self.producer.flush(20)
            self.producer.abort_transaction(20)

    async def _newest(self) -> dict[str, AvroWriter]:
        registry = SchemaRegistry(self.addresses.registry)
        try:
            found = {kind: await registry.latest(f"{self.topic(kind)}-value") for kind in ("results", "costs")}
        finally:
            await registry.close()
        return {kind: AvroWriter(one.schema, one.schema_id) for kind, one in found.items() if one is not None}
