"""From a pipeline and the cluster as it is to the changes that make the cluster fit. Pure: values in, values out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter

from eventmill.cluster.changes import Change, ConfigureTopic, CreateTopic, GrowTopic, RegisterSchema
from eventmill_connectors.kafka.admin import TopicState
from eventmill_schemas.pipeline import Pipeline, Stage
from eventmill_schemas.records import cost_event_schema
from eventmill_schemas.result_schema import published, schema_text
from eventmill_schemas.topics import (
    BROKER_MAX_MESSAGE_BYTES,
    DEFAULT_PARTITIONS,
    StageTopics,
    TopicSpec,
    stage_topics,
    subject,
    topic_specs,
)

KINDS = ("results", "costs", "dlq")
"""The topics of a stage that are used so far."""

NEW_SUBJECT_LEVEL = "BACKWARD_TRANSITIVE"
"""The compatibility level of subjects that eventmill makes: a reader with the newest schema, such as a warehouse sink,
reads every record that a topic has ever held. A subject that exists keeps its level: somebody chose it."""

_REQUIRED = {"dlq": ("max.message.bytes",)}
"""Settings, by kind of topic, that an existing topic must have at least: without them a worker can't work."""


@dataclass(frozen=True, slots=True)
class SubjectState:
    """A subject as the registry has it, seen from the schema that is wanted.

    `latest` is its newest version, None where there is none; `registered`: the wanted schema is one of its versions;
    `compatible`: the registry would take it.
    """

    latest: int | None = None
    registered: bool = False
    compatible: bool = True


@dataclass(frozen=True, slots=True)
class ClusterState:
    """What there is. `max_message_bytes` is that of a topic that is made without saying so."""

    topics: Mapping[str, TopicState]
    subjects: Mapping[str, SubjectState]
    max_message_bytes: int = BROKER_MAX_MESSAGE_BYTES


@dataclass(frozen=True, slots=True)
class Options:
    """`inputs`: make missing input topics too. `partitions` of those; None: what the stage says, else 8."""

    inputs: bool = False
    partitions: int | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a pipeline can't be applied, and what to do."""

    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, in its order. With `problems` or `refused` schemas nothing should be done at all."""

    changes: tuple[Change, ...] = ()
    warnings: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    refused: tuple[RegisterSchema, ...] = ()

    @property
    def possible(self) -> bool:
        """Whether it can be carried out."""
        return not self.problems and not self.refused


def topics_of(pipeline: Pipeline) -> dict[str, StageTopics]:
    """Return the topics that each stage writes, by the stage's name."""
    return {stage.name: stage_topics(pipeline.name, stage.name, stage.topics) for stage in pipeline.stages}


def wanted_topics(pipeline: Pipeline) -> tuple[str, ...]:
    """Return every topic that the pipeline reads or writes."""
    inputs = [name for stage in pipeline.stages for name in stage.inputs]
    outputs = [getattr(topics, kind) for topics in topics_of(pipeline).values() for kind in KINDS]
    return tuple(dict.fromkeys([*inputs, *outputs]))


def wanted_schemas(pipeline: Pipeline) -> dict[str, str]:
    """Return the schema that must be registered under each subject."""
    found: dict[str, str] = {}
    for stage in pipeline.stages:
        topics = stage_topics(pipeline.name, stage.name, stage.topics)
        found[subject(topics.results)] = schema_text(published(stage.result.avro, stage.result.file))
        found[subject(topics.costs)] = cost_event_schema()
    return found


def plan(pipeline: Pipeline, state: ClusterState, options: Options = Options()) -> Plan:
    """Return what is missing in `state` for `pipeline`. An empty plan means that workers can start.

    Outputs get the partition count of their stage's input, because results go to the input record's partition number;
    nothing is ever removed or shrunk, and settings are changed only where a worker could not work with them.
    """
    topics = _Topics(pipeline, state, options)
    for stage in _upstream_first(pipeline):
        topics.fit(stage)
    schemas = [
        RegisterSchema(name, schema, NEW_SUBJECT_LEVEL if known.latest is None else None, known.latest)
        for name, schema in wanted_schemas(pipeline).items()
        if not (known := state.subjects[name]).registered
    ]
    compatible = [change for change in schemas if state.subjects[change.subject].compatible]
    refused = [change for change in schemas if not state.subjects[change.subject].compatible]
    return Plan((*compatible, *topics.changes()), (*topics.warnings(),), tuple(topics.problems), tuple(refused))


@dataclass(slots=True)
class _Target:
    """An output topic as its stages want it: several stages may share one."""

    spec: TopicSpec
    kinds: set[str] = field(default_factory=set)
    stages: list[str] = field(default_factory=list)
    counts: set[int] = field(default_factory=set)


