"""Decoded records as typed values, and where they are looked for."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import eventmill
from eventmill.client.reading import results
from eventmill.client.records import cost_record, result
from eventmill_schemas.chat import Usage
from eventmill_schemas.cost import Certainty, CostEvent
from eventmill_schemas.errors import Undecodable, UsageError
from eventmill_schemas.events import Event, RawRecord, Source
from eventmill_schemas.records import cost_value, result_value

AT = Source("p.triage.results", 2, 40)
INPUT = Source("mails", 2, 7)
RECORD = RawRecord(AT, b"ada", b"", (), 0)
NOW = datetime(2026, 11, 21, 15, tzinfo=UTC)


def test_a_result_has_its_fields_its_envelope_and_its_place() -> None:
    """What the pipeline put in comes out, under the same names."""
    event = Event("m1", "acme", {}, RawRecord(INPUT, b"ada", b"", (), 0))
    value = result_value(
        event, {"category": "BUG"}, model="small", prompt="t@1", cost=Decimal("0.1"), processed_at=NOW
    )
    found = result(value, RECORD)
    assert (found.event_id, found.tenant, found["category"], dict(found.fields)) == (
        *("m1", "acme", "BUG"),
        {"category": "BUG"},
    )
    assert (found.model, found.prompt, found.cost, found.processed_at) == ("small", "t@1", Decimal("0.1"), NOW)
    assert (found.source, found.at, found.key) == (INPUT, AT, b"ada")


@pytest.mark.parametrize("usage", [None, Usage(5, 7, 1, 2, 3)])
def test_a_cost_record_is_the_cost_event_with_its_place(usage: Usage | None) -> None:
    """Every part of it."""
    words: dict[str, Any] = dict.fromkeys(("cost_id", "call_id", "event_id", "pipeline", "stage", "step"), "x")
    event = CostEvent(
        **words,
        tenant=None,
        source=INPUT,
        attempt=2,
        provider="openai",
        model="small",
        prompt=None,
        outcome="ok",
        usage=usage,
        certainty=Certainty.UNCERTAIN,
        cost=None,
        price_row=None,
        started_at=NOW,
        duration_ms=12,
    )
    found = cost_record(cost_value(event), RECORD)
    assert {name: getattr(found, name) for name in CostEvent.__slots__} == {
        name: getattr(event, name) for name in CostEvent.__slots__
    }
    assert (found.currency, found.at, found.key) == ("USD", AT, b"ada")


def test_a_record_of_somebody_else_is_told() -> None:
    """With its place, and what it lacks."""
    with pytest.raises(Undecodable, match=r"p.triage.results/2@40 is no result of a stage: it has no tenant"):
        result({"event_id": "m1"}, RECORD)
    with pytest.raises(Undecodable, match="is no cost event: it has no cost_id"):
        cost_record({"event_id": "m1"}, RECORD)


PIPELINE = """
pipeline: p
kafka: {bootstrap: "127.0.0.1:1", registry: "http://127.0.0.1:1"}
stages:
  copy: {input: notes, event: {id: id}, result: copy.avsc, steps: []}
"""
COPY = '{"type": "record", "name": "Copy", "fields": [{"name": "a", "type": "string", "from": "event.a"}]}'


def test_what_is_not_known_is_asked_for(tmp_path: Path) -> None:
    """A stage that there is not; a name without addresses."""
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    (tmp_path / "copy.avsc").write_text(COPY)
    with pytest.raises(UsageError, match="no stage 'nix'") as caught:
        results(tmp_path / "pipeline.yaml", "nix")
    assert caught.value.remedy == "Its stages: copy"
    with pytest.raises(UsageError, match="where the pipeline 'p' writes is not known"):
        results("p", "copy", bootstrap="127.0.0.1:1")


def test_the_package_gives_the_client() -> None:
    """By the names that the documentation uses, and no others."""
    for name in eventmill.__all__:
        assert getattr(eventmill, name).__module__.startswith("eventmill.client")
    with pytest.raises(AttributeError, match="no attribute 'Consumer'"):
        _ = eventmill.Consumer  # type: ignore[attr-defined]  # that is what is tested
