"""Reading what the stages of a pipeline wrote: committed records only, as typed values, in their order."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from eventmill.client.blocking import BlockingRegistry
from eventmill.client.group import group_records
from eventmill.client.records import CostRecord, Result, cost_record, result
from eventmill.config import load
from eventmill.reading.topics import TopicReader
from eventmill_schemas import codec
from eventmill_schemas.errors import Undecodable, UsageError
from eventmill_schemas.events import RawRecord
from eventmill_schemas.pipeline import Kafka
from eventmill_schemas.topics import stage_topics

T = TypeVar("T")

_YAML = frozenset({".yaml", ".yml"})


@dataclass(frozen=True, slots=True)
class Where:
    """Where to read, and how. See `results`."""

    bootstrap: str | None = None
    registry: str | None = None
    topic: str | None = None
    client: Mapping[str, str] = field(default_factory=dict, repr=False)
    group: str | None = None
    follow: bool = False
    from_beginning: bool = True


class Records(Generic[T]):
    """An iterator over the records of one topic; use it as a context manager, or read it to its end.

    Raises, while it is read: Undecodable for a record that is none of the stage's, and going on passes over it;
    RegistryUnreachable, and going on tries that record again; KafkaUnreachable, SetupError.
    """

    def __init__(self, raw: Iterator[RawRecord], registry: str, made: Callable[[Any, RawRecord], T]) -> None:
        self._raw = raw
        self._registry = BlockingRegistry(registry)
        self._made = made
        self._waiting: RawRecord | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        """Return the next record."""
        record = self._next() if self._waiting is None else self._waiting
        self._waiting = record
        try:
            fields = self._fields(record)
        except Undecodable as error:
            self._waiting = None
            raise Undecodable(f"{record.source}: {error.message}") from None
        self._waiting = None
        return self._made(fields, record)

    def close(self) -> None:
        """Leave the group, if any, and let go of the connections. What was read and asked behind is committed."""
        close = getattr(self._raw, "close", None)
        if close is not None:
            close()
        self._registry.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _next(self) -> RawRecord:
        try:
            return next(self._raw)
        except StopIteration:
            self._registry.close()
            raise

    def _fields(self, record: RawRecord) -> dict[str, Any]:
        if record.value is None:
            raise Undecodable("it has no value (a tombstone)")
        schema_id, payload = codec.frame(record.value)
        return self._registry.reader(schema_id).decode(payload)


def results(  # noqa: PLR0913 - each is a thing that a reader may want to say by its name
    pipeline: str | Path,
    stage: str,
    *,
    bootstrap: str | None = None,
    registry: str | None = None,
    topic: str | None = None,
    group: str | None = None,
    follow: bool = False,
    from_beginning: bool = True,
    client: Mapping[str, str] | None = None,
) -> Records[Result]:
    """Read the committed results of a stage, in the order of each partition.

    `pipeline` is a pipeline file (.yaml), which says addresses and topics, or a pipeline's name; then `bootstrap` and
    `registry` are needed, and `topic` where it is not `<pipeline>.<stage>.results`.

    Without `follow` it ends where the topic ends when it begins; with it, it waits for more. Without `group` it reads
    all partitions and commits nothing. With a `group` several readers share the partitions and go on where the group
    stopped; a record is done when the next one is asked for, so that one may come twice after a crash, and none is
    lost: `event_id` tells. `from_beginning` False: only what is new (of a group that has no place yet). `client` holds
    further librdkafka settings.

    Raises UsageError for a stage that there is not or an address that is missing; PipelineFileErrors.
    """
    where = Where(bootstrap, registry, topic, client or {}, group, follow, from_beginning)
    return _read(pipeline, stage, "results", where, result)


def costs(  # noqa: PLR0913 - as above
    pipeline: str | Path,
    stage: str,
    *,
    bootstrap: str | None = None,
    registry: str | None = None,
    topic: str | None = None,
    group: str | None = None,
    follow: bool = False,
    from_beginning: bool = True,
    client: Mapping[str, str] | None = None,
) -> Records[CostRecord]:
    """Read the committed cost events of a stage. As `results`; the topic is `<pipeline>.<stage>.costs`."""
    where = Where(bootstrap, registry, topic, client or {}, group, follow, from_beginning)
    return _read(pipeline, stage, "costs", where, cost_record)


def _read(
    pipeline: str | Path, stage: str, kind: str, where: Where, made: Callable[[Any, RawRecord], T]
) -> Records[T]:
    kafka, topic = _found(pipeline, stage, kind, where)
    if where.group is not None:
        raw = group_records(kafka, topic, where.group, follow=where.follow, from_beginning=where.from_beginning)
    else:
        raw = _all_partitions(kafka, topic, follow=where.follow, from_beginning=where.from_beginning)
    return Records(raw, kafka.registry, made)


def _found(pipeline: str | Path, stage: str, kind: str, where: Where) -> tuple[Kafka, str]:
    """Return where to connect, and the topic."""
    if Path(pipeline).suffix.lower() in _YAML:
        described = load(pipeline, os.environ)
        stages = {one.name: one for one in described.stages}
        if stage not in stages:
            raise UsageError(f"{pipeline} has no stage {stage!r}", remedy=f"Its stages: {', '.join(stages)}")
        known, names = described.kafka, stage_topics(described.name, stage, stages[stage].topics)
    elif where.bootstrap is None or where.registry is None:
        raise UsageError(
            f"where the pipeline {str(pipeline)!r} writes is not known",
            remedy="Give its file (.yaml), or its name with `bootstrap` and `registry`",
        )
    else:
        known, names = Kafka(where.bootstrap, where.registry), stage_topics(str(pipeline), stage, {})
    kafka = replace(
        known,
        bootstrap=where.bootstrap or known.bootstrap,
        registry=where.registry or known.registry,
        client={**known.client, **where.client},
    )
    return kafka, where.topic or str(getattr(names, kind))


def _all_partitions(kafka: Kafka, topic: str, *, follow: bool, from_beginning: bool) -> Iterator[RawRecord]:
    reader = TopicReader(kafka, [topic])
    try:
        spans = reader.spans()
        starts = {partition: span.start if from_beginning else span.end for partition, span in spans.items()}
        if follow:
            yield from reader.follow(starts)
        else:
            yield from reader.read(starts, {partition: span.end for partition, span in spans.items()})
    finally:
        reader.close()
