"""The schema that events are written with: given as a file, or the one that the registry has for the topic."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro

from eventmill_connectors.registry import Registered, SchemaRegistry
from eventmill_schemas.codec import AvroWriter
from eventmill_schemas.errors import SetupError, UsageError
from eventmill_schemas.result_schema import schema_text
from eventmill_schemas.topics import subject


@dataclass(frozen=True, slots=True)
class WriterSchema:
    """A registered record schema: its id, its text and what the text says."""

    schema_id: int
    text: str
    avro: Mapping[str, Any]


def read_schema(path: Path) -> Mapping[str, Any]:
    """Return the record schema in an .avsc file. Raises UsageError, naming the file."""
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path}: the schema can't be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: this is not UTF-8 text") from None
    return parse_schema(text, str(path))


def register(registry_url: str, topic: str, avro: Mapping[str, Any]) -> WriterSchema:
    """Register `avro` as the schema of the topic's values; one that is registered already keeps its id.

    Blocks; not for use inside an event loop. Raises SetupError with the registry's reason; RegistryUnreachable.
    """
    text = schema_text(avro)
    return WriterSchema(asyncio.run(_register(registry_url, topic, text)), text, avro)


def latest(registry_url: str, topic: str) -> WriterSchema | None:
    """Return the schema that is registered last for the topic's values, None where none is.

    Blocks; not for use inside an event loop. Raises SetupError where it can't be used; RegistryUnreachable.
    """
    found = asyncio.run(_ask_latest(registry_url, topic))
    if found is None:
        return None
    try:
        avro = parse_schema(found.schema, f"schema {found.schema_id} of {subject(topic)}")
    except UsageError as error:
        raise SetupError(error.message, remedy="Give another one with `--schema FILE.avsc`") from None
    return WriterSchema(found.schema_id, found.schema, avro)


def missing_schema(topic: str) -> SetupError:
    """Return the error that says that the registry has none."""
    return SetupError(
        f"the registry has no schema for {topic} (subject {subject(topic)})",
        remedy="Give one with `--schema FILE.avsc`, or send JSON with `--value-format json`",
    )


def parse_schema(text: str, place: str) -> Mapping[str, Any]:
    """Return the record schema in a text. Raises UsageError, naming the `place` it is from."""
    try:
        avro = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{place}: this is not JSON: {error}") from None
    if not isinstance(avro, Mapping) or avro.get("type") != "record":
        raise UsageError(f"{place}: an event's schema is an Avro record", remedy='Begin with {"type": "record", ...')
    try:
        AvroWriter(text, 0)
    except Exception as error:   # noqa: BLE001 - fastavro and ours raise whatever the way through the tree meets
        raise UsageError(f"{place}: this is not a whole Avro schema: {_reason(error)}") from None
    return avro


def _reason(error: Exception) -> str:
    match error:
        case fastavro.schema.UnknownType():
            return f"the type {error} is not in it"
        case KeyError():
            return f"{error} is missing"
        case _:
            return str(error) or type(error).__name__


async def _register(url: str, topic: str, text: str) -> int:
    registry = SchemaRegistry(url)
    try:
        return await registry.register(subject(topic), text)
    finally:
        await registry.close()


async def _ask_latest(url: str, topic: str) -> Registered | None:
    registry = SchemaRegistry(url)
    try:
        return await registry.latest(subject(topic))
    finally:
        await registry.close()
