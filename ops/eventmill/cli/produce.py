"""`eventmill produce`: a file of JSON lines, CSV, Avro or mails as events of a topic."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from eventmill.cli.connection import KafkaOption, PipelineOption, RegistryOption, find_kafka, find_pipeline
from eventmill.cli.lazy import command_app
from eventmill.cli.output import say, show, show_json
from eventmill.produce import FileFormat, Options, ProduceReport, Progress, Skipped, Source, file_source, produce
from eventmill.produce.columns import parse_mapping
from eventmill_schemas.errors import UsageError
from eventmill_schemas.pipeline import Format
from eventmill_schemas.topics import DEFAULT_PARTITIONS

app = command_app()

_SHOWN_SKIPPED = 20
_PLAIN_EVERY = 5.0
"""Seconds between two lines of progress where nobody looks at a terminal."""


class OnError(StrEnum):
    """What a line that is no event does."""

    STOP = "stop"
    SKIP = "skip"


@app.command("produce", no_args_is_help=True)
def produce_file(  # noqa: PLR0913, PLR0917 - the options of a command
    topic: Annotated[str, typer.Argument(help="The topic to produce to.")],
    file: Annotated[str, typer.Option("--from", metavar="FILE", help="The file; - is standard input.")],
    file_format: Annotated[
        FileFormat | None, typer.Option("--format", help="Else told by the file's name; jsonl on standard input.")
    ] = None,
    schema: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.avsc", help="Registered for the topic; else the registry's latest, else an Avro file's own."
        ),
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="FIELD", help="Becomes the record key: order is per key.")] = None,
    id_field: Annotated[
        str | None, typer.Option("--id", metavar="FIELD", help="Says which event it is; must not be empty.")
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FIELD=COLUMN", help="Fill a field from a column; #line is the line's number."),
    ] = None,
    events: Annotated[
        int | None, typer.Option(min=1, help="So many in all; the file is repeated with new ids (-r2, -r3, ...).")
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="The whole file so many times, with new ids.")] = 1,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Events per second.")] = None,
    on_error: Annotated[OnError, typer.Option(help="What a line that is no event does.")] = OnError.STOP,
    skip_lines: Annotated[
        int, typer.Option("--skip-lines", "--skip", min=0, help="Begin after this line (record, mail) of the file.")
    ] = 0,
    drop_unknown: Annotated[
        bool, typer.Option("--drop-unknown", help="Leave out columns that the schema has no field for.")
    ] = False,
    encoding: Annotated[str, typer.Option(help="Of the file's text.")] = "utf-8",
    delimiter: Annotated[
        str | None, typer.Option(help="Between columns of CSV.", show_default="a comma; in .tsv a tab")
    ] = None,
    value_format: Annotated[Format, typer.Option(help="How values are written.")] = Format.AVRO,
    ce_headers: Annotated[
        bool, typer.Option("--ce-headers", help="Add CloudEvents headers: ce_id, ce_source, ce_type.")
    ] = False,
    create_topic: Annotated[bool, typer.Option("--create-topic", help="Create the topic where it is missing.")] = False,
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Of a created topic.", show_default=str(DEFAULT_PARTITIONS))
    ] = None,
    pipeline: PipelineOption = None,
    kafka: KafkaOption = None,
    registry: RegistryOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Produce a file of JSON lines, CSV, Avro records or mails (mbox) to a topic, and wait until all is acknowledged.

    Values become what the Avro schema says: ISO times timestamps, numbers in CSV numbers, empty values null. A line
    that is no event stops it: what was produced before is said, and how to go on.
    """
    if partitions is not None and not create_topic:
        raise UsageError("--partitions is for a topic that is created", remedy="Add `--create-topic`")
    rows = file_source(
        file,
        file_format,
        mapping=parse_mapping(mapping or []),
        encoding=encoding,
        delimiter=delimiter,
        skip_lines=skip_lines,
        drop_unknown=drop_unknown,
    )
    options = Options(
        value_format=value_format,
        schema=schema,
        key=key,
        id=id_field,
        ce_headers=ce_headers,
        events=events,
        repeat=repeat,
        rate=rate,
        create_partitions=(partitions or DEFAULT_PARTITIONS) if create_topic else None,
        skip_bad=on_error == OnError.SKIP,
    )
    connection = find_kafka(find_pipeline(pipeline, kafka), kafka, registry)
    telling = _Telling(topic, rows, options.repeats)
    try:
        with telling.shown():
            report = produce(
                connection, topic, rows, options, on_progress=telling.progress, on_skipped=telling.skipped
            )
    except KeyboardInterrupt:
        say(telling.interrupted())
        raise
    if telling.unshown:
        say(f"... and {telling.unshown:,} more were skipped")
    if json:
        show_json(report)
    else:
        show(_summary(report))
        for note in _notes(report, key, rows.unit):
            say(note)


