"""`eventmill models`: models that run in the worker, made, checked and shown."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from eventmill.cli.lazy import Lazy, LazyGroup, command_app
from eventmill.cli.model_folder import MODELS, FolderArgument
from eventmill.cli.output import say, show, show_json, show_table
from eventmill_connectors.onnx.artifact import live_version, make_live, open_artifact, versions
from eventmill_connectors.onnx.manifest import Manifest, TensorSpec
from eventmill_connectors.onnx.packages import need_packages
from eventmill_schemas.errors import ModelUnusable


class _Commands(LazyGroup):
    lazy: ClassVar = {
        "build": Lazy("eventmill.cli.models_build", "Build a text encoder, and train a head on labels."),
        "import": Lazy("eventmill.cli.models_import", "Import any ONNX file."),
        "check": Lazy("eventmill.cli.models_check", "Load a model as a worker would, and see that it computes right."),
    }

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the command; those that compute need packages that may not be here."""
        if args and args[0] in self.lazy:
            need_packages()
        return super().resolve_command(ctx, args)


app = command_app(help="Make, check and show models that run in the worker.", group=_Commands)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_models(
    folder: Annotated[Path, typer.Argument(help="Where the models are.")] = MODELS,
    json: JsonOption = False,
) -> None:
    """List the models of a folder, each with its versions, oldest first."""
    if not folder.is_dir():
        raise ModelUnusable(f"there is no folder {folder}", remedy="Make a model: eventmill models build minilm")
    rows = [
        (home.name, version, version == _live(home), manifest)
        for home in sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))
        for version, manifest in versions(home).items()
    ]
    if json:
        show_json([_entry(*row) for row in rows])
        return
    if not rows:
        say(f"There are no models in {folder}. Make one: eventmill models build minilm")
        return
    show_table(
        ("name", "version", "live", "task", "precision", "dimensions", "labels", "source"),
        [
            (
                name,
                version,
                "live" if live else None,
                manifest.task,
                manifest.precision,
                manifest.dimensions,
                len(manifest.labels) if manifest.labels else None,
                manifest.source,
            )
            for name, version, live, manifest in rows
            if isinstance(manifest, Manifest)
        ],
    )
    for _, _, _, manifest in rows:
        if isinstance(manifest, ModelUnusable):
            say(f"warning: {manifest}")


@app.command("show", no_args_is_help=True)
def show_model(folder: FolderArgument, json: JsonOption = False) -> None:
    """Show what is known about a model: the live version of a name, or one version."""
    artifact = open_artifact(folder)
    if json:
        show_json({"folder": artifact.folder, **_document(artifact.manifest)})
        return
    for name, value in _lines(artifact.manifest):
        show(f"{name:<14}{value}")


@app.command("use", no_args_is_help=True)
def use(
    folder: FolderArgument,
    version: Annotated[str, typer.Argument(help="Which of its versions is to be live.")],
) -> None:
    """Make another version of a model the live one. Workers take it when they start."""
    if (folder / version).is_dir() or not folder.is_dir():
        open_artifact(folder / version)
    make_live(folder, version)
    say(f"{folder} is now version {version}.")


def _live(home: Path) -> str | None:
    try:
        return live_version(home)
    except ModelUnusable as error:
        say(f"warning: {error}")
        return None


def _entry(name: str, version: str, live: bool, manifest: Manifest | ModelUnusable) -> dict[str, Any]:
    if isinstance(manifest, ModelUnusable):
        return {"name": name, "version": version, "live": live, "error": str(manifest)}
    return {"live": live, **_document(manifest)}


def _document(manifest: Manifest) -> dict[str, Any]:
    return {field.name: getattr(manifest, field.name) for field in fields(manifest)}


def _lines(manifest: Manifest) -> list[tuple[str, str]]:
    parity = manifest.parity
    cosine = "" if parity.cosine_min is None else f", cosine similarity {parity.cosine_min:.7f}"
    lines: list[tuple[str, Any]] = [
        ("name", manifest.name),
        ("version", manifest.version),
        ("task", manifest.task),
        ("source", manifest.source),
        ("licence", manifest.licence),
        ("producer", manifest.producer),
        ("inputs", _specs(manifest.inputs)),
        ("outputs", _specs(manifest.outputs)),
        ("precision", manifest.precision),
        ("vector space", manifest.vector_space),
        ("pooling", manifest.pooling),
        ("max tokens", manifest.max_tokens),
        ("labels", None if manifest.labels is None else ", ".join(manifest.labels)),
        ("head", None if manifest.head is None else _head(manifest.head)),
        ("batches", "same bits alone and in a batch" if manifest.batch_invariant else "none: one record at a time"),
        ("parity", f"{parity.rows} {parity.reference} records, at most {parity.max_abs:.2g} off{cosine}"),
        ("operators", ", ".join(f"{count} {name}" for name, count in manifest.operators.items())),
        ("files", ", ".join(f"{name} {digest[:12]}" for name, digest in manifest.files.items())),
    ]
    return [(name, str(value)) for name, value in lines if value is not None]


def _head(report: Mapping[str, Any]) -> str:
    measures = report["measures"]
    return f"{report['method']}, {100 * measures['accuracy']:.1f} % of {measures['texts']} texts right"


def _specs(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"{spec.name} {spec.dtype}[{', '.join(map(str, spec.shape))}]" for spec in specs)
