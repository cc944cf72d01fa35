"""`eventmill models build`: a text encoder, with a classification head if there are labels."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from eventmill.cli.head_report import show_head_report
from eventmill.cli.lazy import command_app
from eventmill.cli.models_made import show_passed
from eventmill.cli.output import say, show
from eventmill.labels import LabelledTexts, read_labelled
from eventmill_connectors.onnx.build import EncoderRequest, Train, build
from eventmill_connectors.onnx.head import Head
from eventmill_connectors.onnx.parity import Array
from eventmill_connectors.onnx.sources import installed_minilm, read_encoder
from eventmill_connectors.onnx.training import HeadReport, train_head

app = command_app()


class _Precision(StrEnum):
    FP32 = "fp32"
    FP16 = "fp16"


class _Method(StrEnum):
    AUTO = "auto"
    MEANS = "means"
    LINEAR = "linear"


@app.command(no_args_is_help=True)
def build_model(  # noqa: PLR0913, PLR0917 - the options of a command
    name: Annotated[str, typer.Argument(help="What the model is to be called.")],
    source: Annotated[
        Path | None,
        typer.Option("--from", help="A BERT encoder in the folder layout of sentence-transformers. "
                     "Without it: all-MiniLM-L6-v2 from its installed package."),
    ] = None,
    precision: Annotated[_Precision, typer.Option(help="fp16 halves the file, and is for GPUs.")] = _Precision.FP32,
    to: Annotated[Path, typer.Option("--to", help="The folder of the models.")] = Path("models"),
    labels: Annotated[
        Path | None, typer.Option("--labels", help="A CSV file of texts and labels: train a classification head on it.")
    ] = None,
    text_column: Annotated[str, typer.Option(help="The column of texts in it.")] = "text",
    label_column: Annotated[str, typer.Option(help="The column of labels in it.")] = "label",
    method: Annotated[
        _Method, typer.Option(help="Of training: class means, or linear (needs torch). auto: by the number of texts.")
    ] = _Method.AUTO,
    seed: Annotated[int, typer.Option(min=0, help="Parts the texts into those to train and those to measure.")] = 0,
    parity: Annotated[
        Path | None, typer.Option(help="An npz file of texts and their vectors, as another tool computes them.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Build a text encoder, pass the gate, and make it the live version of NAME.

    The same weights and labels give the same files. Nothing is downloaded.
    """
    labelled = None if labels is None else read_labelled(labels, text_column=text_column, label_column=label_column)
    encoder = installed_minilm() if source is None else read_encoder(source)
    request = EncoderRequest(name, to, precision.value, parity)
    train = None if labelled is None else _training(labelled, method, seed, quiet=json)
    made = build(encoder, request, train)
    show_passed(made.artifact, made.report, json=json, live=True)


def _training(labelled: LabelledTexts, method: _Method, seed: int, *, quiet: bool) -> Train:
    def train(embed: Callable[[Sequence[str]], Array]) -> tuple[Head, HeadReport]:
        say(f"Training a head on {len(labelled.texts)} texts with {len(set(labelled.labels))} labels")
        head, report = train_head(labelled.texts, labelled.labels, embed, method.value, seed)
        if not quiet:
            show_head_report(report)
            show("")
        return head, report

    return train
