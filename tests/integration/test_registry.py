"""The client against a real registry: ids, compatibility, and the bytes that other clients write."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from confluent_kafka.schema_registry import AsyncSchemaRegistryClient
from confluent_kafka.schema_registry.avro import AsyncAvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from eventmill.dev.addresses import Addresses
from eventmill_connectors.registry import SchemaRegistry
from eventmill_schemas.codec import AvroWriter, frame
from eventmill_schemas.errors import SetupError, Undecodable
from eventmill_schemas.records import cost_event_schema
from eventmill_schemas.result_schema import published, schema_text
from eventmill_schemas.topics import subject


def schema(unique: str, **fields: Any) -> str:
    """Make a record schema that no other test has."""
    columns = [{"name": name, "type": avro} for name, avro in fields.items()]
    return schema_text({"type": "record", "name": unique, "fields": columns})


@pytest.fixture
async def registry(addresses: Addresses) -> AsyncIterator[SchemaRegistry]:
    """Give a client of the real registry."""
    registry = SchemaRegistry(addresses.registry)
    yield registry
    await registry.close()


async def test_what_is_registered_is_found_again(registry: SchemaRegistry, unique: str) -> None:
    """Registering is idempotent; id, text and reader lead to each other."""
    name, text = subject(unique), schema(unique, a="string")
    assert await registry.latest(name) is None
    schema_id = await registry.register(name, text)
    assert await registry.register(name, text) == schema_id
    assert await registry.registered_id(name, text) == schema_id
    latest = await registry.latest(name)
    assert latest is not None
    assert (latest.schema_id, latest.version) == (schema_id, 1)
    assert json.loads(latest.schema) == json.loads(text)
    reader = await registry.schema(schema_id)
    found, payload = frame(AvroWriter(text, schema_id).encode({"a": "x"}))
    assert (found, reader.decode(payload)) == (schema_id, {"a": "x"})


async def test_an_unknown_id_is_undecodable(registry: SchemaRegistry) -> None:
    """The real registry's 404 is recognised as one (case 79)."""
    with pytest.raises(Undecodable, match="no schema 2147483647"):
        await registry.schema((1 << 31) - 1)


async def test_an_incompatible_schema_is_refused_with_the_reason(registry: SchemaRegistry, unique: str) -> None:
    """Readers of a results topic are never surprised: the change is refused, before and at registration (case 80)."""
    name = subject(unique)
    await registry.set_compatibility(name, "BACKWARD_TRANSITIVE")
    first = await registry.register(name, schema(unique, a="string"))
    bad = schema(unique, a="int")
    assert not await registry.is_compatible(name, bad)
    with pytest.raises(SetupError, match="not compatible"):
        await registry.registered_id(name, bad)
    with pytest.raises(SetupError, match=r"(?i)incompatible.*/fields/0/type") as raised:
        await registry.register(name, bad)
    assert name in raised.value.message
    latest = await registry.latest(name)
    assert latest is not None
    assert latest.schema_id == first


async def test_a_compatible_schema_waits_for_apply(registry: SchemaRegistry, unique: str) -> None:
    """Looking up registers nothing, and says what to do."""
    name = subject(unique)
    text = schema(unique, a="string")
    assert await registry.is_compatible(name, text)
    with pytest.raises(SetupError) as raised:
        await registry.registered_id(name, text)
    assert "eventmill apply" in (raised.value.remedy or "")
    assert await registry.latest(name) is None


async def test_a_level_that_does_not_exist_is_refused(registry: SchemaRegistry, unique: str) -> None:
    """The registry's own words reach the user."""
    with pytest.raises(SetupError, match=f"refuses the level SIDEWAYS for {subject(unique)}"):
        await registry.set_compatibility(subject(unique), "SIDEWAYS")


async def test_our_schemas_can_be_registered_and_grow(registry: SchemaRegistry, unique: str) -> None:
    """Cost events and results are valid for the registry, and a result may gain a field that may be null."""
    assert await registry.register(subject(f"{unique}.costs"), cost_event_schema()) > 0
    avro: dict[str, Any] = {"type": "record", "name": unique, "fields": [{"name": "a", "type": "string"}]}
    first = await registry.register(subject(unique), schema_text(published(avro, "t.avsc")))
    avro["fields"].append({"name": "b", "type": ["null", "string"], "default": None})
    assert await registry.register(subject(unique), schema_text(published(avro, "t.avsc"))) != first


async def test_what_confluents_serializer_writes_is_read(
    registry: SchemaRegistry, addresses: Addresses, unique: str
) -> None:
    """A producer with the usual client and automatic registration is understood, and our bytes are the same."""
    text = schema(unique, a="string", n=["null", "long"])
    client = AsyncSchemaRegistryClient.new_client({"url": addresses.registry})
    serializer = await AsyncAvroSerializer(client, text, conf={"subject.name.strategy.type": "TOPIC"})
    value = await serializer({"a": "x", "n": 5}, SerializationContext(unique, MessageField.VALUE))
    await client.aclose()
    assert value is not None
    schema_id, payload = frame(value)
    assert (await registry.schema(schema_id)).decode(payload) == {"a": "x", "n": 5}
    assert await registry.registered_id(subject(unique), text) == schema_id
    assert AvroWriter(text, schema_id).encode({"a": "x", "n": 5}) == value
