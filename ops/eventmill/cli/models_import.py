"""`eventmill models import`: any ONNX file as a model."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from eventmill.cli.lazy import command_app
from eventmill.cli.models_made import show_passed
from eventmill_connectors.onnx.import_onnx import ImportRequest, import_onnx
from eventmill_schemas.errors import UsageError

app = command_app()


class _Pooling(StrEnum):
    MEAN = "mean"
    CLS = "cls"


@app.command(no_args_is_help=True)
def import_model(  # noqa: PLR0913, PLR0917 - the options of a command
    file: Annotated[Path, typer.Argument(help="The ONNX file. External data is taken in.")],
    name: Annotated[str, typer.Argument(help="What the model is to be called.")],
    tokenizer: Annotated[
        Path | None, typer.Option(help="A tokenizer.json: the model takes the tokens of texts.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=2, help="Where texts are cut.")] = 512,
    pooling: Annotated[
        _Pooling | None, typer.Option(help="Make one vector of length 1 of those of a text's tokens.")
    ] = None,
    class_names: Annotated[
        Path | None, typer.Option(help="Names of the classes, one a line, in the order of the model's logits.")
    ] = None,
    parity: Annotated[
        Path | None, typer.Option(help="An npz file of inputs, and of the outputs they must give: in.NAME, out.NAME.")
    ] = None,
    to: Annotated[Path, typer.Option("--to", help="The folder of the models.")] = Path("models"),
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Import an ONNX file, pass the gate, and make it the live version of NAME."""
    request = ImportRequest(
        file=file,
        name=name,
        models=to,
        tokenizer=tokenizer,
        max_tokens=max_tokens,
        pooling=None if pooling is None else pooling.value,
        labels=None if class_names is None else _names(class_names),
        parity=parity,
    )
    made = import_onnx(request)
    show_passed(made.artifact, made.report, json=json, live=True)


def _names(file: Path) -> tuple[str, ...]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8", remedy="Save it as UTF-8") from error
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}") from error
    names = tuple(line.strip() for line in lines if line.strip())
    twice = sorted({name for name in names if names.count(name) > 1})
    if len(names) < 2 or twice:
        reason = f"names {twice[0]!r} twice" if twice else "has fewer than two names"
        raise UsageError(f"{file} {reason}", remedy="Write one name a line, in the order of the model's logits")
    return names
