"""`eventmill run`: all stages of a pipeline, supervised, on this machine."""

import os
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from eventmill.cli.lazy import command_app
from eventmill.cli.output import FAILED, say
from eventmill.config import load
from eventmill.fleet import Fleet, replicas
from eventmill_schemas.errors import UsageError
from eventmill_schemas.pipeline import Pipeline

app = command_app()

_STOP_MARGIN = 20.0
"""Seconds beyond the shutdown time-out until a worker that does not leave is ended."""


@app.command()
def run(
    pipeline: Annotated[Path, typer.Argument(metavar="FILE", help="The pipeline file.")] = Path("pipeline.yaml"),
    replica: Annotated[
        list[str] | None, typer.Option("--replicas", help="STAGE=N workers of a stage; may be given again.")
    ] = None,
    logs: Annotated[Path | None, typer.Option(help="Folder for one log file per worker, instead of stderr.")] = None,
    shutdown_timeout: Annotated[float, typer.Option(help="Seconds that calls in flight get at the end.", min=0)] = 30.0,
) -> None:
    """Run one worker of every stage until Ctrl-C, and start again what ends by itself.

    A worker whose files or set-up are wrong is not started again; when none is left, the command exits 1.
    """
    described = load(pipeline, os.environ)
    counts = replicas(described, _counts(described, replica or []))
    fleet = Fleet(pipeline, counts, logs, say, ["--shutdown-timeout", f"{shutdown_timeout:g}"])
    stopping = _Stop()
    fleet.start()
    say(f"running {', '.join(member.name for member in fleet.members)}; stop with Ctrl-C")
    while not stopping.asked and len(fleet.failed) < len(fleet.members):
        fleet.watch()
        time.sleep(0.2)
    fleet.stop(shutdown_timeout + _STOP_MARGIN)
    if not stopping.asked:
        raise typer.Exit(FAILED)


class _Stop:
    """Turns SIGINT and SIGTERM into a wish; `asked` says that there was one."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGINT, self._ask)
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, _: int, __: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt  # the workers follow their parent
        say("stopping: calls in flight are finished first; once more stops at once")
        self.asked = True


def _counts(pipeline: Pipeline, options: list[str]) -> dict[str, int]:
    names = {stage.name for stage in pipeline.stages}
    counts: dict[str, int] = {}
    for option in options:
        stage, _, number = option.partition("=")
        if not number.isdecimal():
            raise UsageError(f"--replicas {option} is not STAGE=N", remedy="Give a number of workers: triage=2")
        if stage not in names:
            raise UsageError(
                f"--replicas {option}: the pipeline has no stage {stage!r}",
                remedy=f"Its stages: {', '.join(sorted(names))}",
            )
        counts[stage] = int(number)
    return counts
