"""The `eventmill` command: one file per command group, imported when it is used."""

import sys
import traceback
from importlib.metadata import version as installed_version
from typing import Annotated, Any, ClassVar

import typer

from eventmill.cli.lazy import Lazy, LazyGroup
from eventmill.cli.output import FAILED, say, show, show_error, show_json
from eventmill_schemas.errors import EventmillError


class _Commands(LazyGroup):
    # A command is one line here, and a module with `app = command_app(...)`.
    lazy: ClassVar = {
        "demo": Lazy("eventmill.cli.demo", "Send example mails through a pipeline, and see results and costs."),
        "init": Lazy("eventmill.cli.init", "Write the files of a new pipeline, for a topic or as an example."),
        "check": Lazy("eventmill.cli.check", "Say what is wrong in a pipeline's files."),
        "try": Lazy("eventmill.cli.try_stage", "Try a stage on some events, and see prompts, replies and costs."),
        "doctor": Lazy("eventmill.cli.doctor", "Look at everything a worker needs, and say what to do."),
        "apply": Lazy("eventmill.cli.apply", "Create a pipeline's topics and tables, and register its schemas."),
        "run": Lazy("eventmill.cli.run", "Run all stages of a pipeline on this machine."),
        "lag": Lazy("eventmill.cli.lag", "Show how much the stages have still to do."),
        "worker": Lazy("eventmill.cli.worker", "Run one replica of one stage."),
        "produce": Lazy("eventmill.cli.produce", "Produce a file of JSON lines, CSV, Avro or mails to a topic."),
        "tail": Lazy("eventmill.cli.tail", "Show the records of a topic, decoded."),
        "search": Lazy("eventmill.cli.search", "Show the stored passages that are nearest to a text."),
        "dlq": Lazy("eventmill.cli.dlq", "List and show dead letters."),
        "cost": Lazy("eventmill.cli.cost", "Sum up what a pipeline has spent."),
        "schema": Lazy("eventmill.cli.schema", "Check schemas against those that readers know."),
        "connect": Lazy("eventmill.cli.connect", "Bring results and costs into a warehouse, by Kafka Connect."),
        "models": Lazy("eventmill.cli.models", "Make, check and show models that run in the worker."),
        "accept": Lazy("eventmill.cli.accept", "Send real questions through an example, and count what was lost."),
        "bench": Lazy("eventmill.cli.bench", "Measure throughput, latency and cost per event, beside a bare loop."),
        "dev": Lazy("eventmill.cli.dev", "Run Kafka, a schema registry and Postgres on this machine."),
    }

    def invoke(self, ctx: Any) -> Any:
        """Run the command; show what it raises as one message, and exit 1, or 2 if the user's input is wrong."""
        try:
            return super().invoke(ctx)
        except EventmillError as error:
            _trace_if_asked(ctx)
            raise typer.Exit(show_error(error)) from error
        except BrokenPipeError:
            raise
        except OSError as error:
            _trace_if_asked(ctx)
            place = f"{error.filename}: " if error.filename else ""
            say(f"error: {place}{error.strerror or error}")
            raise typer.Exit(FAILED) from error


app = typer.Typer(
    cls=_Commands,
    name="eventmill",
    help="Enrich Kafka events with LLM calls and local models: exactly once, in order per key, with the cost of every "
    "event on a topic.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong use (arguments, files, set-up), 130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def _options(
    debug: Annotated[
        bool, typer.Option("--debug", envvar="EVENTMILL_DEBUG", help="Show where an error arose.")
    ] = False,
) -> None:
    # Read where an error is shown.
    del debug


@app.command()
def version(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print the version."""
    number = installed_version("eventmill")
    if json:
        show_json({"eventmill": number, "python": ".".join(map(str, sys.version_info[:3]))})
    else:
        show(f"eventmill {number}")


def main() -> None:
    """Run the command line of this process; never returns."""
    app(prog_name="eventmill")


def _trace_if_asked(ctx: Any) -> None:
    if ctx.params.get("debug"):
        traceback.print_exc()
