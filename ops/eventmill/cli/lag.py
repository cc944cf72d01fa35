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
from eventmill.cli.lazy import command_app
from eventmill.cli.output import say, show, show_json, show_table
from eventmill.cluster.progress import Progress, ProgressReader, Watched, stage_groups
from eventmill.config import load
from eventmill_schemas.errors import KafkaUnreachable
from eventmill_streams.lag import Speed, Total

_EVERY = "2"
"""Seconds between two looks where --watch is given without a number."""

_COLUMNS = ("topic", "partition", "committed", "end", "high", "lag", "settled", "backlog", "age", "owner")
_ON_SCREEN = ("topic", "partition", "lag", "settled", "backlog", "age", "owner")  # as much as 80 characters take


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
        show_json(_document(found))
        return
    for index, progress in enumerate(found):
        if index:
            show("")
        show(_head(progress))
        show_table(_COLUMNS, _rows(progress))
    for progress in found:
        for note in progress.notes():
            say(f"note: {note}")


def _watch(reader: ProgressReader, watched: Sequence[Watched], seconds: float, json: bool) -> None:
    """Look again and again. A broker that is away for a while is told, and does not end the watch."""
    found = reader.read(watched)
    if json or not sys.stdout.isatty():
        while True:
            if json:
                show_json(_document(found))
            else:
                for progress in found:
                    show(_line(progress))
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
        for column in _ON_SCREEN:
            words = column in ("topic", "age", "owner")
            table.add_column(column.upper(), justify="left" if words else "right", overflow="fold")
        for row in _rows(progress):
            cells = dict(zip(_COLUMNS, row, strict=True))
            table.add_row(*(Text("-" if cells[column] is None else str(cells[column])) for column in _ON_SCREEN))
        parts += [Text(""), Text(_head(progress), style="bold"), table]
        parts += [Text(f"note: {note}", style="yellow") for note in progress.notes()]
    return Group(*parts)


def _head(progress: Progress) -> str:
    watched, state, pace = progress.watched, progress.state, progress.speed
    members = len(state.members)
    words = [
        f"{watched.group}:",
        "never ran" if not state.exists else state.state.replace("_", " "),
        f"({members} member{'' if members == 1 else 's'})",
    ]
    if pace is not None:
        words.append(f"  {_pace(pace)}")
    return " ".join(words)


def _rows(progress: Progress) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    totals = progress.lag.by_topic()
    for topic, total in totals.items():
        for p in progress.lag.partitions:
            if p.topic == topic:
                numbers = (p.committed, p.end, p.high_watermark, p.lag, p.settled, p.backlog)
                rows.append((p.topic, p.partition, *numbers, _age(p.seconds), progress.owner(p)))
        rows.append(_total_row(f"{topic} in all" if len(totals) > 1 else "in all", total))
    if len(totals) > 1:
        rows.append(_total_row("in all", progress.lag.total))
    return rows


def _total_row(name: str, total: Total) -> tuple[Any, ...]:
    return (name, None, None, None, None, total.lag, total.settled, total.backlog, _age(total.seconds), None)


def _line(progress: Progress) -> str:
    total = progress.lag.total
    parts = [
        f"{_now():%H:%M:%S}",
        progress.watched.group,
        progress.state.state if progress.state.exists else "never_ran",
        f"members={len(progress.state.members)}",
        f"lag={total.lag}",
        f"backlog={total.backlog}",
        f"age={_age(total.seconds) or 'unknown'}",
    ]
    if total.unknown:
        parts.append(f"unknown_partitions={total.unknown}")
    if progress.speed is not None:
        parts.append(_pace(progress.speed))
    return "  ".join(parts)


def _pace(pace: Speed) -> str:
    text = f"settled {pace.settled:.1f}/s, arriving {pace.arrived:.1f}/s"
    if pace.drained_in is None:
        return f"{text}, not catching up"
    return f"{text}, done in {_age(pace.drained_in)}" if pace.drained_in else text


def _age(seconds: float | None) -> str | None:
    """Return a span of time in the two largest units that it has."""
    if seconds is None:
        return None
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds else "0 s"
    whole = round(seconds)
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "m"), (whole % 60, "s")]
    first = next(index for index, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2])


def _document(found: Sequence[Progress]) -> dict[str, Any]:
    return {"time": _now(), "groups": [_group(progress) for progress in found]}


def _group(progress: Progress) -> dict[str, Any]:
    return {
        "group": progress.watched.group,
        "stage": progress.watched.stage,
        "state": progress.state.state,
        "members": progress.state.members,
        "total": progress.lag.total,
        "topics": progress.lag.by_topic(),
        "partitions": progress.lag.partitions,
        "speed": progress.speed,
        "notes": progress.notes(),
    }


def _now() -> datetime:
    return datetime.now(UTC).astimezone()


def _is_number(words: Sequence[str]) -> bool:
    with suppress(ValueError, IndexError):
        float(words[0])
        return True
    return False
