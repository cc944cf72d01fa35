"""`eventmill bench`: what eventmill does per second and what it costs, beside a loop written by hand."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from eventmill.bench.rows import Row
from eventmill.bench.run import FULL, ROWS, SHORT, Bench, BenchReport
from eventmill.cli.lazy import command_app
from eventmill.cli.output import FAILED, say, show, show_table
from eventmill.cli.signals import interrupt_on_termination
from eventmill_schemas.errors import UsageError

app = command_app()

_FOLDER = Path(".eventmill/bench")
_SHORT_ROWS = "n1,n2,n3,n5,n6"


@app.command()
def bench(
    rows: Annotated[
        str | None, typer.Option(metavar="N1,N2,...", help=f"Which rows: {', '.join(ROWS)}.", show_default="all")
    ] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write everything measured as JSON.")] = None,
    short: Annotated[
        bool, typer.Option("--short", help="Small sizes: tells whether it works, not how fast it is. Leaves out n9.")
    ] = False,
) -> None:
    """Measure throughput, latency and cost per event, beside a bare loop of aiokafka and aiohttp on the same events.

    The bare loop does the same work in 80 lines, at least once, without retries, costs and dead letters; it shows what
    the machine and the model stand-in allow. Results are counted by an independent reader. Uses a local stack of its
    own, or the servers of EVENTMILL_KAFKA, EVENTMILL_REGISTRY and EVENTMILL_POSTGRES. Exit 1 if anything was lost or
    doubled; a missed goal is said and is no failure.
    """
    interrupt_on_termination()
    if json is not None:
        json.touch()   # a place that can't be written to is said now, not at the end
    wanted = _rows(rows or (_SHORT_ROWS if short else ",".join(ROWS)))
    report = Bench(Path.cwd(), _FOLDER, wanted, SHORT if short else FULL, say).run()
    if json is not None:
        json.write_bytes(orjson.dumps(_document(report), option=orjson.OPT_INDENT_2) + b"\n")
    _show(report)
    if not report.clean:
        raise typer.Exit(FAILED)


def _rows(text: str) -> list[str]:
    wanted = [name.strip().lower() for name in text.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in ROWS]
    if unknown or not wanted:
        raise UsageError(
            f"--rows {text}: there is no row {unknown[0]!r}" if unknown else "--rows names no row",
            remedy=f"Rows: {', '.join(ROWS)}",
        )
    return wanted


def _show(report: BenchReport) -> None:
    machine = report.machine
    load, after = machine["load"][0], machine["load_after"][0]
    show("")
    show(f"{machine['cores']} cores, {machine['memory_gib']:g} GiB, {machine['system']}, Python {machine['python']}, "
         f"{machine['date']}; load {load} before and {after} after")
    show("")
    show_table(
        ("row", "what", "goal", "measured", "verdict", "command"),
        [(row.row, row.what, row.goal, row.measured, row.verdict, row.command) for row in report.rows],
    )
    if report.counts:
        show("")
        show_table(
            ("run", "events", "settled", "lost", "duplicates", "other problems"),
            [
                (c.run, c.events, c.settled, c.lost, c.duplicates, ", ".join(c.problems) or "none")
                for c in report.counts
            ],
        )
    if not report.clean:
        say("WRONG: not every event came out exactly once")


def _document(report: BenchReport) -> dict[str, Any]:
    return {
        "machine": report.machine,
        "clean": report.clean,
        "rows": [_row(row) for row in report.rows],
        "counts": [asdict(count) for count in report.counts],
    }


def _row(row: Row) -> dict[str, Any]:
    return {**asdict(row), "command": row.command}
