"""What a stage wrote, as typed values: results and cost events, each with its place in its topic."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from eventmill_schemas.chat import Usage
from eventmill_schemas.cost import Certainty, CostEvent
from eventmill_schemas.errors import Undecodable
from eventmill_schemas.events import RawRecord, Source
from eventmill_schemas.result_schema import ENVELOPE


@dataclass(frozen=True, slots=True)
class Result:
    """One result. `fields` are those of the stage's result schema; `result["category"]` is one of them.

    `cost` is in USD and exact, None where it is not known exactly. `source` is the input record, `at` the result's own
    place, `key` the bytes of the input record's key.
    """

    event_id: str
    tenant: str | None
    fields: Mapping[str, Any]
    processed_at: datetime
    model: str | None
    prompt: str | None
    cost: Decimal | None
    source: Source
    key: bytes | None
    at: Source

    def __getitem__(self, name: str) -> Any:
        """Return a field of the result schema. Raises KeyError."""
        return self.fields[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRecord(CostEvent):
    """One cost event, with its own place `at` in its topic and the `currency` of its amount."""

    currency: str
    key: bytes | None
    at: Source


def result(fields: Mapping[str, Any], record: RawRecord) -> Result:
    """Return a decoded record of a results topic. Raises Undecodable for one that is no result."""
    try:
        return Result(
            event_id=fields["event_id"],
            tenant=fields["tenant"],
            fields={name: value for name, value in fields.items() if name not in ENVELOPE},
            processed_at=fields["processed_at"],
            model=fields["model"],
            prompt=fields["prompt"],
            cost=fields["cost"],
            source=_source(fields),
            key=record.key,
            at=record.source,
        )
    except KeyError as error:
        raise Undecodable(f"{record.source} is no result of a stage: it has no {error.args[0]}") from None


def cost_record(fields: Mapping[str, Any], record: RawRecord) -> CostRecord:
    """Return a decoded record of a costs topic. Raises Undecodable for one that is no cost event."""
    try:
        return CostRecord(
            **{name: fields[name] for name in _SAME},
            source=_source(fields),
            usage=_usage(fields),
            certainty=Certainty(fields["certainty"]),
            device=fields.get("device"),   # events of earlier versions have none
            compute_seconds=fields.get("compute_seconds"),
            key=record.key,
            at=record.source,
        )
    except KeyError as error:
        raise Undecodable(f"{record.source} is no cost event: it has no {error.args[0]}") from None
    except ValueError:
        raise Undecodable(f"{record.source} is no cost event: its certainty is unknown") from None


_SAME = (
    *("cost_id", "call_id", "event_id", "tenant", "pipeline", "stage", "step", "attempt", "provider", "model"),
    *("prompt", "outcome", "cost", "price_row", "started_at", "duration_ms", "currency"),
)


def _source(fields: Mapping[str, Any]) -> Source:
    return Source(fields["source_topic"], fields["source_partition"], fields["source_offset"])


def _usage(fields: Mapping[str, Any]) -> Usage | None:
    if fields["input_tokens"] is None or fields["output_tokens"] is None:
        return None
    return Usage(
        fields["input_tokens"],
        fields["output_tokens"],
        cache_read_tokens=fields["cache_read_tokens"] or 0,
        reasoning_tokens=fields["reasoning_tokens"] or 0,
        cache_write_tokens=fields["cache_write_tokens"] or 0,
    )
