"""`eventmill schema`: what a change of a pipeline's schemas means to those who read its topics."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from eventmill.cli.connection import USUAL_FILE, RegistryOption
from eventmill.cli.lazy import LazyGroup, command_app
from eventmill.cli.output import FAILED, say, show, show_json, show_table
from eventmill.cluster.plan import NEW_SUBJECT_LEVEL, wanted_schemas
from eventmill.cluster.schema_check import Known, Verdict, judge, look_up
from eventmill.config import load
from eventmill.produce.schema import read_schema
from eventmill_connectors.registry import Registered, SchemaRegistry
from eventmill_schemas.errors import UsageError
from eventmill_schemas.result_schema import schema_text
from eventmill_schemas.topics import subject

app = command_app(help="Check schemas against those that readers know.", group=LazyGroup)


@app.callback()
def _group() -> None:
    # With it, one command is still a group.
    pass


@app.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(help="The pipeline file; pipeline.yaml if not given.", show_default=False)
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="TOPIC=FILE.avsc", help="Check the schema of an input too; may be repeated."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Ask no registry: compare with the pipeline file of this name in another folder."
        ),
    ] = None,
    registry: RegistryOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say whether the schemas of a pipeline's results may follow those that are registered. Changes nothing.

    Made for CI: exit code 0 where all may, 1 where one may not, with the fields that say no. With --against nothing is
    asked over the network: the other folder holds the pipeline as it was, such as another checkout.
    """
    if against is not None and (registry is not None or inputs):
        raise UsageError("--against asks no registry", remedy="Leave it out, or `--registry` and `--input`")
    path = file or USUAL_FILE
    pipeline = load(path, os.environ)
    wanted = {**wanted_schemas(pipeline), **_inputs(inputs or [])}
    if against is None:
        verdicts = asyncio.run(_by_registry(wanted, registry or pipeline.kafka.registry))
    else:
        before = wanted_schemas(load(against / path.name, os.environ))
        verdicts = [judge(name, text, _as_it_was(before.get(name))) for name, text in wanted.items()]
    if json:
        show_json({"ok": all(one.ok for one in verdicts), "subjects": [_document(one) for one in verdicts]})
    else:
        _show(verdicts)
    if not all(one.ok for one in verdicts):
        raise typer.Exit(FAILED)


def _inputs(options: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for option in options:
        topic, equals, file = option.partition("=")
        if not (topic and equals and file):
            raise UsageError(f"--input {option}: this is not TOPIC=FILE.avsc")
        found[subject(topic)] = schema_text(read_schema(Path(file)))
    return found


async def _by_registry(wanted: Mapping[str, str], url: str) -> list[Verdict]:
    registry = SchemaRegistry(url)
    try:
        return [judge(name, text, await look_up(name, text, registry)) for name, text in wanted.items()]
    finally:
        await registry.close()


def _as_it_was(schema: str | None) -> Known:
    """Return what stands for a subject where the former pipeline is all that is known."""
    return Known([] if schema is None else [Registered(0, 1, schema)], NEW_SUBJECT_LEVEL)


def _show(verdicts: Sequence[Verdict]) -> None:
    show_table(
        ("subject", "schema", "level", "versions"),
        [(one.subject, one.meaning, one.level, one.versions) for one in verdicts],
    )
    refused = [one for one in verdicts if not one.ok]
    for one in refused:
        show("")
        show(f"{one.subject}: what is there can't be followed by this schema:")
        for reason in one.reasons:
            show(f"  {reason}")
    if refused:
        say("Keep the fields that readers know and give new ones a default, or write to another topic")


def _document(verdict: Verdict) -> dict[str, Any]:
    return {
        "subject": verdict.subject,
        "schema": verdict.meaning,
        "level": verdict.level,
        "versions": verdict.versions,
        "reasons": verdict.reasons,
    }