def _summary(report: ProduceReport) -> str:
    if not report.events:
        return f"no events in the file: nothing was produced to {report.topic}"
    values = "as JSON" if report.schema_id is None else f"with schema {report.schema_id}"
    return (
        f"{report.events:,} event{'s' if report.events > 1 else ''} produced to {report.topic} {values}, "
        f"all acknowledged: {_size(report.bytes)} in {report.seconds:.1f} s, {report.per_second:,.0f}/s"
    )


def _notes(report: ProduceReport, key: str | None, unit: str) -> Iterator[str]:
    if report.created_partitions is not None:
        count = report.created_partitions
        yield f"the topic was created with {count} partition{'s' if count > 1 else ''}"
    if report.skipped:
        yield f"{report.skipped:,} {unit}{'s were' if report.skipped > 1 else ' was'} skipped"
    if report.without_key and key is None:
        yield "the records have no key, so there is no order between them; `--key FIELD` gives them one"
    elif report.without_key:
        yield f"{report.without_key:,} records have no key, because {key} is null: there is no order between them"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count:,} bytes"


@dataclass
class _Telling:
    """Shows how it goes on stderr: a bar on a terminal, else a line now and then."""

    topic: str
    source: Source
    repeats: bool
    unshown: int = 0
    _last: Progress | None = None
    _next_line: float = _PLAIN_EVERY
    _shown: int = 0
    _was_cut_off: bool = False
    _draw: Callable[[Progress], None] | None = None
    _print: Callable[[str], None] = field(default=say)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show progress during the block."""
        if not sys.stderr.isatty():
            yield
            return
        from rich.console import Console  # noqa: PLC0415 - not needed where nobody looks
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
        from rich.progress import Progress as Bars  # noqa: PLC0415

        columns = (BarColumn(), TextColumn("{task.fields[text]}"), TimeRemainingColumn())
        with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
            bar = bars.add_task("", total=None, text="", visible=False)

            def draw(now: Progress) -> None:
                text = f"{now.acknowledged:,} events  {_speed(now)}"
                bars.update(bar, total=1.0 if now.fraction is not None else None, completed=now.fraction or 0.0)
                bars.update(bar, text=text, visible=True)

            self._draw = draw
            self._print = lambda text: bars.console.print(text, markup=False, highlight=False, soft_wrap=True)
            try:
                yield
            finally:
                self._draw, self._print = None, say

    def progress(self, now: Progress) -> None:
        """Take in how far it is."""
        self._last = now
        if now.is_cut_off and not self._was_cut_off:
            self._print("no Kafka broker answers; waiting")
        self._was_cut_off = now.is_cut_off
        if self._draw is not None:
            self._draw(now)
        elif now.seconds >= self._next_line and not sys.stderr.isatty():
            self._next_line = now.seconds + _PLAIN_EVERY
            self._print(f"{now.acknowledged:,} events acknowledged  {_speed(now)}")

    def skipped(self, lines: Skipped) -> None:
        """Take in what was passed over."""
        if self._shown < _SHOWN_SKIPPED:
            self._shown += 1
            self._print(f"skipped: {lines}")
        else:
            self.unshown += 1

    def interrupted(self) -> str:
        """Say how far it went and how to go on."""
        last = self._last
        if last is None:
            return f"interrupted: nothing was produced to {self.topic}"
        done = f"interrupted: {last.acknowledged:,} events of {self.source.name} are in {self.topic}"
        skip = f"{self.source.skip_option} {last.line}"
        again = "the same command gives the same ids" if self.repeats else f"go on with `{skip}`"
        return f"{done}; {again}"


def _speed(now: Progress) -> str:
    return f"{now.acknowledged / now.seconds:,.0f}/s" if now.seconds >= 0.5 else ""
