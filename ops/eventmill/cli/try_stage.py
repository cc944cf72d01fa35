"""`eventmill try`: some events through one stage, and everything that is asked, answered, checked and paid."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from eventmill.cli.connection import USUAL_FILE, KafkaOption, RegistryOption
from eventmill.cli.lazy import command_app
from eventmill.cli.output import FAILED, is_coloured, say, show, show_error
from eventmill.cli.try_view import document, lines, summary, system_texts, totals
from eventmill.reading.show import json_text
from eventmill.trying.session import Round, Session, Wanted
from eventmill.trying.trial import Trial
from eventmill.trying.watch import Watch
from eventmill_schemas.errors import EventmillError, UsageError

app = command_app()

_SOME = 5


@app.command("try", no_args_is_help=True)
def try_stage(  # noqa: PLR0913, PLR0917 - the options of a command
    stage: Annotated[str, typer.Argument(help="The stage to try.")],
    file: Annotated[
        str | None,
        typer.Option("--from", metavar="FILE", help="Events as `produce` takes them; - is standard input."),
    ] = None,
    last: Annotated[
        int | None, typer.Option("--last", "-n", min=1, help="So many of the newest records of the stage's inputs.")
    ] = None,
    events: Annotated[
        int | None, typer.Option(min=1, help="So many of the file's first events.", show_default=str(_SOME))
    ] = None,
    schema: Annotated[
        Path | None,
        typer.Option(metavar="FILE.avsc", help="Of the file's events; else the registry's latest is used."),
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="FIELD", help="The field that is the record key.")] = None,
    stand_in: Annotated[
        bool, typer.Option("--stand-in", help="Let a stand-in answer in place of all models: nobody is paid.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Try again when a file of the pipeline is saved, until Ctrl-C.")
    ] = False,
    pipeline: Annotated[Path, typer.Option("--pipeline", "-p", help="The pipeline file.")] = USUAL_FILE,
    kafka: KafkaOption = None,
    registry: RegistryOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON; with --watch one document per round.")] = False,
) -> None:
    """Try a stage on some events: show the prompts, replies, fields, tokens and costs, or why there is no result.

    Nothing is published, no consumer group is joined, nothing is committed. Model calls are real and cost money, unless
    a stand-in answers: `--stand-in`, or `eventmill dev model`. Exit code 1: an event would be a dead letter.
    """
    if (file is None) == (last is None):
        raise UsageError("which events are to be tried?", remedy="Give either `--from FILE` or `--last N`")
    if file is None and (given := [n for n, v in (("--events", events), ("--schema", schema), ("--key", key)) if v]):
        raise UsageError(f"{given[0]} is for events of a file", remedy="Leave it out, or give `--from FILE`")
    wanted = Wanted(
        pipeline, stage, file, last or events or _SOME, schema, key, stand_in=stand_in, kafka=kafka, registry=registry
    )
    rounds = _Rounds(Session(wanted, os.environ, say), json)
    if watch:
        _watch(rounds, wanted)
    elif not rounds.run():
        raise typer.Exit(FAILED)


def _watch(rounds: "_Rounds", wanted: Wanted) -> None:
    folder = wanted.pipeline.absolute().parent
    others = [wanted.pipeline.absolute(), *([Path(wanted.file)] if wanted.file not in (None, "-") else [])]
    if wanted.schema is not None:
        others.append(wanted.schema)
    looking = Watch(folder, others)
    while True:
        try:
            rounds.run()
        except EventmillError as error:
            show_error(error)
        except OSError as error:   # a file that is gone for the moment
            say(f"error: {error.filename or ''}: {error.strerror or error}")
        sys.stdout.flush()
        say("watching; Ctrl-C ends")
        changed = looking.wait()
        say(f"changed: {', '.join(os.path.relpath(path) for path in changed)}")


class _Rounds:
    """Tries the events, once or again and again, and shows them."""

    def __init__(self, session: Session, json: bool) -> None:
        self._session = session
        self._json = json
        self._all: list[Trial] = []
        self._rounds = 0

    def run(self) -> bool:
        """Try the events once; whether none of them would be a dead letter."""
        prepared = self._session.prepare()
        for one in prepared.answering:
            say(one.line())
        places: list[str] = []
        trials: list[Trial] = []

        def tried(place: str, trial: Trial) -> None:
            if not self._json:
                self._show(place, trial, [text for earlier in trials for text in system_texts(earlier)])
            places.append(place)
            trials.append(trial)
            self._all.append(trial)

        self._rounds += 1
        self._session.run(prepared, tried)
        self._end(prepared, places, trials)
        return all(trial.dead_letter is None for trial in trials)

    def _show(self, place: str, trial: Trial, before: list[str]) -> None:
        coloured = is_coloured(sys.stdout)
        for number, line in enumerate(lines(place, trial, before)):
            style: dict[str, object] = {}
            if number == 0:
                style = {"bold": True}
            elif line.startswith("    | "):
                style = {"dim": True}
            elif line.startswith(("  DEAD LETTER", "    not usable", "    no reply")):
                style = {"fg": "red"}
            show(typer.style(line, **style) if coloured and style else line)   # type: ignore[arg-type]  # its keywords
        show("")

    def _end(self, prepared: Round, places: list[str], trials: list[Trial]) -> None:
        if self._json:
            show(json_text(document(prepared, places, trials)))
        else:
            show(summary(totals(trials)))
        if self._rounds > 1:
            say(f"all {self._rounds} rounds: {summary(totals(self._all))}")
