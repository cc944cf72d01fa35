"""The local model of an example: built from its labels, once."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from eventmill.rig.commands import run_command
from eventmill_connectors.onnx.artifact import open_artifact
from eventmill_schemas.errors import ModelUnusable

_ALIASES = "aliases.json"   # written last, when a version has passed its gate and is the live one


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A text encoder with a head that is trained on `labels`. The pipeline file reads its place from `variable`."""

    name: str
    variable: str
    labels: Path
    options: tuple[str, ...] = ()


def built(model: LocalModel, folder: Path, say: Callable[[str], None]) -> dict[str, str]:
    """Build `model` in `folder` unless it is there, whole and newer than its labels; return the variable that names it.

    Raises UsageError and StackFailed as the command does.
    """
    place = folder / model.name
    if not _is_new(place, model.labels):
        options = ("--labels", str(model.labels), "--to", str(folder), *model.options)
        run_command(say, {}, "models", "build", model.name, *options)
    return {model.variable: str(place.resolve())}


def _is_new(place: Path, labels: Path) -> bool:
    live = place / _ALIASES
    if not live.is_file() or live.stat().st_mtime < labels.stat().st_mtime:
        return False
    try:
        open_artifact(place)
    except ModelUnusable:   # damaged, or made by another version of eventmill
        return False
    return True
