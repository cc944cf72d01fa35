"""`eventmill lag`: how much of their topics the stages of a pipeline, or other consumer groups, have still to do."""

import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from eventmill.cli.connection import USUAL_FILE, KafkaOption, find_kafka, find_pipeline
from eventmill.cli.lag_view import COLUMNS, ON_SCREEN, document, head, line, rows
from eventmill.cli.lazy import command_app
from eventmill.cli.output import say, show, show_json, show_table
from eventmill.cluster.progress import Progress, ProgressReader, Watched, stage_groups
from eventmill.config import load
from eventmill_schemas.errors import KafkaUnreachable

_EVERY = "2"
"""Seconds between two looks where --watch is given without a number."""


class _WatchCommand(TyperCommand):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Let --watch stand without its number."""
        given: list[str] = []
        for index, word in enumerate(args):
            given.append(word)
            if word == "--watch" and not _is_number(args[index + 1 : index + 2]):
                given.append(_EVERY)
        return super().parse_args(ctx, given)


app = command_app()


@app.command(cls=_WatchCommand)
def lag(
    file: Annotated[
        Path | None, typer.Argument(help="The pipeline file; pipeline.yaml if not given.", show_default=False)
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(
            "--group", "-g", metavar="GROUP", help="Any consumer group of the cluster instead; may be repeated."
        ),
    ] = None,
    kafka: KafkaOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON; with --watch one document per line.")] = False,
    watch: Annotated[
        float | None,
        typer.Option("--watch", metavar="[SECONDS]", min=0.1, help="Look again every SECONDS (2) until Ctrl-C."),
    ] = None,
) -> None:
    """Show how much the stages of a pipeline have still to do, whether workers run or not.

    LAG is the offsets from the committed one to END, as every Kafka tool counts. eventmill finishes events in any
    order: SETTLED of them are done already, BACKLOG is what is left. AGE is that of the next record to do. END is where
    readers of committed records stop; HIGH counts the records of open transactions too.
    """
    pipeline = find_pipeline(file, kafka) if group else load(file or USUAL_FILE, os.environ)
    stages = stage_groups(pipeline) if pipeline is not None else []
    reader = ProgressReader(find_kafka(pipeline, kafka, None))
    try:
        watched = reader.named(group, stages) if group else stages
        if watch is None:
            _show(reader.read(watched), json)
        else:
            _watch(reader, watched, watch, json)
    finally:
        reader.close()


def _show(found: Sequence[Progress], json: bool) -> None:
    if json:
        show_json(document(found, _now()))
        return
    for index, progress in enumerate(found):
        if index:
            show("")
        show(head(progress))
        show_table(COLUMNS, rows(progress))
    for progress in found:
        for note in progress.notes():
            say(f"note: {note}")


def _watch(reader: ProgressReader, watched: Sequence[Watched], seconds: float, json: bool) -> None:
    """Look again and again. A broker that is away for a while is told, and does not end the watch."""
    found = reader.read(watched)
    if json or not sys.stdout.isatty():
        while True:
            if json:
                show_json(document(found, _now()))
            else:
                for progress in found:
                    show(line(progress, _now()))
            sys.stdout.flush()
            found = _next(reader, watched, seconds)
    from rich.live import Live  # noqa: PLC0415 - not needed where nobody looks

    with Live(_screen(found), auto_refresh=False) as live:
        while True:
            live.update(_screen(found), refresh=True)
            found = _next(reader, watched, seconds)


def _next(reader: ProgressReader, watched: Sequence[Watched], seconds: float) -> list[Progress]:
    while True:
        time.sleep(seconds)
        try:
            return reader.read(watched)
        except KafkaUnreachable as error:
            say(f"{error.message}; trying again")


def _screen(found: Sequence[Progress]) -> Any:
    from rich.console import Group  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    parts: list[Any] = [Text(f"{_now():%H:%M:%S}  Ctrl-C ends")]
    for progress in found:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ON_SCREEN:
            words = column in ("topic", "age", "owner")
            table.add_column(column.upper(), justify="left" if words else "right", overflow="fold")
        for row in rows(progress):
            cells = dict(zip(COLUMNS, row, strict=True))
            table.add_row(*(Text("-" if cells[column] is None else str(cells[column])) for column in ON_SCREEN))
        parts += [Text(""), Text(head(progress), style="bold"), table]
        parts += [Text(f"note: {note}", style="yellow") for note in progress.notes()]
    return Group(*parts)


def _now() -> datetime:
    return datetime.now(UTC).astimezone()


def _is_number(words: Sequence[str]) -> bool:
    with suppress(ValueError, IndexError):
        float(words[0])
        return True
    return False
