"""`eventmill apply`: make Kafka, the schema registry and Postgres fit a pipeline."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from eventmill.cli.lazy import command_app
from eventmill.cli.output import USAGE, say, show, show_error, show_json
from eventmill.cluster.execute import execute, refusals
from eventmill.cluster.look import look
from eventmill.cluster.plan import Options, Plan, plan
from eventmill.config import load
from eventmill_connectors.kafka.admin import Topics
from eventmill_connectors.kafka.settings import command_settings
from eventmill_connectors.registry import SchemaRegistry
from eventmill_schemas.errors import SetupError, UsageError
from eventmill_schemas.pipeline import Pipeline

if TYPE_CHECKING:
    from eventmill.vectors import StoreSetup
    from eventmill_connectors.postgres.setup import DatabasePlan

app = command_app()


class _Change(Protocol):
    """What was or is to be changed, in Kafka, the registry or Postgres."""

    def line(self) -> str:
        """Say it."""

    def document(self) -> dict[str, Any]:
        """Return it as data."""


@app.command()
def apply(
    file: Annotated[Path, typer.Argument(help="The pipeline file.")] = Path("pipeline.yaml"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be changed, and change nothing.")] = False,
    inputs: Annotated[bool, typer.Option("--inputs", help="Create missing input topics as well.")] = False,
    partitions: Annotated[
        int | None,
        typer.Option(min=1, help="Partitions of the input topics that --inputs creates; else the stage's, else 8."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Create the topics of a pipeline, register its schemas, make room for its vectors; say what is changed.

    What is there stays: nothing is removed or shrunk, and settings are changed only where workers could not work
    otherwise. A second run has nothing to do. Exit code 2: it can't be done, and nothing was.
    """
    if partitions is not None and not inputs:
        raise UsageError("--partitions is for the input topics that --inputs creates", remedy="Add --inputs")
    pipeline = load(file, os.environ)
    raise typer.Exit(asyncio.run(_apply(pipeline, Options(inputs, partitions), dry_run=dry_run, json=json)))


async def _apply(pipeline: Pipeline, options: Options, *, dry_run: bool, json: bool) -> int:
    registry = SchemaRegistry(pipeline.kafka.registry)
    stores = _stores(pipeline)
    try:
        found = plan(pipeline, await look(pipeline, registry), options)
        of_stores = await stores.plan() if stores is not None else None
        problems = [SetupError(problem.message, remedy=problem.remedy) for problem in found.problems]
        changes: list[_Change] = [*found.changes]
        warnings = [*found.warnings]
        if of_stores is not None:
            problems += of_stores.problems
            changes += of_stores.changes
            warnings += of_stores.warnings
        if found.refused:
            problems += _unexplained(found) if dry_run or problems else await refusals(found.refused, registry)
        if problems:
            _show_problems(changes, warnings, problems, json)
            return USAGE
        made = _each(changes) if dry_run else _carry_out(pipeline, found, registry, stores, of_stores)
        if json:
            done = len([change async for change in made])
            show_json(_document(changes, warnings, [], 0 if dry_run else done))
            return 0
        for warning in warnings:
            say(f"warning: {warning}")
        async for change in made:
            show(change.line())
        _summary(len(changes), dry_run)
        return 0
    finally:
        await registry.close()
        if stores is not None:
            await stores.close()


async def _each(changes: Sequence[_Change]) -> AsyncIterator[_Change]:
    for change in changes:
        yield change


async def _carry_out(
    pipeline: Pipeline,
    found: Plan,
    registry: SchemaRegistry,
    stores: "StoreSetup | None",
    of_stores: "DatabasePlan | None",
) -> AsyncIterator[_Change]:
    async for change in execute(found.changes, _topics(pipeline), registry):
        yield change
    if stores is not None and of_stores is not None:
        async for step in stores.execute(of_stores):
            yield step


def _stores(pipeline: Pipeline) -> "StoreSetup | None":
    if not pipeline.stores:
        return None
    from eventmill.vectors import StoreSetup  # noqa: PLC0415 - brings the driver and numpy

    return StoreSetup(pipeline)


def _topics(pipeline: Pipeline) -> Topics:
    return Topics(command_settings(pipeline.kafka))


def _unexplained(found: Plan) -> list[SetupError]:
    """Return why schemas are refused, as far as it can be told without asking the registry to take them."""
    return [
        SetupError(
            f"the schema of {change.subject} is not compatible with version {change.after}",
            remedy="Keep the fields that readers know and give new ones a default, or write to another topic; "
            "`eventmill apply` without --dry-run shows the registry's reason, and changes nothing either",
        )
        for change in found.refused
    ]


def _show_problems(
    changes: Sequence[_Change], warnings: Sequence[str], problems: Sequence[SetupError], json: bool
) -> None:
    if json:
        show_json(_document(changes, warnings, problems, 0))
        return
    for problem in problems:
        show_error(problem)
    say("nothing was changed")


def _summary(count: int, dry_run: bool) -> None:
    changes = "1 change" if count == 1 else f"{count} changes"
    if not count:
        say("nothing to do: everything fits the pipeline")
    elif dry_run:
        say(f"{changes} to make; nothing was changed")
    else:
        say(f"{changes} made")


def _document(
    changes: Sequence[_Change], warnings: Sequence[str], problems: Sequence[SetupError], applied: int
) -> dict[str, Any]:
    return {
        "changes": [change.document() for change in changes],
        "applied": applied,
        "warnings": warnings,
        "problems": [{"message": problem.message, "remedy": problem.remedy} for problem in problems],
    }
