"""`eventmill cost`: what a pipeline has spent."""

import csv
import os
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from eventmill.cli.connection import USUAL_FILE, KafkaOption, RegistryOption, find_kafka
from eventmill.cli.lazy import LazyGroup, command_app
from eventmill.cli.output import FAILED, say, show, show_json, show_table
from eventmill.config import load
from eventmill.reading.costs import DIMENSIONS, CostReport, Period, Spent, read_costs
from eventmill.reading.show import printable
from eventmill_schemas.errors import UsageError

app = command_app(help="Sum up what a pipeline has spent.", group=LazyGroup)

_ALL = "in all"
_AGO = re.compile(r"(\d{1,6})([dhm])")
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


@app.callback()
def _group() -> None:
    # With it, one command is still a group.
    pass


@app.command()
def report(
    file: Annotated[
        Path | None, typer.Argument(help="The pipeline file; pipeline.yaml if not given.", show_default=False)
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT[,WHAT]", help=f"{', '.join(DIMENSIONS)}; may be repeated.", show_default="stage,model"
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="From then on: 2026-11-01, an ISO time, or 7d, 24h, 30m ago.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before then.")] = None,
    kafka: KafkaOption = None,
    registry: RegistryOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Sum up the cost events of a pipeline's stages, to the last digit, up to now.

    COST is the exact sum of the attempts whose amount is known. UNCERTAIN attempts were sent and perhaps billed,
    UNPRICED ones have no known price: they are counted, and no amount stands for them. Exit code 1: some records of
    the costs topics could not be read, so they are in no sum.
    """
    if json and as_csv:
        raise UsageError("--json and --csv contradict each other")
    now = datetime.now(UTC)
    period = Period(_time("--since", since, now), _time("--until", until, now))
    wanted = [name.strip() for names in by or ["stage,model"] for name in names.split(",")]
    pipeline = load(file or USUAL_FILE, os.environ)
    found = read_costs(pipeline, find_kafka(pipeline, kafka, registry), wanted, period)
    if json:
        show_json(_document(found, pipeline.name, period))
    elif as_csv:
        _show_csv(found)
    else:
        _show_table(found)
    if found.unread:
        records = "1 record is" if found.unread == 1 else f"{found.unread:,} records are"
        say(f"{records} not in these sums, because of what is in the topic; the first: {printable(found.problem)}")
        raise typer.Exit(FAILED)


def _time(option: str, text: str | None, now: datetime) -> datetime | None:
    if text is None:
        return None
    if (ago := _AGO.fullmatch(text)) is not None:
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text}: this is no time", remedy="2026-11-01, 2026-11-01T12:00Z or 7d") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _show_table(found: CostReport) -> None:
    if not found.rows:
        show("no cost events")
        return
    with_seconds = any(spent.compute_seconds is not None for spent in found.totals.values())
    rows = [(*map(_cell, key), *_figures(spent, currency, with_seconds)) for key, currency, spent in found.ranked()]
    for currency, spent in sorted(found.totals.items()):
        head = (_ALL, *[None] * (len(found.by) - 1))
        rows.append((*head, *_figures(spent, currency, with_seconds)))
    columns = [*found.by, "attempts", "cost", "currency", "uncertain", "unpriced", "input_tokens", "output_tokens"]
    show_table([*columns, "compute_seconds"] if with_seconds else columns, rows)
    for note in _notes(found):
        say(f"note: {note}")


def _cell(value: str | None) -> str | None:
    return None if value is None else printable(value)


def _figures(spent: Spent, currency: str, with_seconds: bool) -> tuple[Any, ...]:
    figures = (spent.attempts, spent.cost, currency, spent.uncertain, spent.unpriced)
    tokens = (spent.input_tokens, spent.output_tokens)
    return (*figures, *tokens, spent.compute_seconds) if with_seconds else (*figures, *tokens)


def _notes(found: CostReport) -> Iterator[str]:
    uncertain = sum(spent.uncertain for spent in found.totals.values())
    unpriced = sum(spent.unpriced for spent in found.totals.values())
    if uncertain:
        yield f"{uncertain:,} uncertain attempts may have been billed: the provider's bill can be higher than COST"
    if unpriced:
        yield f"{unpriced:,} attempts have no known price and are not in COST: `prices` in the pipeline names it"


def _show_csv(found: CostReport) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*found.by, *_NAMES])
    for key, currency, spent in found.ranked():
        figures = _figure_values(spent, currency)
        cells = [*key, *(f"{value:f}" if name in _AMOUNTS and value is not None else value for name, value in figures)]
        writer.writerow(["" if cell is None else cell for cell in cells])


def _document(found: CostReport, pipeline: str, period: Period) -> dict[str, Any]:
    return {
        "pipeline": pipeline,
        "since": period.since,
        "until": period.until,
        "by": found.by,
        "rows": [
            {**dict(zip(found.by, key, strict=True)), **dict(_figure_values(spent, currency))}
            for key, currency, spent in found.ranked()
        ],
        "totals": [dict(_figure_values(spent, currency)) for currency, spent in sorted(found.totals.items())],
        "unread": found.unread,
    }


_NAMES = (
    *("attempts", "cost", "currency", "uncertain", "unpriced"),
    *("input_tokens", "output_tokens", "compute_seconds"),
)
_AMOUNTS = frozenset({"cost", "compute_seconds"})


def _figure_values(spent: Spent, currency: str) -> list[tuple[str, Any]]:
    return list(zip(_NAMES, _figures(spent, currency, with_seconds=True), strict=True))
