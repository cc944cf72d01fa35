"""Looking at a cluster: what a pipeline needs of Kafka and of the schema registry, as it is now."""

import asyncio
from collections.abc import Mapping

from eventmill.cluster.plan import ClusterState, SubjectState, wanted_schemas, wanted_topics
from eventmill_connectors.kafka.admin import Topics
from eventmill_connectors.kafka.cluster import ClusterInfo, describe_cluster
from eventmill_connectors.kafka.settings import command_settings
from eventmill_connectors.registry import SchemaRegistry
from eventmill_schemas.errors import SetupError
from eventmill_schemas.pipeline import Pipeline
from eventmill_schemas.topics import BROKER_MAX_MESSAGE_BYTES


async def look(pipeline: Pipeline, registry: SchemaRegistry) -> ClusterState:
    """Return what there is of what the pipeline needs. Changes nothing.

    Raises KafkaUnreachable, RegistryUnreachable, and SetupError for what may not be read.
    """
    client = command_settings(pipeline.kafka)
    info = await asyncio.to_thread(describe_cluster, client)
    topics = await asyncio.to_thread(Topics(client).describe, wanted_topics(pipeline))
    return ClusterState(topics, await subject_states(wanted_schemas(pipeline), registry), default_message_bytes(info))


async def subject_states(wanted: Mapping[str, str], registry: SchemaRegistry) -> dict[str, SubjectState]:
    """Return how each subject stands to the schema that is wanted under it. Raises RegistryUnreachable, SetupError."""
    return {subject: await _subject_state(subject, schema, registry) for subject, schema in wanted.items()}


def default_message_bytes(info: ClusterInfo) -> int:
    """Return the `max.message.bytes` of a topic that is made without it."""
    return info.number("message.max.bytes", BROKER_MAX_MESSAGE_BYTES)


async def _subject_state(subject: str, schema: str, registry: SchemaRegistry) -> SubjectState:
    latest = await registry.latest(subject)
    if latest is None:
        return SubjectState()
    try:
        await registry.registered_id(subject, schema)
    except SetupError:
        return SubjectState(latest.version, registered=False, compatible=await registry.is_compatible(subject, schema))
    return SubjectState(latest.version, registered=True)
