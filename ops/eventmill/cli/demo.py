"""`eventmill demo`: example mails through all stages, with what they cost and what failed."""

from pathlib import Path
from typing import Annotated

import typer

from eventmill.cli.demo_report import show_report, write_figures
from eventmill.cli.lazy import command_app
from eventmill.cli.output import FAILED, say, show
from eventmill.cli.signals import interrupt_on_termination
from eventmill.demo.examples import support_mail
from eventmill.demo.run import Demo, DemoReport, Options

app = command_app()

_FOLDER = Path(".eventmill/demo")


@app.command()
def demo(
    events: Annotated[
        int | None, typer.Option(min=1, help="Repeat the mails with new ids up to this number.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the local stack running at the end.")] = False,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures as one JSON object.")] = None,
) -> None:
    """Send example mails through three stages and show results, costs, dead letters and a search.

    Starts a local stack and a model stand-in, runs the same commands that you would, and stops everything again. With
    OPENAI_API_KEY set the real provider answers; with EVENTMILL_KAFKA, EVENTMILL_REGISTRY and EVENTMILL_POSTGRES set
    those servers are used. Exit 1 if anything was lost or doubled.
    """
    interrupt_on_termination()
    if json is not None:
        json.touch()  # a place that can't be written to is said now, not at the end
    root = Path.cwd()
    report = Demo(root, support_mail(root), Options(_FOLDER, events, keep), say).run()
    if json is not None:
        write_figures(report, json)
    show_report(report, "mails")
    if not report.clean:
        raise typer.Exit(FAILED)
    _next(report, kept=keep)


def _next(report: DemoReport, *, kept: bool) -> None:
    show("")
    show("Next:")
    if kept:
        file = report.work.file
        own = report.work.environ
        if report.work.external:
            show(f'  export KAFKA={own["KAFKA"]} REGISTRY={own["REGISTRY"]} DATABASE_URL="$EVENTMILL_POSTGRES"')
        else:
            show(f'  eval "$(eventmill dev env --folder {_FOLDER}/stack)"')
        named = " ".join(f"{name}={value}" for name, value in own.items() if name in {"MAIL_MODEL", "VECTORS"})
        show(f"  export {named}")
        show(f"  eventmill tail triage --pipeline {file} --last 3 --no-follow")
        show(f"  eventmill search mails 'where is my parcel' --pipeline {file}")
        show(f"  eventmill cost report {file} --by model --by day")
        show(f"  eventmill dlq list --pipeline {file}")
        show(f"  eventmill lag {file}")
        if not report.work.external:
            show(f"  eventmill dev down --folder {_FOLDER}/stack    # when you are done")
    else:
        show('  make demo ARGS="--events 2000 --keep"     # more mails, and leave the stack up to look around')
        show("  docs/how-to/quickstart.md                 # your own topic")
        show("  docs/how-to/warehouse.md                  # results and costs in a database, by Kafka Connect")