class _Topics:
    """Fits the topics of one stage after another, those a stage reads before those it writes."""

    def __init__(self, pipeline: Pipeline, state: ClusterState, options: Options) -> None:
        self.problems: list[Problem] = []
        self._bootstrap = pipeline.kafka.bootstrap
        self._state = state
        self._options = options
        self._written = topics_of(pipeline)
        self._outputs = {getattr(names, kind) for names in self._written.values() for kind in KINDS}
        self._readers: dict[str, list[Stage]] = {}
        for stage in pipeline.stages:
            for name in stage.inputs:
                self._readers.setdefault(name, []).append(stage)
        self._inputs: dict[str, TopicSpec] = {}
        self._targets: dict[str, _Target] = {}
        self._said: list[str] = []

    def fit(self, stage: Stage) -> None:
        """Note what the stage's topics need."""
        counts = {name: self._partitions(name) for name in stage.inputs}
        known = [count for count in counts.values() if count is not None]
        if len(known) < len(counts):
            return  # what is missing is told once, for the topic itself
        partitions = max(known)
        if min(known) < partitions:
            self._said.append(
                f"stage {stage.name}: its inputs have different partition counts "
                f"({', '.join(f'{name} {count}' for name, count in counts.items())}): its topics get {partitions}, and "
                "results go to a partition by their key"
            )
        if stage.partitions not in (None, partitions) and not self._inputs.keys() & set(stage.inputs):
            self._said.append(
                f"stage {stage.name}: `partitions: {stage.partitions}` is for topics that are made; "
                f"its input has {partitions}, and so get its topics"
            )
        largest = max(self._max_message_bytes(name) for name in stage.inputs)
        specs = topic_specs(self._written[stage.name], partitions, input_max_message_bytes=largest, kinds=KINDS)
        for kind, spec in zip(KINDS, specs, strict=True):
            target = self._targets.setdefault(spec.name, _Target(spec))
            target.spec = _larger(target.spec, spec)
            target.kinds.add(kind)
            target.stages.append(stage.name)
            target.counts.add(partitions)

    def changes(self) -> list[Change]:
        """Return what has to change, inputs first."""
        found: list[Change] = [
            CreateTopic(spec, f"input of {_names(stage.name for stage in self._readers[name])}")
            for name, spec in self._inputs.items()
        ]
        for name, target in self._targets.items():
            now = self._state.topics.get(name)
            if now is None:
                role = f"{'/'.join(sorted(target.kinds))} of {_names(target.stages)}"
                found.append(CreateTopic(target.spec, role))
                continue
            if now.partitions < target.spec.partitions:
                found.append(GrowTopic(name, target.spec.partitions, now.partitions))
            if short := _too_small(now, target):
                found.append(ConfigureTopic(name, short, {key: now.config[key] for key in short}))
        return found

    def warnings(self) -> list[str]:
        """Say what works, and not as one would expect."""
        said = list(self._said)
        if grown := [change.topic for change in self.changes() if isinstance(change, GrowTopic)]:
            said.append(
                f"more partitions, which can't be undone, for {', '.join(grown)}: a key's next records may go to "
                "another partition than its records so far, and be read before them"
            )
        for name, target in self._targets.items():
            now, wanted = self._state.topics.get(name), target.spec.partitions
            if now is not None and now.partitions > wanted:
                said.append(
                    f"{name} has {now.partitions} partitions, the input of {_names(target.stages)} has {wanted}: "
                    "records go to a partition by their key, not to that of their input record"
                )
            if len(target.counts) > 1:
                said.append(
                    f"{name} is shared by {_names(target.stages)}, whose inputs have different partition counts: "
                    "records go to a partition by their key"
                )
        return said

    def _partitions(self, name: str) -> int | None:
        """Return the partitions that an input will have, None where it is missing."""
        if name in self._outputs:
            if name not in self._targets:
                return None
            now = self._state.topics.get(name)
            return max(self._targets[name].spec.partitions, now.partitions if now is not None else 0)
        if (now := self._state.topics.get(name)) is not None:
            return now.partitions
        if name not in self._inputs and self._options.inputs:
            declared = [stage.partitions or DEFAULT_PARTITIONS for stage in self._readers[name]]
            self._inputs[name] = TopicSpec(name, self._options.partitions or max(declared))
        if name in self._inputs:
            return self._inputs[name].partitions
        self._missing(name)
        return None

    def _missing(self, name: str) -> None:
        readers = _names(stage.name for stage in self._readers[name])
        problem = Problem(
            f"the topic {name}, input of {readers}, is missing in Kafka at {self._bootstrap}",
            "Create it where it belongs, with its producer, or let `eventmill apply --inputs` create it",
        )
        if problem not in self.problems:
            self.problems.append(problem)

    def _max_message_bytes(self, name: str) -> int:
        now, target = self._state.topics.get(name), self._targets.get(name)
        wanted = 0 if target is None else int(target.spec.config.get("max.message.bytes", 0))
        return max(wanted, self._state.max_message_bytes if now is None else now.max_message_bytes)


def _upstream_first(pipeline: Pipeline) -> list[Stage]:
    written = topics_of(pipeline)
    before = {
        stage.name: {
            other for other, names in written.items() if any(getattr(names, kind) in stage.inputs for kind in KINDS)
        }
        for stage in pipeline.stages
    }
    return [pipeline.stage(name) for name in TopologicalSorter(before).static_order()]


def _larger(one: TopicSpec, other: TopicSpec) -> TopicSpec:
    """Return a topic that is enough for both."""
    config = dict(one.config)
    for name, value in other.config.items():
        if name == "max.message.bytes":
            config[name] = str(max(int(value), int(config.get(name, 0))))
    return TopicSpec(one.name, max(one.partitions, other.partitions), config)


def _too_small(now: TopicState, target: _Target) -> dict[str, str]:
    needed = [name for kind in target.kinds for name in _REQUIRED.get(kind, ())]
    return {name: target.spec.config[name] for name in needed if int(now.config[name]) < int(target.spec.config[name])}


def _names(stages: Iterable[str]) -> str:
    names: Sequence[str] = list(dict.fromkeys(stages))
    return f"stage {names[0]}" if len(names) == 1 else f"stages {', '.join(names)}"
