"""The values that a stage publishes fit their schemas, and come back as what they were."""

import dataclasses
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avro_strategies import LONGS, decimals
from eventmill_schemas.chat import Usage
from eventmill_schemas.codec import AvroReader, AvroWriter, frame
from eventmill_schemas.cost import Certainty, CostEvent
from eventmill_schemas.errors import UnstorableResult
from eventmill_schemas.events import Event, RawRecord, Source
from eventmill_schemas.records import cost_event_schema, cost_value, declared_schema, result_value
from eventmill_schemas.result_schema import published, schema_text
from eventmill_schemas.warehouse import warehouse_warnings

TOKENS = [part.name for part in dataclasses.fields(Usage)]
AT = datetime(2026, 11, 21, 10, 0, 0, 123000, tzinfo=UTC)
SOURCE = Source("mails", 3, 42)
EVENT = Event("e-1", "acme", {"subject": "hi"}, RawRecord(SOURCE, b"k", b"v", (), -1))
USER = {
    "type": "record",
    "name": "Triage",
    "fields": [
        {"name": "subject", "type": "string", "from": "event.subject"},
        {"name": "urgent", "type": "boolean"},
        {"name": "note", "type": ["null", "string"]},
    ],
}

costs = st.builds(
    CostEvent,
    cost_id=st.just("c1"),
    call_id=st.just("k1"),
    event_id=st.just("e-1"),
    tenant=st.sampled_from([None, "acme"]),
    pipeline=st.just("mail"),
    stage=st.just("triage"),
    step=st.just("complete"),
    source=st.just(SOURCE),
    attempt=st.integers(1, 9),
    provider=st.just("openai"),
    model=st.just("m"),
    prompt=st.sampled_from([None, "triage@3"]),
    outcome=st.sampled_from(["ok", "rate_limited"]),
    usage=st.none() | st.builds(Usage, **dict.fromkeys(TOKENS, st.integers(0, 10**9))),
    certainty=st.sampled_from(Certainty),
    cost=st.none() | decimals(38, 12),
    price_row=st.sampled_from([None, "r"]),
    started_at=st.just(AT),
    duration_ms=LONGS,
)


@given(costs)
def test_a_cost_event_is_published_to_the_last_digit(event: CostEvent) -> None:
    """Every field of the value reaches the reader, tokens flat, money exact."""
    value = AvroWriter(cost_event_schema(), 1).encode(cost_value(event))
    fields = AvroReader(cost_event_schema()).decode(frame(value)[1])
    expected = dataclasses.asdict(event) | {"currency": "USD"}
    source, usage = expected.pop("source"), expected.pop("usage")
    expected |= {f"source_{name}": part for name, part in zip(Source._fields, source, strict=True)}
    expected |= usage or dict.fromkeys(TOKENS)
    assert fields == expected


def test_every_field_of_a_cost_event_is_declared_and_filled() -> None:
    """Schema and value have the same names: none is left to a default by oversight."""
    declared = {field["name"] for field in declared_schema("cost_event")["fields"]}
    event = CostEvent(
        *("x",) * 7, SOURCE, 1, "p", "m", None, "ok", None, Certainty.UNCERTAIN, None, None, AT, 5   # type: ignore[arg-type]  # text for all ids
    )
    assert set(cost_value(event)) == declared
    assert [symbol.value for symbol in Certainty] == next(
        field["type"]["symbols"] for field in declared_schema("cost_event")["fields"] if field["name"] == "certainty"
    )


@pytest.mark.parametrize("name", ["cost_event", "dead_letter"])
def test_our_own_schemas_are_flat_and_storable(name: str) -> None:
    """No warehouse sink has trouble with what eventmill itself declares."""
    assert warehouse_warnings(declared_schema(name)) == []
    AvroWriter(schema_text(declared_schema(name)), 1)


def test_registered_text_is_the_same_every_time() -> None:
    """Registering twice is no new version."""
    assert cost_event_schema() == schema_text(json.loads(cost_event_schema()))


@given(st.none() | decimals(38, 12))
def test_a_result_is_published_in_its_envelope(cost: Decimal | None) -> None:
    """Answer and envelope reach the reader; the money is exact and a nullable field may be left out."""
    text = schema_text(published(USER, "t.avsc"))
    value = result_value(
        EVENT,
        {"subject": "hi\x00", "urgent": True},
        model="m",
        prompt="triage@3",
        cost=cost,
        processed_at=AT,
    )
    assert AvroReader(text).decode(frame(AvroWriter(text, 9).encode(value))[1]) == {
        "event_id": "e-1",
        "subject": "hi",
        "urgent": True,
        "note": None,
        "tenant": "acme",
        "source_topic": "mails",
        "source_partition": 3,
        "source_offset": 42,
        "processed_at": AT,
        "model": "m",
        "prompt": "triage@3",
        "cost": cost,
    }


def test_steps_can_not_forge_the_envelope() -> None:
    """A step that answers with a field of the envelope's name does not change whose result it is."""
    fields = {"event_id": "other", "source_offset": 0, "urgent": True}
    value = result_value(EVENT, fields, model=None, prompt=None, cost=None, processed_at=AT)
    assert (value["event_id"], value["source_offset"]) == ("e-1", 42)


def test_a_field_that_no_step_filled_is_named() -> None:
    """The dead letter says which field is missing."""
    writer = AvroWriter(schema_text(published(USER, "t.avsc")), 1)
    value = result_value(EVENT, {"subject": "hi"}, model=None, prompt=None, cost=None, processed_at=AT)
    with pytest.raises(UnstorableResult, match="'urgent' has no value"):
        writer.encode(value)
