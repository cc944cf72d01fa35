"""One replica of one stage, put together: where models, prices, schemas and Kafka meet the steps."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from eventmill_agents.enrich import Enricher
from eventmill_agents.local_calls import LocalParts
from eventmill_agents.ports import ChatModels, Prices
from eventmill_agents.steps.python import StepFunction
from eventmill_connectors.kafka.admin import Topics
from eventmill_connectors.kafka.settings import command_settings
from eventmill_connectors.registry import SchemaRegistry
from eventmill_schemas.codec import AvroWriter
from eventmill_schemas.pipeline import Pipeline, Stage
from eventmill_schemas.records import cost_event_schema
from eventmill_schemas.result_schema import published, schema_text
from eventmill_schemas.topics import stage_topics, subject
from eventmill_streams.decode import Decoder
from eventmill_streams.local_watch import LocalModelWatch
from eventmill_streams.preflight import Outputs, outputs
from eventmill_streams.processor import StageProcessor
from eventmill_streams.publish import Publisher
from eventmill_streams.slot import identity
from eventmill_streams.window import Limits
from eventmill_streams.worker import Worker, WorkerSettings

WINDOW_FACTOR = 8
"""Events admitted per event in flight, unless the stage says otherwise."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the outside gives a stage: its models, prices, registry and python steps.

    `open_local` loads its local models and opens its stores, counting by what it is given; None: it has none.
    """

    models: ChatModels
    prices: Prices
    registry: SchemaRegistry
    functions: dict[str, StepFunction]
    open_local: Callable[[LocalModelWatch], Awaitable[LocalParts | None]] | None = None


def limits(stage: Stage) -> Limits:
    """Return the budgets of a replica.

    A stage that calls nothing has nothing to buy twice: only its window bounds what is begun and not committed.
    """
    window = stage.window if stage.window is not None else WINDOW_FACTOR * stage.in_flight
    running = stage.in_flight if stage.steps else window
    unsettled = 2 * stage.in_flight if stage.steps else window
    return Limits(running, unsettled, window, stage.window_bytes, keyed=stage.order == "key")


async def run_stage(
    pipeline: Pipeline,
    stage: Stage,
    parts: Parts,
    slot: str | None,
    settings: WorkerSettings,
    started: Callable[[str], None],
) -> None:
    """Run one replica until it is told to stop. `started` is called with its health address.

    Raises UsageError for what the user must mend, and whatever made going on impossible.
    """
    names = stage_topics(pipeline.name, stage.name, stage.topics)
    topics = Topics(command_settings(pipeline.kafka))
    found: Outputs = await asyncio.to_thread(outputs, pipeline, stage, names, topics)
    result_schema = schema_text(published(stage.result.avro, stage.result.file))
    result_id = await parts.registry.registered_id(subject(names.results), result_schema)
    cost_id = await parts.registry.registered_id(subject(names.costs), cost_event_schema())
    publisher = Publisher(
        pipeline.name,
        stage.name,
        stage.format,
        found,
        AvroWriter(result_schema, result_id),
        AvroWriter(cost_event_schema(), cost_id),
    )
    who = identity(pipeline.name, stage.name, slot)
    worker = Worker(
        pipeline.kafka, stage.inputs, who, limits(stage), settings, found.largest_input, found.smallest_limit
    )
    local = None if parts.open_local is None else await parts.open_local(LocalModelWatch(worker.metrics))
    enricher = Enricher(pipeline, stage, parts.models, parts.prices, parts.functions, local=local)
    processor = StageProcessor(Decoder(stage, parts.registry), enricher, publisher, worker.metrics, stage)
    await worker.run(processor, started)
