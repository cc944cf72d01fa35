"""What commands print: data on stdout, messages on stderr, JSON on request, errors as one line and a remedy."""

import os
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import orjson
import typer

from eventmill_schemas.errors import EventmillError, PipelineFileErrors, UsageError

OK, FAILED, USAGE = 0, 1, 2


def show(text: str) -> None:
    """Print data."""
    typer.echo(text)


def say(text: str) -> None:
    """Print a message to the person at the terminal."""
    typer.echo(text, err=True)


def show_json(value: Any) -> None:
    """Print one JSON document: indented on a terminal, else on one line. Dataclasses, dates and paths are fine."""
    indent = orjson.OPT_INDENT_2 if sys.stdout.isatty() else 0
    typer.echo(orjson.dumps(value, default=_as_json, option=indent).decode())


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under column heads, aligned, numbers to the right, None as "-". No frame, no colour, no cut cells."""
    cells = [[_as_cell(value) for value in row] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(columns, *cells, strict=True)]
    right = [
        bool(rows) and all(isinstance(row[index], int | float | Decimal | None) for row in rows)
        for index in range(len(columns))
    ]
    for line in ([column.upper() for column in columns], *cells):
        aligned = zip(line, widths, right, strict=True)
        typer.echo("  ".join(t.rjust(w) if r else t.ljust(w) for t, w, r in aligned).rstrip())


def show_error(error: EventmillError) -> int:
    """Print an error and what to do about it on stderr. Return the exit code that belongs to it.

    Of several mistakes in files each gets its line.
    """
    head = typer.style("error:", fg="red", bold=True) if is_coloured(sys.stderr) else "error:"
    if isinstance(error, PipelineFileErrors):
        for one in error.errors:
            say(f"{head} {one}")
        return USAGE
    text, remedy = str(error), error.remedy
    if remedy:
        text = text.removesuffix(f". {remedy}")
    say(f"{head} {text}")
    if remedy:
        say(remedy)
    return USAGE if isinstance(error, UsageError) else FAILED


def is_coloured(stream: IO[str]) -> bool:
    """Whether to write colours: on a terminal that has them, unless NO_COLOR is set (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _as_cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.1f}"
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _as_json(value: Any) -> Any:
    if isinstance(value, Decimal):
        # Text and without exponent: nothing that reads it can round it.
        return f"{value:f}"
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
