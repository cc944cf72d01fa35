"""`eventmill models check`: whether a model runs here, and computes what it should."""

from typing import Annotated, Literal

import typer

from eventmill.cli.lazy import command_app
from eventmill.cli.model_folder import FolderArgument
from eventmill.cli.models_made import show_passed
from eventmill_connectors.onnx.artifact import open_artifact
from eventmill_connectors.onnx.gate import check
from eventmill_connectors.onnx.session import Device, OnnxSession

app = command_app()


@app.command(no_args_is_help=True)
def check_model(
    folder: FolderArgument,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where it is to run.")] = "cpu",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Load a model as a worker would: compare the hashes of its files, and let it pass the gate on this machine.

    Exit code 0: workers here can use it; 2: they can't, and the message says why.
    """
    artifact = open_artifact(folder)
    report = check(artifact, OnnxSession(artifact, Device(device)))
    show_passed(artifact, report, json=json, live=False)
