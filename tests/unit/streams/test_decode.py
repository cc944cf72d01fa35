"""From raw records to events: schemas fetched once, the registry away, and all that can be wrong with a value."""

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill_schemas.codec import AvroReader, AvroWriter
from eventmill_schemas.errors import (
    EventError,
    MissingEventField,
    RegistryUnreachable,
    SetupError,
    Unavailable,
    Undecodable,
)
from eventmill_schemas.events import RawRecord, Source
from eventmill_schemas.pipeline import Format, ResultSchema, Stage
from eventmill_streams.decode import Decoder

SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "Mail",
        "fields": [{"name": "id", "type": "string"}, {"name": "tenant", "type": ["null", "string"], "default": None}],
    }
)
WRITER = AvroWriter(SCHEMA, 7)


def stage(fmt: Format = Format.AVRO, id_field: str | None = "id", tenant: str | None = None) -> Stage:
    """Build a stage that reads `fmt`."""
    return Stage("s", ("in",), fmt, id_field, tenant, None, (), ResultSchema({}, "r.avsc"))


def record(value: bytes | None, headers: tuple[tuple[str, bytes | None], ...] = ()) -> RawRecord:
    """Build a record."""
    return RawRecord(Source("in", 2, 5), b"k", value, headers, 0)


class Registry:
    """A registry that knows schema 7, after it was away for as often as is told. Satisfies Schemas."""

    def __init__(self, away: int = 0) -> None:
        """Count what is asked."""
        self.away = away
        self.asked: list[int] = []

    async def schema(self, schema_id: int) -> AvroReader:
        """Answer, or be away."""
        self.asked.append(schema_id)
        if self.away:
            self.away -= 1
            raise RegistryUnreachable("no answer")
        if schema_id != 7:
            raise Undecodable(f"the registry has no schema {schema_id}")
        return AvroReader(SCHEMA, schema_id=7)


@dataclass
class Gate:
    """Notes who waits."""

    waits: list[tuple[str, int]] = field(default_factory=list)
    opens: list[str] = field(default_factory=list)

    async def pause(self, seconds: float, reason: str) -> None:
        """Refuse: decoding makes no attempts."""
        raise AssertionError("decoding never pauses")

    async def wait_open(self, unavailable: Unavailable, attempt: int) -> None:
        """Note the try."""
        self.waits.append((unavailable.kind, attempt))

    def opened(self, kind: type[Unavailable]) -> None:
        """Note the opening."""
        self.opens.append(kind.kind)


async def test_a_schema_is_fetched_once() -> None:
    """The first value of a schema waits for it; all others are decoded without waiting."""
    registry, gate = Registry(), Gate()
    decoder = Decoder(stage(), registry)
    value = record(WRITER.encode({"id": "m1", "tenant": "acme"}))
    assert decoder.now(value) is None
    event = await decoder.decode(value, gate)
    assert (event.id, event.tenant, event.fields) == ("m1", None, {"id": "m1", "tenant": "acme"})
    assert event.record is value
    assert decoder.now(value) == event
    assert await decoder.decode(value, gate) == event
    assert registry.asked == [7]
    assert gate == Gate(), "nobody waited, so no door is touched"


async def test_a_registry_that_is_away_is_waited_for_at_the_gate() -> None:
    """Each failure is one more try at the door; the answer opens it, and the event goes on."""
    registry, gate = Registry(away=3), Gate()
    event = await Decoder(stage(), registry).decode(record(WRITER.encode({"id": "m1"})), gate)
    assert event.id == "m1"
    assert gate.waits == [("registry_unreachable", attempt) for attempt in (1, 2, 3)]
    assert gate.opens == ["registry_unreachable"]


async def test_an_unknown_schema_is_an_answer_and_opens_the_door() -> None:
    """The registry is back and does not know the schema: a dead letter, and the door must not stay closed for it."""
    registry, gate = Registry(away=1), Gate()
    framed = AvroWriter(SCHEMA, 8).encode({"id": "m1"})
    with pytest.raises(Undecodable, match="no schema 8"):
        await Decoder(stage(), registry).decode(record(framed), gate)
    assert gate.waits == [("registry_unreachable", 1)]
    assert gate.opens == ["registry_unreachable"]


@given(st.binary(max_size=60))
async def test_any_bytes_are_an_event_or_an_event_error(value: bytes) -> None:
    """Whatever lies in the topic: the failure is the event's own, so that a dead letter can hold it."""
    for fmt in Format:
        try:
            event = await Decoder(stage(fmt), Registry()).decode(record(value), Gate())
        except EventError:
            continue
        assert event.id


@given(st.binary(max_size=60))
async def test_any_payload_of_a_known_schema_is_an_event_or_an_event_error(payload: bytes) -> None:
    """Framed correctly, damaged inside: still a dead letter at worst."""
    try:
        event = await Decoder(stage(), Registry()).decode(record(b"\x00\x00\x00\x00\x07" + payload), Gate())
    except EventError:
        return
    assert isinstance(event.fields["id"], str)


def test_json_needs_no_registry() -> None:
    """A stage that reads JSON decodes at once."""
    registry = Registry()
    event = Decoder(stage(Format.JSON, tenant="tenant"), registry).now(record(b'{"id": 5, "tenant": "acme"}'))
    assert event is not None
    assert (event.id, event.tenant) == ("5", "acme")
    assert registry.asked == []


def test_identity_is_the_header_the_field_or_the_place() -> None:
    """`ce_id` first, then the configured field, else topic, partition and offset."""
    value = b'{"id": "m1"}'
    named, unnamed = Decoder(stage(Format.JSON), Registry()), Decoder(stage(Format.JSON, None), Registry())
    found = [named.now(record(value, (("ce_id", b"c"),))), named.now(record(value)), unnamed.now(record(value))]
    assert [event.id if event else None for event in found] == ["c", "m1", "in/2@5"]


def test_a_missing_id_is_the_events_own_failure() -> None:
    """An event without its id becomes a dead letter that names the field."""
    with pytest.raises(MissingEventField, match="'id'"):
        Decoder(stage(Format.JSON), Registry()).now(record(b"{}"))


async def test_what_no_event_is_to_blame_for_is_no_event_error() -> None:
    """Wrong settings of the registry stop the stage: they must not turn the whole topic into dead letters."""

    class Wrong:
        async def schema(self, schema_id: int) -> AvroReader:
            raise SetupError("the settings of the schema registry are wrong")

    with pytest.raises(SetupError):
        await Decoder(stage(), Wrong()).decode(record(WRITER.encode({"id": "m1"})), Gate())
