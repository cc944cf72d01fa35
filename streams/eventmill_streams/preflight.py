"""What a worker must find before it may start: topics, their partitions and sizes, registered schemas."""

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from eventmill_connectors.kafka.admin import Topics, TopicState
from eventmill_schemas.errors import SetupError
from eventmill_schemas.pipeline import Pipeline, Stage
from eventmill_schemas.topics import StageTopics

BATCH_OVERHEAD = 512
"""Bytes that Kafka's record batch and a record's own framing add to key, value and headers, at most."""


DEAD_LETTER_LEAST = 4 << 10
"""Bytes that a dead letter may add to its input record, at least: the headers that are never shortened."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OutputTopic:
    """A topic as the worker writes it. `aligned`: records go to the input record's partition number."""

    name: str
    aligned: bool
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Outputs:
    """The topics of a stage as they really are, and the largest record of its inputs."""

    results: OutputTopic
    costs: OutputTopic
    dlq: OutputTopic
    largest_input: int

    @property
    def smallest_limit(self) -> int:
        """The bytes that every output topic takes in one batch."""
        return min(self.results.max_bytes, self.costs.max_bytes, self.dlq.max_bytes)


def outputs(pipeline: Pipeline, stage: Stage, names: StageTopics, topics: Topics) -> Outputs:
    """Look at the stage's topics; log what works, and not as one would expect.

    Raises SetupError for what is missing or can't work, KafkaUnreachable.
    """
    wanted = [*stage.inputs, names.results, names.costs, names.dlq]
    found = topics.describe(wanted)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise SetupError(
            f"stage {stage.name!r}: {_listed(missing)} missing in Kafka at {pipeline.kafka.bootstrap}",
            remedy="Create what eventmill owns with `eventmill apply`; input topics belong to their producers "
            "(`eventmill apply --inputs` creates them too)",
        )
    inputs = {name: found[name] for name in stage.inputs}
    largest = max(state.max_message_bytes for state in inputs.values())
    dlq = found[names.dlq]
    if dlq.max_message_bytes < largest + DEAD_LETTER_LEAST:
        raise SetupError(
            f"stage {stage.name!r}: the dead letter topic {dlq.name} takes {dlq.max_message_bytes} bytes, "
            f"an input record may have {largest}, and a dead letter adds its headers",
            remedy="`eventmill apply` raises its max.message.bytes",
        )
    return Outputs(
        _output(found[names.results], inputs), _output(found[names.costs], inputs), _output(dlq, inputs), largest
    )


def _output(state: TopicState, inputs: Mapping[str, TopicState]) -> OutputTopic:
    aligned = all(source.partitions == state.partitions for source in inputs.values())
    if not aligned:
        counts = ", ".join(f"{source.name} has {source.partitions}" for source in inputs.values())
        _log.warning(
            "records go to a partition by their key, not to that of their input record",
            reason=f"{state.name} has {state.partitions} partitions, {counts}",
        )
    return OutputTopic(state.name, aligned, state.max_message_bytes - BATCH_OVERHEAD)


def _listed(names: list[str]) -> str:
    if len(names) == 1:
        return f"the topic {names[0]} is"
    return f"the topics {', '.join(names)} are"
