"""The values of the records that a stage publishes, as fields to be encoded with their schemas."""

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

from eventmill_schemas.cost import CostEvent
from eventmill_schemas.events import Event, Fields
from eventmill_schemas.result_schema import schema_text

CURRENCY = "USD"


@cache
def declared_schema(name: str) -> Mapping[str, Any]:
    """Return one of eventmill's own schemas, `cost_event` or `dead_letter`, as parsed JSON. Not to be changed."""
    text = files("eventmill_schemas").joinpath("avro", f"{name}.avsc").read_text("utf-8")
    avro: Mapping[str, Any] = json.loads(text)
    return avro


@cache
def cost_event_schema() -> str:
    """Return the schema of cost events as it is registered."""
    return schema_text(declared_schema("cost_event"))


def result_value(
    event: Event,
    fields: Fields,
    *,
    model: str | None,
    prompt: str | None,
    cost: Decimal | None,
    processed_at: datetime,
) -> dict[str, Any]:
    """Return a result for the published schema: `fields` (computed and answered) in their envelope.

    `cost` in USD, None where it is not known exactly. The envelope wins over fields of its names. Fields that are not
    given are left out: the encoder gives them their defaults, or says which has none.
    """
    source = event.record.source
    return {
        **fields,
        "event_id": event.id,
        "tenant": event.tenant,
        "source_topic": source.topic,
        "source_partition": source.partition,
        "source_offset": source.offset,
        "processed_at": processed_at,
        "model": model,
        "prompt": prompt,
        "cost": cost,
    }


def cost_value(event: CostEvent) -> dict[str, Any]:
    """Return a cost event for the schema `cost_event_schema()`."""
    usage = event.usage
    return {
        "cost_id": event.cost_id,
        "call_id": event.call_id,
        "event_id": event.event_id,
        "tenant": event.tenant,
        "pipeline": event.pipeline,
        "stage": event.stage,
        "step": event.step,
        "source_topic": event.source.topic,
        "source_partition": event.source.partition,
        "source_offset": event.source.offset,
        "attempt": event.attempt,
        "provider": event.provider,
        "model": event.model,
        "prompt": event.prompt,
        "outcome": event.outcome,
        "input_tokens": None if usage is None else usage.input_tokens,
        "output_tokens": None if usage is None else usage.output_tokens,
        "cache_read_tokens": None if usage is None else usage.cache_read_tokens,
        "cache_write_tokens": None if usage is None else usage.cache_write_tokens,
        "reasoning_tokens": None if usage is None else usage.reasoning_tokens,
        "certainty": event.certainty.value,
        "cost": event.cost,
        "currency": CURRENCY,
        "price_row": event.price_row,
        "started_at": event.started_at,
        "duration_ms": event.duration_ms,
        "device": event.device,
        "compute_seconds": event.compute_seconds,
    }
