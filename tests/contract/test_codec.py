"""Our Avro bytes are the bytes of confluent-kafka's serializer, and each reads what the other wrote."""

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from confluent_kafka.schema_registry import AsyncSchemaRegistryClient, Schema
from confluent_kafka.schema_registry.avro import AsyncAvroDeserializer, AsyncAvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from eventmill_schemas.codec import AvroReader, AvroWriter, frame
from eventmill_schemas.records import cost_event_schema
from eventmill_schemas.result_schema import schema_text

CONTEXT = SerializationContext("vectors", MessageField.VALUE)
CONFIG = {"auto.register.schemas": False, "subject.name.strategy.type": "TOPIC"}
INNER = {"type": "record", "name": "Model", "fields": [{"name": "n", "type": "string"}]}
LIST = {"type": "record", "name": "List", "fields": [{"name": "next", "type": ["null", "List"]}]}


def long(logical: str) -> dict[str, str]:
    """Make a long with a logical type."""
    return {"type": "long", "logicalType": logical}


def decimal(precision: int, scale: int, **more: Any) -> dict[str, Any]:
    """Make a decimal type."""
    return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale, **more}


NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)

VECTORS: list[tuple[str, Any, list[Any]]] = [
    ("null", "null", [None]),
    ("boolean", "boolean", [True, False]),
    ("int", "int", [0, -1, 1, 63, 64, -64, -65, (1 << 31) - 1, -(1 << 31)]),
    ("long", "long", [0, 1 << 40, (1 << 63) - 1, -(1 << 63)]),
    ("float", "float", [0.0, -0.0, 1.5, float("inf")]),
    ("double", "double", [0.1, 1e308, 5, float("-inf")]),
    ("bytes", "bytes", [b"", b"\x00\xff" * 100]),
    ("string", "string", ["", "a" * 200, "é😀"]),
    ("fixed", {"type": "fixed", "name": "F", "size": 3}, [b"abc"]),
    ("enum", {"type": "enum", "name": "E", "symbols": ["A", "B"]}, ["A", "B"]),
    ("array", {"type": "array", "items": "long"}, [[], [1, 2, 3], list(range(100))]),
    ("map", {"type": "map", "values": ["null", "string"]}, [{}, {"a": "x", "b": None}]),
    ("record", INNER, [{"n": "x"}]),
    ("recursive", LIST, [{"next": {"next": None}}]),
    ("optional", ["null", "string"], [None, "x"]),
    ("optional last", ["string", "null"], [None, "x"]),
    ("union", ["null", "string", "long", "boolean", INNER], [None, "x", 5, True, {"n": "y"}]),
    ("decimal", decimal(38, 12), [*map(Decimal, ("0", "1.28", "-1.28", "1e-12", "-1.28e-10", "9e25"))]),
    ("decimal scale 0", decimal(5, 0), [Decimal(127), Decimal(128), Decimal(-128), Decimal(-129), Decimal(99999)]),
    ("optional decimal", ["null", decimal(38, 12)], [None, Decimal("12.5")]),
    ("fixed decimal", decimal(9, 2, type="fixed", name="D", size=8), [Decimal("-0.01"), Decimal("9999999.99")]),
    ("timestamp-millis", long("timestamp-millis"), [NOON, datetime(1950, 1, 1, tzinfo=UTC), 5]),
    ("timestamp-micros", long("timestamp-micros"), [NOON]),
    ("local-timestamp-millis", long("local-timestamp-millis"), [NOON.replace(tzinfo=None)]),
    ("date", {"type": "int", "logicalType": "date"}, [date(2026, 11, 21), date(1, 1, 1)]),
    ("time-millis", {"type": "int", "logicalType": "time-millis"}, [time(23, 59, 59, 999000)]),
    ("time-micros", long("time-micros"), [time(23, 59, 59, 999999)]),
    ("uuid", {"type": "string", "logicalType": "uuid"}, [UUID(int=5)]),
]


async def registered(schema: str) -> tuple[Any, int]:
    """Register a schema with confluent-kafka's in-memory registry."""
    client = AsyncSchemaRegistryClient.new_client({"url": "mock://vectors"})
    return client, await client.register_schema("vectors-value", Schema(schema, "AVRO"))


@pytest.mark.parametrize(("avro", "values"), [pytest.param(avro, values, id=name) for name, avro, values in VECTORS])
async def test_bytes_are_those_of_confluents_serializer(avro: Any, values: list[Any]) -> None:
    """For every Avro type: equal bytes, and both readers give equal values from them."""
    columns = [{"name": "a", "type": avro}, {"name": "z", "type": "int"}]   # z: Confluent's reader wants a byte
    text = json.dumps({"type": "record", "name": "R", "namespace": "n", "fields": columns})
    client, schema_id = await registered(text)
    serializer = await AsyncAvroSerializer(client, text, conf=CONFIG)
    deserializer = await AsyncAvroDeserializer(client, conf={"subject.name.strategy.type": "TOPIC"})
    writer, reader = AvroWriter(text, schema_id), AvroReader(text)
    for value in values:
        theirs = await serializer({"a": value, "z": 1}, CONTEXT)
        ours = writer.encode({"a": value, "z": 1})
        assert ours == theirs
        assert frame(theirs)[0] == schema_id
        assert reader.decode(frame(theirs)[1]) == await deserializer(ours, CONTEXT)


async def test_a_cost_event_can_be_read_by_anybody() -> None:
    """A consumer with confluent-kafka's deserializer sees what was published."""
    client, schema_id = await registered(cost_event_schema())
    fields = {
        **dict.fromkeys(("cost_id", "call_id", "event_id", "pipeline", "stage", "step", "source_topic"), "x"),
        **dict.fromkeys(("source_partition", "source_offset", "attempt", "duration_ms"), 1),
        **dict.fromkeys(("provider", "model", "outcome"), "m"),
        "certainty": "EXACT",
        "cost": Decimal("0.000000000001"),
        "started_at": datetime(2026, 11, 21, tzinfo=UTC),
    }
    deserializer = await AsyncAvroDeserializer(client, conf={"subject.name.strategy.type": "TOPIC"})
    read = await deserializer(AvroWriter(cost_event_schema(), schema_id).encode(fields), CONTEXT)
    assert {name: read[name] for name in fields} == fields
    assert read["currency"] == "USD"
    assert schema_text(json.loads(cost_event_schema())) == cost_event_schema()
