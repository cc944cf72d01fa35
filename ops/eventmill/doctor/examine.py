"""All checks, in the order in which a person would mend what they find."""

import asyncio
from collections.abc import Mapping
from importlib.metadata import requires
from pathlib import Path

from eventmill.cluster.look import default_message_bytes, subject_states
from eventmill.cluster.plan import ClusterState, SubjectState, plan, wanted_schemas, wanted_topics
from eventmill.dev.stack import DEFAULT_FOLDER, Stack
from eventmill.doctor import fit, machine
from eventmill.doctor.finding import Finding, Level, failed
from eventmill.doctor.kafka import kafka_settings, retention
from eventmill.doctor.local_stack import local_stack
from eventmill.doctor.models import models, prices
from eventmill.doctor.postgres import postgres
from eventmill.doctor.registry import clock, registry_settings
from eventmill_connectors.kafka.admin import Topics, TopicState
from eventmill_connectors.kafka.cluster import ClusterInfo, describe_cluster
from eventmill_connectors.kafka.settings import command_settings
from eventmill_connectors.registry import SchemaRegistry
from eventmill_schemas.errors import EventmillError
from eventmill_schemas.pipeline import Kafka, Pipeline

_USUAL_CALLS = 200
"""Calls in flight of a stage that does not say how many."""


def on_machine(pipeline: Pipeline | None, stack_folder: Path = DEFAULT_FOLDER) -> list[Finding]:
    """Look at this machine."""
    pinned = machine.pins(requires("eventmill") or ())
    calls = max((stage.in_flight for stage in pipeline.stages), default=0) if pipeline is not None else _USUAL_CALLS
    return [
        machine.python(),
        machine.packages(pinned, machine.installed(pinned)),
        machine.fencing(),
        machine.open_files(calls),
        machine.disk(stack_folder),
    ]


def on_models(pipeline: Pipeline, environ: Mapping[str, str]) -> list[Finding]:
    """Look at keys, addresses and prices."""
    return models(pipeline, environ) + prices(pipeline)


async def on_servers(kafka: Kafka, pipeline: Pipeline | None, stack_folder: Path = DEFAULT_FOLDER) -> list[Finding]:
    """Ask Kafka, the registry, Postgres and the local stack; and whether what they have fits the pipeline."""
    found = await asyncio.to_thread(local_stack, Stack(stack_folder), kafka)
    registry = SchemaRegistry(kafka.registry)
    try:
        of_kafka, of_registry, of_clock, of_postgres = await asyncio.gather(
            _kafka(kafka, pipeline), _registry(kafka, pipeline, registry), clock(kafka.registry), _postgres(pipeline)
        )
    finally:
        await registry.close()
    return [*found, *of_kafka, *of_registry, *of_clock, *of_postgres]


async def _postgres(pipeline: Pipeline | None) -> list[Finding]:
    return [] if pipeline is None else await postgres(pipeline)


async def _kafka(kafka: Kafka, pipeline: Pipeline | None) -> list[Finding]:
    client = command_settings(kafka)
    try:
        info = await asyncio.to_thread(describe_cluster, client)
        found = kafka_settings(info, kafka.bootstrap)
        if pipeline is None:
            return found
        topics = await asyncio.to_thread(Topics(client).describe, wanted_topics(pipeline))
    except EventmillError as error:
        return [failed("kafka", error)]
    return [*found, *_topics(pipeline, info, topics)]


def _topics(pipeline: Pipeline, info: ClusterInfo, topics: Mapping[str, TopicState]) -> list[Finding]:
    # The schemas have findings of their own: here they count as registered.
    subjects = dict.fromkeys(wanted_schemas(pipeline), SubjectState(registered=True))
    state = ClusterState(topics, subjects, default_message_bytes(info))
    inputs = [topics[name] for stage in pipeline.stages for name in stage.inputs if name in topics]
    kept = retention(info, list({state.name: state for state in inputs}.values()))
    return [*fit.topics(plan(pipeline, state), len(wanted_topics(pipeline))), *kept]


async def _registry(kafka: Kafka, pipeline: Pipeline | None, registry: SchemaRegistry) -> list[Finding]:
    wanted = {} if pipeline is None else wanted_schemas(pipeline)
    found = await registry_settings(registry, kafka.registry, list(wanted))
    if pipeline is None or any(finding.level is Level.FAIL for finding in found):
        return found
    try:
        subjects = await subject_states(wanted, registry)
    except EventmillError as error:
        return [*found, failed("schemas", error)]
    return [*found, *fit.schemas(plan(pipeline, ClusterState({}, subjects)), len(wanted))]
