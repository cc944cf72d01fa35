"""Carrying out the changes of a plan, one by one."""

import asyncio
from collections.abc import AsyncIterator, Iterable

from eventmill.cluster.changes import Change, ConfigureTopic, CreateTopic, GrowTopic, RegisterSchema
from eventmill_connectors.kafka.admin import Topics
from eventmill_connectors.registry import SchemaRegistry
from eventmill_schemas.errors import SetupError


async def execute(changes: Iterable[Change], topics: Topics, registry: SchemaRegistry) -> AsyncIterator[Change]:
    """Make the changes in their order; yield each when it is made.

    Each can be repeated: after a failure, what was made stays, and a new plan has the rest. Raises KafkaUnreachable,
    RegistryUnreachable, and SetupError for a change that is refused.
    """
    for change in changes:
        match change:
            case RegisterSchema():
                await _register(change, registry)
            case CreateTopic():
                await asyncio.to_thread(topics.create, [change.spec])
            case GrowTopic():
                await asyncio.to_thread(topics.grow, change.topic, change.partitions)
            case ConfigureTopic():
                await asyncio.to_thread(topics.configure, change.topic, change.settings)
        yield change


async def refusals(refused: Iterable[RegisterSchema], registry: SchemaRegistry) -> list[SetupError]:
    """Return the registry's own reasons against schemas that it finds incompatible.

    A registry gives its reason when it refuses, so it is asked to register them. One that it takes after all, because
    its mind was changed meanwhile, is then registered, which is what was wanted.
    """
    reasons = []
    for change in refused:
        try:
            await registry.register(change.subject, change.schema)
        except SetupError as reason:
            reasons.append(reason)
    return reasons


async def _register(change: RegisterSchema, registry: SchemaRegistry) -> None:
    if change.level is not None:
        # Before the first version: a crash in between leaves a level, which the next run sets again.
        await registry.set_compatibility(change.subject, change.level)
    await registry.register(change.subject, change.schema)
