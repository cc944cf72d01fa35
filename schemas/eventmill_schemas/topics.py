"""Names and settings of the topics of a stage, and the registry's subjects. Values only: `apply` creates them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta

from eventmill_schemas.errors import UsageError

DEFAULT_PARTITIONS = 8
DEAD_LETTER_ROOM = 64 << 10   # bytes that the headers of a dead letter may add to the input record
BROKER_MAX_MESSAGE_BYTES = 1_048_588   # Kafka's default of message.max.bytes

_LEGAL = re.compile(r"[a-zA-Z0-9._-]{1,249}")


@dataclass(frozen=True, slots=True)
class StageTopics:
    """The topics that one stage writes."""

    results: str
    costs: str
    dlq: str
    hold: str
    control: str
    audit: str


KINDS = tuple(part.name for part in fields(StageTopics))


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic as it should be. `config` holds only what differs from the broker's defaults on purpose."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)


def stage_topics(pipeline: str, stage: str, overrides: Mapping[str, str]) -> StageTopics:
    """Return the topics of a stage: `{pipeline}.{stage}.<kind>`, or what `overrides` says for a kind.

    Raises UsageError for an unknown kind, a name that Kafka refuses, or one name for two kinds.
    """
    unknown = sorted(set(overrides) - set(KINDS))
    if unknown:
        raise UsageError(
            f"stage {stage!r}: there is no topic kind {unknown[0]!r}", remedy=f"The kinds are {', '.join(KINDS)}"
        )
    names = {kind: overrides.get(kind, f"{pipeline}.{stage}.{kind}") for kind in KINDS}
    seen: dict[str, str] = {}
    for kind, name in names.items():
        if (problem := topic_problem(name)) is not None:
            raise UsageError(f"stage {stage!r}: the {kind} topic {name!r} {problem}")
        if (other := seen.setdefault(name, kind)) != kind:
            raise UsageError(f"stage {stage!r}: {other} and {kind} have the same topic {name!r}")
    return StageTopics(**names)


def topic_problem(name: str) -> str | None:
    """Say why Kafka would refuse a topic of this name, None where it would not."""
    if name in {"", ".", ".."}:
        return "is not a topic name"
    if len(name) > 249:
        return f"has {len(name)} characters, Kafka takes 249"
    if _LEGAL.fullmatch(name) is None:
        return "has characters other than letters, digits, '.', '_' and '-'"
    return None


def resolve_inputs(inputs: Iterable[str], results: Mapping[str, str]) -> tuple[tuple[str, ...], bool]:
    """Return the full names of a stage's input topics, and whether one of them is written by a stage.

    `results` maps the name of every stage of the pipeline to its results topic: as an input, a stage's name means that
    topic. Any other name is a topic's own; it counts as written by a stage where it is some stage's results topic.
    Repeated inputs are taken once.
    """
    names = tuple(dict.fromkeys(results.get(name, name) for name in inputs))
    return names, not set(results.values()).isdisjoint(names)


def subject(topic: str) -> str:
    """Return the registry's subject for a topic's values (the subject strategy TopicNameStrategy)."""
    return f"{topic}-value"


def topic_specs(
    topics: StageTopics,
    partitions: int,
    *,
    input_max_message_bytes: int = BROKER_MAX_MESSAGE_BYTES,
    kinds: Sequence[str] = ("results", "costs", "dlq"),
) -> tuple[TopicSpec, ...]:
    """Return how the topics of a stage should be.

    `partitions` is that of the stage's input: outputs go to the input record's partition number.
    `input_max_message_bytes` is the largest `max.message.bytes` of its input topics: topics that hold copies of input
    records take so much and the headers or fields added to them.
    """
    copy_limit = str(input_max_message_bytes + DEAD_LETTER_ROOM)
    config = {
        "results": {"cleanup.policy": "delete"},
        "costs": {"cleanup.policy": "delete", "retention.ms": _ms(days=90)},
        "dlq": {"cleanup.policy": "delete", "retention.ms": _ms(days=30), "max.message.bytes": copy_limit},
        "hold": {
            "cleanup.policy": "compact",
            "delete.retention.ms": _ms(days=7),
            "segment.ms": _ms(hours=1),
            "max.message.bytes": copy_limit,
        },
        "control": {"cleanup.policy": "delete", "retention.ms": _ms(days=30), "max.message.bytes": copy_limit},
        "audit": {"cleanup.policy": "delete", "retention.ms": _ms(days=365)},
    }
    return tuple(TopicSpec(getattr(topics, kind), partitions, config[kind]) for kind in kinds)


def _ms(**span: float) -> str:
    return str(timedelta(**span) // timedelta(milliseconds=1))
