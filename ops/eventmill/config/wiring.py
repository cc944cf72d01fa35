"""Which topics the stages read and write, and how they hang together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from eventmill.config.model import PipelineFile, StageSection
from eventmill.config.reading import Reading
from eventmill_schemas.errors import UsageError
from eventmill_schemas.topics import KINDS, StageTopics, resolve_inputs, stage_topics, topic_problem

EVENT_ID = "event_id"   # fields of every result record: what identifies the event for the next stage
TENANT = "tenant"

_SHAREABLE = frozenset({"costs", "dlq"})   # every stage writes the same kind of record there


@dataclass(frozen=True, slots=True)
class Wires:
    """What one stage reads. `upstream`: some of it is written by a stage of this pipeline."""

    inputs: tuple[str, ...]
    upstream: bool
    id_field: str | None
    tenant_field: str | None


def wire(model: PipelineFile, declared: Iterable[str], reading: Reading) -> dict[str, Wires]:
    """Return what each stage of `model` reads.

    `declared` names all stages of the file, also those that `model` lacks because they are wrong. Notes as wrong:
    topics that Kafka refuses or that two stages would mix, stages that feed each other, inputs that don't go together.
    """
    topics: dict[str, StageTopics] = {}
    for name, stage in model.stages.items():
        overrides = {kind: topic for kind, topic in stage.topics.model_dump().items() if topic is not None}
        try:
            topics[name] = stage_topics(model.pipeline, name, overrides)
        except UsageError as error:
            reading.wrong_key(("stages", name, "topics"), error.message, error.remedy)
    _check_outputs(topics, reading)
    results = {name: f"{model.pipeline}.{name}.results" for name in declared}
    results |= {name: written.results for name, written in topics.items()}
    owners = {topic: name for name, topic in results.items()}
    owners |= {getattr(written, kind): name for name, written in topics.items() for kind in KINDS}
    wires = {name: _wires(name, stage, results, owners, reading) for name, stage in model.stages.items()}
    _check_cycles(wires, owners, reading)
    return wires


def _wires(
    name: str, stage: StageSection, results: Mapping[str, str], owners: Mapping[str, str], reading: Reading
) -> Wires:
    at = ("stages", name)
    inputs, _ = resolve_inputs(stage.input, results)
    chained = [topic in results.values() for topic in inputs]
    id_field, tenant_field = stage.event.id, stage.event.tenant
    given = stage.event.model_fields_set
    if all(chained):
        id_field = id_field if "id" in given else EVENT_ID
        tenant_field = tenant_field if "tenant" in given else TENANT
    elif any(chained) and "id" not in given:
        reading.wrong(
            (*at, "input"),
            "the input mixes a stage's results with a topic from outside: say which field holds the event's id",
            "Add `event: {id: ...}` (`id: null`: topic, partition and offset are the id)",
        )
    if any(chained) and stage.format == "json":
        reading.wrong((*at, "format"), "the results of a stage are Avro, they can't be read as `json`")
    for topic in inputs:
        if (problem := topic_problem(topic)) is not None:
            reading.wrong((*at, "input"), f"the topic `{topic}` {problem}")
    return Wires(inputs, any(topic in owners for topic in inputs), id_field, tenant_field)


def _check_outputs(topics: Mapping[str, StageTopics], reading: Reading) -> None:
    """Note topics that two stages would write different records to, and pairs that Kafka can't tell apart."""
    remedy = "Give one of them another name under `topics`"
    seen: dict[str, tuple[str, str, str]] = {}
    outputs = ((stage, kind, getattr(written, kind)) for stage, written in topics.items() for kind in KINDS)
    for stage, kind, topic in outputs:
        other, other_kind, other_topic = seen.setdefault(topic.replace(".", "_"), (stage, kind, topic))
        at = ("stages", stage, "topics", kind)
        if other_topic != topic:
            reading.wrong(at, f"Kafka refuses `{topic}` beside `{other_topic}`: its metrics write `.` as `_`", remedy)
        elif other != stage and not (other_kind == kind and kind in _SHAREABLE):
            both = f"the {kind} of stage `{stage}` and the {other_kind} of stage `{other}`"
            reading.wrong(at, f"{both} have one topic, `{topic}`", remedy)


def _check_cycles(wires: Mapping[str, Wires], owners: Mapping[str, str], reading: Reading) -> None:
    """Note each way on which an event could come back to its stage."""
    sources = {name: {owners[topic] for topic in wire.inputs if topic in owners} for name, wire in wires.items()}
    while True:
        try:
            TopologicalSorter(sources).prepare()
            return
        except CycleError as error:
            cycle: list[str] = error.args[1]   # each is a source of the next; the last is the first again
            reading.wrong(("stages", cycle[-1], "input"), f"events would go round for ever: {' -> '.join(cycle)}")
            sources[cycle[-1]].discard(cycle[-2])
