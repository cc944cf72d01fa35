"""The typed producer where things go wrong: what is not delivered is raised, and never silently lost."""

import json
from base64 import b64encode
from pathlib import Path
from random import randbytes
from typing import Any

import pytest

from eventmill import Producer, results
from eventmill.dev.addresses import Addresses
from eventmill_connectors.kafka.admin import Topics
from eventmill_schemas.errors import NotDelivered, SetupError, Undecodable, UsageError
from eventmill_schemas.topics import TopicSpec

SCHEMA = {
    "type": "record",
    "name": "Note",
    "fields": [{"name": "id", "type": "string"}, {"name": "text", "type": ["null", "string"], "default": None}],
}


@pytest.fixture
def topic(addresses: Addresses, unique: str) -> str:
    """Make a topic that takes little."""
    Topics({"bootstrap.servers": addresses.bootstrap}).create([TopicSpec(unique, 2, {"max.message.bytes": "4000"})])
    return unique


@pytest.fixture
def where(addresses: Addresses, topic: str) -> dict[str, Any]:
    """Give the addresses as the client takes them."""
    return {"bootstrap": addresses.bootstrap, "registry": addresses.registry, "topic": topic}


def test_what_kafka_refuses_is_raised_at_the_end(addresses: Addresses, where: dict[str, Any], topic: str) -> None:
    """The limit shrank after the producer had looked: the good events are there, the bad one is told with its key."""
    producer = Producer(**where, schema=SCHEMA)
    Topics({"bootstrap.servers": addresses.bootstrap}).configure(topic, {"max.message.bytes": "1000"})
    producer.send({"id": "a"}, key="a")
    producer.flush()
    with pytest.raises(NotDelivered, match=r"1 event was not delivered to .*; the first: key 'large'"), producer:
        producer.send({"id": "b", "text": b64encode(randbytes(2_000)).decode()}, key="large")
    with pytest.raises(UsageError, match="is closed"):
        producer.send({"id": "c"})


def test_an_event_that_does_not_fit_is_refused_at_once(where: dict[str, Any]) -> None:
    """With its field; the producer goes on, and an exception of the caller's is not hidden."""
    with Producer(**where, schema=SCHEMA) as producer:
        with pytest.raises(UsageError, match=r"does not fit the schema of .*'id'"):
            producer.send({"text": "no id"})
        with pytest.raises(UsageError, match="'id'"):
            producer.send({"id": 7})
        with pytest.raises(UsageError, match="Kafka does not take the event"):
            producer.send({"id": "x" * 100_000})
        producer.send({"id": "a"}, key=7, headers=[("ce_id", "a")])
    with pytest.raises(ZeroDivisionError), Producer(**where) as producer:
        producer.send({"id": str(1 / 0)})


def test_a_schema_is_needed_and_checked(where: dict[str, Any], tmp_path: Path) -> None:
    """None is registered; what is given is none; what is registered can't be followed."""
    with pytest.raises(SetupError, match="the registry has no schema for"):
        Producer(**where)
    with pytest.raises(UsageError, match="an event's schema is an Avro record"):
        Producer(**where, schema={"type": "string"})
    with pytest.raises(UsageError, match="can't be read"):
        Producer(**where, schema=tmp_path / "nix.avsc")
    first = Producer(**where, schema=SCHEMA)
    assert Producer(**where).schema_id == first.schema_id
    with pytest.raises(SetupError, match="the registry refuses the schema"):
        Producer(**where, schema={"type": "record", "name": "Note", "fields": [{"name": "id", "type": "long"}]})


async def test_the_client_works_inside_an_event_loop(where: dict[str, Any]) -> None:
    """As in a notebook; a record that is no result is told, and the next one read."""
    with Producer(**where, schema=SCHEMA) as producer:
        producer.send({"id": "a"}, key="a")
        producer.send({"id": "b"}, key="a")
    with results("any", "stage", **where) as found:
        for _ in range(2):
            with pytest.raises(Undecodable, match="is no result of a stage: it has no event_id"):
                next(found)
        with pytest.raises(StopIteration):
            next(found)


def test_records_that_nobody_can_read_are_named(
    addresses: Addresses, where: dict[str, Any], topic: str
) -> None:
    """A tombstone and JSON among the results: each with its place."""
    from confluent_kafka import Producer as Plain

    plain = Plain({"bootstrap.servers": addresses.bootstrap})
    plain.produce(topic, None, b"k", 0)
    plain.produce(topic, json.dumps({"a": 1}).encode(), b"k", 0)
    assert plain.flush(10) == 0
    with results("any", "stage", **where) as found:
        with pytest.raises(Undecodable, match=f"{topic}/0@0: it has no value"):
            next(found)
        with pytest.raises(Undecodable, match=f"{topic}/0@1: the value looks like JSON"):
            next(found)
