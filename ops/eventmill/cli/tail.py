"""`eventmill tail`: the records of a topic, decoded."""

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from eventmill.cli.connection import KafkaOption, PipelineOption, RegistryOption, find_kafka, find_pipeline
from eventmill.cli.lazy import command_app
from eventmill.cli.output import is_coloured, say, show
from eventmill.reading.show import document, headers_text, json_text, key_text, record_time, time_text, value_text
from eventmill.reading.topics import TopicReader
from eventmill.reading.values import Seen, ValueReader
from eventmill_agents.condition import Expression
from eventmill_agents.scope import EVENT, META, META_FIELDS, scope_of
from eventmill_schemas import ids
from eventmill_schemas.errors import EventError, UsageError
from eventmill_schemas.events import Event, RawRecord
from eventmill_schemas.pipeline import Pipeline
from eventmill_schemas.topics import KINDS, stage_topics

app = command_app()

_LAST = 10


@app.command(no_args_is_help=True)
def tail(  # noqa: PLR0913, PLR0917 - the options of a command
    topic: Annotated[str, typer.Argument(help="A topic, or a stage of the pipeline: then its results.")],
    from_beginning: Annotated[bool, typer.Option("--from-beginning", "-b", help="Show all there is first.")] = False,
    last: Annotated[
        int | None,
        typer.Option("--last", "-n", min=0, help="Show so many of the newest first.", show_default=str(_LAST)),
    ] = None,
    most: Annotated[int | None, typer.Option("--max", min=1, help="End after so many records.")] = None,
    follow: Annotated[bool, typer.Option(help="Wait for new records until Ctrl-C.")] = True,
    key: Annotated[str | None, typer.Option(help="Only records with this key.")] = None,
    condition: Annotated[
        str | None,
        typer.Option("--filter", metavar="EXPRESSION", help="Only events for which it is true: event.category == 'A'."),
    ] = None,
    headers: Annotated[bool, typer.Option("--headers", help="Show headers too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per record, all of it.")] = False,
    pipeline: PipelineOption = None,
    kafka: KafkaOption = None,
    registry: RegistryOption = None,
) -> None:
    """Show the records of a topic, decoded, and wait for more.

    Only committed records are shown; nothing is joined or committed. On a terminal a record is one line: time,
    partition@offset, key, value. The order of records is that of their partition; the newest are chosen by their times.

    STAGE.costs and STAGE.dlq are the other topics of a stage. In a filter `event` is the value, `meta` has key, topic,
    partition, offset and timestamp.
    """
    if from_beginning and last is not None:
        raise UsageError("--from-beginning and --last contradict each other")
    described = find_pipeline(pipeline, kafka)
    connection = find_kafka(described, kafka, registry)
    reader = TopicReader(connection, [named_topic(topic, described)], say)
    chosen = _Choice(key, condition)
    printed = _Printer(json, headers)
    with ValueReader(connection.registry) as values:
        try:
            found = _records(reader, lambda record: chosen.look(values, record), from_beginning, last, follow)
            for count, seen in enumerate(found, start=1):
                printed.show(seen)
                if count == most:
                    break
        finally:
            reader.close()
    for note in chosen.notes():
        say(note)


def named_topic(name: str, pipeline: Pipeline | None) -> str:
    """Return the topic that a name means: of a stage its results, of STAGE.KIND another of its topics."""
    if pipeline is None:
        return name
    stages = {stage.name: stage for stage in pipeline.stages}
    stage, _, kind = name.rpartition(".")
    if name in stages:
        stage, kind = name, "results"
    if stage not in stages or kind not in KINDS:
        return name
    return str(getattr(stage_topics(pipeline.name, stage, stages[stage].topics), kind))


def _records(
    reader: TopicReader, look: Callable[[RawRecord], Seen | None], all_of_it: bool, last: int | None, follow: bool
) -> Iterator[Seen]:
    spans = reader.spans()
    starts = {partition: span.start for partition, span in spans.items()}
    ends = {partition: span.end for partition, span in spans.items()}
    if not all_of_it:
        wanted = _LAST if last is None else last
        yield from reader.last(wanted, spans, look) if wanted else ()
        starts = ends
    records: Iterable[RawRecord] = reader.follow(starts) if follow else reader.read(starts, ends)
    yield from (seen for record in records if (seen := look(record)) is not None)


class _Choice:
    """Which records are shown. What a filter can't judge is not, and is counted."""

    def __init__(self, key: str | None, condition: str | None) -> None:
        self._key = None if key is None else key.encode()
        names = {EVENT: None, META: META_FIELDS}
        self._filter = None if condition is None else Expression(condition, label="--filter", names=names)
        self._failed = 0
        self._first = ""

    def look(self, values: ValueReader, record: RawRecord) -> Seen | None:
        """Return the record decoded, None where it is not to be shown."""
        if self._key is not None and record.key != self._key:
            return None
        seen = values.see(record)
        return seen if self._filter is None or self._is_true(self._filter, seen) else None

    def notes(self) -> Iterator[str]:
        """Say what was left out for another reason than the filter's answer."""
        if self._failed:
            records = "1 record" if self._failed == 1 else f"{self._failed:,} records"
            yield f"{records} could not be judged by the filter and were left out; the first: {self._first}"

    def _is_true(self, condition: Expression, seen: Seen) -> bool:
        try:
            return condition.test(scope_of(_event(seen)))
        except EventError as error:
            self._failed += 1
            self._first = self._first or f"{seen.record.source}: {seen.problem or error.message}"
            return False


def _event(seen: Seen) -> Event:
    record = seen.record
    fields: Any = {} if seen.value is None else seen.value
    try:
        identity = ids.event_id(record, {}, None)
    except EventError:
        identity = str(record.source)
    return Event(identity, None, fields, record)


def _terminal_width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


@dataclass
class _Printer:
    """Prints records: JSON in full, lines cut to the terminal's width."""

    json: bool
    headers: bool
    _width: int | None = field(default_factory=_terminal_width)
    _coloured: bool = field(default_factory=lambda: is_coloured(sys.stdout))

    def show(self, seen: Seen) -> None:
        """Print one record."""
        if self.json:
            show(json_text(document(seen)))
            return
        record = seen.record
        place = f"{record.source.partition}@{record.source.offset}"
        head = f"{time_text(record_time(record)) or '-'}  {place}  {key_text(record.key)}"
        line = value_text(seen)
        if self.headers and record.headers:
            line = f"{line}  {headers_text(record.headers)}"
        if self._width is not None and len(head) + 2 + len(line) > self._width:
            line = line[: max(0, self._width - len(head) - 3)] + "…"
        show(f"{typer.style(head, dim=True) if self._coloured else head}  {line}")
