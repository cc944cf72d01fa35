"""`eventmill doctor`: whether this machine, its servers and a pipeline fit, and what to do where they don't."""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from eventmill.cli.connection import USUAL_FILE, find_kafka, find_pipeline
from eventmill.cli.lazy import command_app
from eventmill.cli.output import FAILED, OK, is_coloured, say, show, show_json
from eventmill.doctor.examine import on_machine, on_models, on_servers
from eventmill.doctor.finding import Finding, Level, fail, ok, warn
from eventmill_schemas.errors import PipelineFileErrors
from eventmill_schemas.pipeline import Pipeline

app = command_app()

_COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}


@app.command()
def doctor(
    file: Annotated[
        Path | None, typer.Argument(help="The pipeline file; pipeline.yaml if there is one.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at everything that a worker needs, change nothing, call no model; say what to do about what is wrong.

    Without a pipeline only the machine and the usual servers are looked at. Exit code 1 if something fails; warnings
    change nothing.
    """
    pipeline, found = _pipeline(file)
    found = [*on_machine(pipeline), *found]
    if pipeline is not None:
        found += on_models(pipeline, os.environ)
    if not any(finding.check == "pipeline" and finding.level is Level.FAIL for finding in found):
        found += asyncio.run(on_servers(find_kafka(pipeline, None, None), pipeline))
    counts = {level.value: sum(finding.level is level for finding in found) for level in Level}
    if json:
        show_json({"ok": not counts["fail"], "counts": counts, "findings": found})
    else:
        _show(found)
        say(f"{counts['ok']} ok, {counts['warn']} to look at, {counts['fail']} failed")
    raise typer.Exit(FAILED if counts["fail"] else OK)


def _pipeline(file: Path | None) -> tuple[Pipeline | None, list[Finding]]:
    """Read the pipeline. Where there is none, the machine and the usual servers are looked at all the same."""
    try:
        pipeline = find_pipeline(file)
    except PipelineFileErrors as errors:
        hint = "Models and servers are looked at when the file is right: their addresses are in it"
        return None, [fail("pipeline", str(error), hint) for error in errors.errors]
    if pipeline is None:
        return None, [warn("pipeline", f"there is no {USUAL_FILE} here", "Name the file: eventmill doctor FILE")]
    stages = ", ".join(stage.name for stage in pipeline.stages)
    return pipeline, [ok("pipeline", f"{pipeline.name} with {stages}")]


def _show(found: Sequence[Finding]) -> None:
    """Print a line for each finding, and under it what to do."""
    width = max(len(finding.check) for finding in found)
    coloured = is_coloured(sys.stdout)
    for finding in found:
        level = f"{finding.level:<4}"
        if coloured:
            level = typer.style(level, fg=_COLOURS[finding.level])
        show(f"{level}  {finding.check:<{width}}  {finding.detail}")
        if finding.hint:
            show(f"{'':6}{'':{width}}  -> {finding.hint}")
