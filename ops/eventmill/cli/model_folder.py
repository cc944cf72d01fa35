"""How a model is named on the command line: by its folder, or by its name in the usual one."""

from pathlib import Path
from typing import Annotated

import typer

MODELS = Path("models")
"""Where `models build` and `models import` put models."""


def _found(folder: Path) -> Path:
    usual = MODELS / folder
    return usual if not folder.exists() and usual.exists() else folder


FolderArgument = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        help=f"Its folder, or that of one version; under {MODELS}/ the name is enough.",
        callback=_found,
    ),
]
