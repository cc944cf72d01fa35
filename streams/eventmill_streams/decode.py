"""From a raw record to an event: schema by id, fields, identity."""

from typing import Protocol

from eventmill_agents.ports import Gate
from eventmill_schemas import ids, json_events
from eventmill_schemas.codec import AvroReader, frame
from eventmill_schemas.errors import RegistryUnreachable, Undecodable
from eventmill_schemas.events import Event, Fields, RawRecord
from eventmill_schemas.pipeline import Format, Stage


class Schemas(Protocol):
    """Where writer schemas come from."""

    async def schema(self, schema_id: int) -> AvroReader:
        """Return the reader for values written with `schema_id`.

        Raises Undecodable where the registry does not know the id, RegistryUnreachable where it does not answer.
        """


class Decoder:
    """Decodes the records of one stage. Every method raises EventError for a record that can't become an event."""

    def __init__(self, stage: Stage, schemas: Schemas) -> None:
        self._stage = stage
        self._schemas = schemas
        self._readers: dict[int, AvroReader] = {}  # a registered schema never changes

    def now(self, record: RawRecord) -> Event | None:
        """Decode without waiting; None where the schema must be fetched first."""
        value = record.value or b""
        if self._stage.format == Format.JSON:
            return self._event(record, json_events.decode(value))
        schema_id, payload = frame(value)
        reader = self._readers.get(schema_id)
        return None if reader is None else self._event(record, reader.decode(payload))

    async def decode(self, record: RawRecord, gate: Gate) -> Event:
        """Decode, fetching the schema if need be. Waits at the lane door while the registry is away."""
        event = self.now(record)
        attempt = 0
        while event is None:
            schema_id, _ = frame(record.value or b"")
            try:
                self._readers[schema_id] = await self._schemas.schema(schema_id)
            except RegistryUnreachable as error:
                attempt += 1
                await gate.wait_open(error, attempt)
                continue
            except Undecodable:  # the registry answers
                gate.opened(RegistryUnreachable)
                raise
            if attempt:
                gate.opened(RegistryUnreachable)
            event = self.now(record)
        return event

    def _event(self, record: RawRecord, fields: Fields) -> Event:
        event_id = ids.event_id(record, fields, self._stage.id_field)
        return Event(event_id, ids.tenant(fields, self._stage.tenant_field), fields, record)
