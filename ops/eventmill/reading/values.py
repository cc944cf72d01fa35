"""What a record's value says: Avro by its schema id, JSON, text; or why it can't be told."""

import asyncio
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from eventmill_connectors.registry import SchemaRegistry
from eventmill_schemas import codec, json_events
from eventmill_schemas.errors import RegistryUnreachable, Undecodable
from eventmill_schemas.events import RawRecord

_ASK_AGAIN = 10.0
"""Seconds for which a registry that did not answer is not asked again: each question waits for its deadline."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A record and what its value says.

    `value`: the fields of an event, a text, or None for a tombstone. `problem`: why the value can't be decoded; then
    `value` is None too.
    """

    record: RawRecord
    value: dict[str, Any] | str | None
    problem: str | None = None
    schema_id: int | None = None


class ValueReader:
    """Decodes values, asking the registry for each schema once. Blocks; not for use inside an event loop."""

    def __init__(self, registry_url: str) -> None:
        self._runner = asyncio.Runner()
        self._registry = SchemaRegistry(registry_url)
        self._silent_until = 0.0
        self._silence = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._registry.close())
        self._runner.close()

    def see(self, record: RawRecord) -> Seen:
        """Return what a record says. Never raises because of what is in it."""
        value = record.value
        if value is None:
            return Seen(record, None)
        try:
            if value[:1] == b"\x00":
                schema_id, payload = codec.frame(value)
                return Seen(record, self._reader(schema_id).decode(payload), schema_id=schema_id)
            is_json = value.lstrip()[:1] == b"{"
            return Seen(record, json_events.decode(value) if is_json else value.decode())
        except (Undecodable, RegistryUnreachable) as error:
            return Seen(record, None, error.message)
        except UnicodeDecodeError:
            return Seen(record, None, "it is neither framed Avro nor UTF-8 text")

    def _reader(self, schema_id: int) -> codec.AvroReader:
        known = self._registry.known(schema_id)
        if known is not None:
            return known
        if time.monotonic() < self._silent_until:
            raise RegistryUnreachable(self._silence)
        try:
            return self._runner.run(self._registry.schema(schema_id))
        except RegistryUnreachable as error:
            self._silent_until = time.monotonic() + _ASK_AGAIN
            self._silence = error.message
            raise
