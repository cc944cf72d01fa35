"""`eventmill check`: whether a pipeline is right, without the network."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from eventmill.cli.lazy import command_app
from eventmill.cli.output import USAGE, say, show, show_json, show_table
from eventmill.config import Loaded, load_with_lines
from eventmill.config.examine import Examination, examine
from eventmill.config.json_schema import json_schema_text
from eventmill_schemas.errors import PipelineFileError, PipelineFileErrors
from eventmill_schemas.pipeline import Pipeline, Stage
from eventmill_schemas.topics import stage_topics

app = command_app()


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The pipeline file.")] = Path("pipeline.yaml"),
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of pipeline files instead.")] = False,
) -> None:
    """Read a pipeline and all that it names, and say what is wrong. Asks nothing over the network.

    Mistakes are all reported at once, one line each: file:line: message. Exit code 0: a worker can use the pipeline;
    2: it is wrong. Warnings change nothing.
    """
    if schema:
        show(json_schema_text().rstrip())
        return
    try:
        loaded = load_with_lines(file, os.environ)
        found = examine(loaded, os.environ)
    except PipelineFileErrors as error:
        if not json:
            raise
        show_json({"ok": False, "errors": [_error(one) for one in error.errors], "warnings": []})
        raise typer.Exit(USAGE) from error
    if json:
        show_json(_document(loaded, found))
        return
    _show(loaded.pipeline, found)
    for warning in found.warnings:
        say(f"warning: {warning}")


def _show(pipeline: Pipeline, found: Examination) -> None:
    show(f"pipeline {pipeline.name}")
    show_table(
        ("stage", "reads", "steps", "results", "costs", "dead letters"),
        [
            (name, " ".join(stage["inputs"]), " ".join(stage["steps"]) or None, *stage["topics"].values())
            for name, stage in _stages(pipeline).items()
        ],
    )
    if pipeline.routes:
        show("")
        models = _routes(pipeline, found)
        show_table(
            ("route", "provider", "model", "price"),
            [(name, m["provider"], m["model"], m["price"]) for name, entries in models.items() for m in entries],
        )
    if pipeline.models:
        show("")
        show_table(
            ("local model", "folder", "device", "USD per hour"),
            [(name, m["folder"], m["device"], m["price_per_hour"]) for name, m in _local_models(pipeline).items()],
        )


def _document(loaded: Loaded, found: Examination) -> dict[str, Any]:
    pipeline = loaded.pipeline
    return {
        "ok": True,
        "errors": [],
        "warnings": [{"file": one.file, "line": one.line, "message": one.message} for one in found.warnings],
        "pipeline": pipeline.name,
        "stages": _stages(pipeline),
        "routes": _routes(pipeline, found),
        "models": _local_models(pipeline),
    }


def _stages(pipeline: Pipeline) -> dict[str, dict[str, Any]]:
    return {stage.name: _stage(pipeline, stage) for stage in pipeline.stages}


def _stage(pipeline: Pipeline, stage: Stage) -> dict[str, Any]:
    topics = stage_topics(pipeline.name, stage.name, stage.topics)
    return {
        "inputs": list(stage.inputs),
        "steps": [step.name for step in stage.steps],
        "topics": {"results": topics.results, "costs": topics.costs, "dlq": topics.dlq},
    }


def _local_models(pipeline: Pipeline) -> dict[str, dict[str, str | None]]:
    return {
        name: {
            "folder": model.path,
            "device": model.device.value,
            "price_per_hour": None if model.price_per_hour is None else f"{model.price_per_hour:f}",
        }
        for name, model in pipeline.models.items()
    }


def _routes(pipeline: Pipeline, found: Examination) -> dict[str, list[dict[str, str]]]:
    return {
        route: [
            {
                "provider": model.provider,
                "model": model.model,
                "price": "unknown" if (model.provider, model.model) in found.unpriced else "known",
            }
            for model in models
        ]
        for route, models in pipeline.routes.items()
    }


def _error(error: PipelineFileError) -> dict[str, Any]:
    return {"file": error.file, "line": error.line, "message": error.message, "remedy": error.remedy}
