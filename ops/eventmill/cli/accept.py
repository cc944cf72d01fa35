"""`eventmill accept`: real questions through the example `intents`, from a CSV file to counted results."""

from pathlib import Path
from typing import Annotated

import typer

from eventmill.cli.demo_report import show_report, write_figures
from eventmill.cli.lazy import command_app
from eventmill.cli.output import FAILED, say
from eventmill.cli.signals import interrupt_on_termination
from eventmill.demo.examples import LABELS, QUERIES, intents
from eventmill.demo.run import Demo, Options

app = command_app()

_FOLDER = Path(".eventmill/accept")


@app.command(no_args_is_help=True)
def accept(
    data: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER", help=f"Holds {QUERIES} and {LABELS}: questions, with the columns text and category."
        ),
    ],
    events: Annotated[
        int | None, typer.Option(min=1, help="So many: the file's first ones, or all again with new ids.")
    ] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures as one JSON object.")] = None,
) -> None:
    """Run real input through the example `intents` and count what was lost or doubled.

    A model learns the categories from train.csv and says in the worker what each question of test.csv is about. Every
    row of that file becomes an event, every event is read by a chat model (the stand-in, unless OPENAI_API_KEY is set),
    and an independent reader compares topics and costs with each other. Uses a local stack of its own, or the servers
    of EVENTMILL_KAFKA, EVENTMILL_REGISTRY and EVENTMILL_POSTGRES. Exit 1 if anything was lost or doubled, 2 if the file
    is not what it must be.
    """
    interrupt_on_termination()
    if json is not None:
        json.touch()   # a place that can't be written to is said now, not at the end
    root = Path.cwd()
    report = Demo(root, intents(root, data), Options(_FOLDER, events), say).run()
    if json is not None:
        write_figures(report, json)
    show_report(report, "questions")
    if not report.clean:
        raise typer.Exit(FAILED)
