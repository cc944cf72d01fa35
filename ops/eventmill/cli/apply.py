"""`eventmill apply`: make Kafka and the schema registry fit a pipeline."""

import asyncio
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from eventmill.cli.lazy import command_app
from eventmill.cli.output import USAGE, say, show, show_error, show_json
from eventmill.cluster.changes import Change
from eventmill.cluster.execute import execute, refusals
from eventmill.cluster.look import look
from eventmill.cluster.plan import Options, Plan, plan
from eventmill.config import load
from eventmill_connectors.kafka.admin import Topics
from eventmill_connectors.kafka.settings import command_settings
from eventmill_connectors.registry import SchemaRegistry
from eventmill_schemas.errors import SetupError, UsageError
from eventmill_schemas.pipeline import Pipeline

app = command_app()


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
    """Create the topics of a pipeline and register its schemas; say what is changed.

    What is there stays: nothing is removed or shrunk, and settings are changed only where workers could not work
    otherwise. A second run has nothing to do. Exit code 2: it can't be done, and nothing was.
    """
    if partitions is not None and not inputs:
        raise UsageError("--partitions is for the input topics that --inputs creates", remedy="Add --inputs")
    pipeline = load(file, os.environ)
    raise typer.Exit(asyncio.run(_apply(pipeline, Options(inputs, partitions), dry_run=dry_run, json=json)))


async def _apply(pipeline: Pipeline, options: Options, *, dry_run: bool, json: bool) -> int:
    registry = SchemaRegistry(pipeline.kafka.registry)
    try:
        found = plan(pipeline, await look(pipeline, registry), options)
        problems = [SetupError(problem.message, remedy=problem.remedy) for problem in found.problems]
        if found.refused:
            problems += _unexplained(found) if dry_run or problems else await refusals(found.refused, registry)
        if problems:
            _show_problems(found, problems, json)
            return USAGE
        if json:
            made = [] if dry_run else [change async for change in execute(found.changes, _topics(pipeline), registry)]
            show_json(_document(found, [], made))
            return 0
        for warning in found.warnings:
            say(f"warning: {warning}")
        if dry_run:
            for change in found.changes:
                show(change.line())
        else:
            async for change in execute(found.changes, _topics(pipeline), registry):
                show(change.line())
        _summary(len(found.changes), dry_run)
        return 0
    finally:
        await registry.close()


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


def _show_problems(found: Plan, problems: list[SetupError], json: bool) -> None:
    if json:
        show_json(_document(found, problems, []))
        return
    for problem in problems:
        show_error(problem)
    say("nothing was changed")


def _summary(count: int, dry_run: bool) -> None:
    changes = "1 change" if count == 1 else f"{count} changes"
    if not count:
        say("nothing to do: topics and schemas fit the pipeline")
    elif dry_run:
        say(f"{changes} to make; nothing was changed")
    else:
        say(f"{changes} made")


def _document(found: Plan, problems: list[SetupError], made: list[Change]) -> dict[str, Any]:
    return {
        "changes": [change.document() for change in found.changes],
        "applied": len(made),
        "warnings": found.warnings,
        "problems": [{"message": problem.message, "remedy": problem.remedy} for problem in problems],
    }
