"""Dead letters of a pipeline's stages: counted, listed, found again by where they are or by their event's id."""

import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from eventmill.reading.show import record_time
from eventmill.reading.topics import TopicReader
from eventmill_schemas.dead_letter import PREFIX, DeadLetterReport, from_headers
from eventmill_schemas.errors import UsageError
from eventmill_schemas.events import RawRecord, Source
from eventmill_schemas.pipeline import Kafka, Pipeline
from eventmill_schemas.topics import stage_topics

UNKNOWN = "unknown"
"""The kind of a dead letter that does not say what failed: somebody else wrote it."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record of a dead letter topic. `report` None: its headers say nothing."""

    stage: str
    record: RawRecord
    report: DeadLetterReport | None

    @property
    def where(self) -> str:
        """What names it: stage/partition@offset, the place in the stage's dead letter topic."""
        return f"{self.stage}/{self.record.source.partition}@{self.record.source.offset}"

    @property
    def kind(self) -> str:
        """What failed."""
        return self.report.kind if self.report is not None and self.report.kind else UNKNOWN

    @property
    def source(self) -> Source | None:
        """Where the input record is."""
        return None if self.report is None else Source(self.report.topic, self.report.partition, self.report.offset)

    @property
    def failed_at(self) -> datetime | None:
        """When it failed for good, else when the dead letter was written; None where neither is told."""
        if self.report is not None and self.report.failed_at is not None:
            return self.report.failed_at
        return record_time(self.record)

    @property
    def headers(self) -> list[tuple[str, bytes | None]]:
        """The headers of the input record."""
        return [header for header in self.record.headers if not header[0].startswith(PREFIX)]


@dataclass(slots=True)
class Count:
    """How many of one kind a stage has, and when the newest failed."""

    stage: str
    kind: str
    count: int = 0
    newest: datetime | None = None

    def add(self, failed_at: datetime | None) -> None:
        """Count one more."""
        self.count += 1
        if failed_at is not None and (self.newest is None or failed_at > self.newest):
            self.newest = failed_at


@dataclass(slots=True)
class Overview:
    """What there is: counts by stage and kind, the most frequent first; the newest dead letters, the newest first."""

    counts: list[Count] = field(default_factory=list)
    newest: list[DeadLetter] = field(default_factory=list)


@dataclass(slots=True)
class Found:
    """The newest dead letter of an event, and where the others are."""

    letter: DeadLetter
    others: list[str] = field(default_factory=list)


class DeadLetters:
    """The dead letter topics of a pipeline, or of one stage. Blocks; raises SetupError, KafkaUnreachable.

    Raises UsageError for a stage that there is not.
    """

    def __init__(self, pipeline: Pipeline, kafka: Kafka, stage: str | None = None) -> None:
        names = [described.name for described in pipeline.stages]
        if stage is not None and stage not in names:
            raise UsageError(f"the pipeline has no stage {stage!r}", remedy=f"Its stages: {', '.join(names)}")
        self._stages: Mapping[str, str] = {
            stage_topics(pipeline.name, described.name, described.topics).dlq: described.name
            for described in pipeline.stages
            if stage in (None, described.name)
        }
        self._reader = TopicReader(kafka, list(self._stages))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def overview(self, kind: str | None, newest: int) -> Overview:
        """Count all dead letters, of one kind if it is given, and return the newest."""
        counts: dict[tuple[str, str], Count] = {}
        heap: list[tuple[float, int, DeadLetter]] = []
        for number, letter in enumerate(self._all()):
            if kind is not None and letter.kind != kind:
                continue
            count = counts.setdefault((letter.stage, letter.kind), Count(letter.stage, letter.kind))
            count.add(letter.failed_at)
            when = letter.failed_at.timestamp() if letter.failed_at is not None else 0.0
            _keep_largest(heap, (when, number, letter), newest)
        ranked = sorted(counts.values(), key=lambda c: (-c.count, c.stage, c.kind))
        return Overview(ranked, [letter for _, _, letter in sorted(heap, reverse=True)])

    def find(self, reference: str) -> Found:
        """Return the dead letter that `reference` names.

        That is stage/partition@offset, the id of an event, or topic/partition@offset of an input record. Raises
        UsageError where there is none.
        """
        place = _place(reference)
        topics = {stage: topic for topic, stage in self._stages.items()}
        if place is not None and place.topic in topics:
            return Found(self._at(Source(topics[place.topic], place.partition, place.offset), reference))

        def is_meant(letter: DeadLetter) -> bool:
            return letter.source == place or (letter.report is not None and letter.report.event_id == reference)

        return self._newest(is_meant, reference)

    def _at(self, place: Source, reference: str) -> DeadLetter:
        partition = (place.topic, place.partition)
        span = self._reader.spans().get(partition)
        if span is not None and span.start <= place.offset < span.end:
            for record in self._reader.read({partition: place.offset}, {partition: place.offset + 1}):
                return self._letter(record)
        raise _not_found(reference)

    def _newest(self, is_meant: Callable[[DeadLetter], bool], reference: str) -> Found:
        found: Found | None = None
        for letter in self._all():
            if not is_meant(letter):
                continue
            if found is None:
                found = Found(letter)
            elif letter.record.timestamp_ms >= found.letter.record.timestamp_ms:
                found = Found(letter, [*found.others, found.letter.where])
            else:
                found.others.append(letter.where)
        if found is None:
            raise _not_found(reference)
        return found

    def _all(self) -> Iterator[DeadLetter]:
        spans = self._reader.spans()
        starts = {partition: span.start for partition, span in spans.items()}
        ends = {partition: span.end for partition, span in spans.items()}
        return map(self._letter, self._reader.read(starts, ends))

    def _letter(self, record: RawRecord) -> DeadLetter:
        return DeadLetter(self._stages[record.source.topic], record, from_headers(record.headers))


def _keep_largest(heap: list[tuple[float, int, DeadLetter]], item: tuple[float, int, DeadLetter], size: int) -> None:
    if len(heap) < size:
        heapq.heappush(heap, item)
    elif size:
        heapq.heappushpop(heap, item)


def _place(reference: str) -> Source | None:
    """Return name/partition@offset as a place, None where it is none."""
    name, slash, numbers = reference.rpartition("/")
    partition, at, offset = numbers.partition("@")
    if not (slash and at and partition.isdecimal() and offset.isdecimal()):
        return None
    return Source(name, int(partition), int(offset))


def _not_found(reference: str) -> UsageError:
    return UsageError(
        f"there is no dead letter {reference}",
        remedy="`eventmill dlq list` shows the newest; each is named by its place or by the event's id",
    )
