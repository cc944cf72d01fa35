"""`eventmill init`: the files of a new pipeline, made for a topic or as an example that runs."""

import os
import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from shlex import join
from typing import Annotated

import typer

from eventmill.cli.connection import KafkaOption, RegistryOption, find_kafka
from eventmill.cli.lazy import command_app
from eventmill.cli.output import say, show, show_json
from eventmill.config import load
from eventmill.starting.begin import write
from eventmill.starting.estimate import SECONDS_PER_CALL, Estimate, estimate
from eventmill.starting.events import Choice, Events, choose
from eventmill.starting.example import EVENTS_FILE, TOPIC, example, example_files
from eventmill.starting.files import LABELS_FILE, Names, files, pipeline_name
from eventmill_schemas.errors import UsageError
from eventmill_schemas.pipeline import Format

app = command_app()

_STAGE = re.compile(r"[a-z0-9][a-z0-9_-]*")


@app.command(no_args_is_help=False)
def init(
    folder: Annotated[Path, typer.Argument(help="Where the files are written.")] = Path(),
    topic: Annotated[
        str | None, typer.Option(help="The topic to read: asked for schema and samples. Without it, an example.")
    ] = None,
    stage: Annotated[str, typer.Option(metavar="NAME", help="What the stage is called.")] = "triage",
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there.")] = False,
    kafka: KafkaOption = None,
    registry: RegistryOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write pipeline.yaml, a result schema, a prompt and a file of labels to begin with.

    With --topic, the registry and the topic's newest records say what events look like, and it is told what the events
    that are there would cost and take. No model is asked, and Kafka is only read.
    """
    if _STAGE.fullmatch(stage) is None:
        raise UsageError(f"--stage {stage}: this is no name", remedy="Use lower-case letters, digits, `_` and `-`")
    where = find_kafka(None, kafka, registry)
    events = example() if topic is None else _ask(topic, kafka, registry)
    choice = choose(events)
    names = Names(pipeline_name(folder.absolute().name), stage)
    texts = files(names, where, events, choice)
    if topic is None:
        texts |= example_files()
    written = write(folder, texts, force=force)
    pipeline = load(folder / "pipeline.yaml", os.environ)
    backlog = None if events.count is None else estimate(pipeline, pipeline.stage(stage), events, events.count)
    if json:
        show_json({"files": written, "stage": stage, "topic": events.topic, "backlog": backlog and _document(backlog)})
        return
    for path in written:
        show(f"wrote {path}")
    if topic is not None:
        _show_choice(events, choice)
    if backlog is not None:
        _show_backlog(backlog, events.topic)
    _show_next(folder, stage, events, is_example=topic is None)


def _ask(topic: str, kafka: str | None, registry: str | None) -> Events:
    from eventmill.starting.asking import ask  # noqa: PLC0415 - the example needs no Kafka client

    return ask(find_kafka(None, kafka, registry), topic)


def _show_choice(events: Events, choice: Choice) -> None:
    form = "JSON" if events.format == Format.JSON else "Avro"
    say(f"{events.topic}: {form}, {len(events.samples)} records looked at")
    say(f"the event's id: {choice.id or 'topic, partition and offset (no field was found that tells events apart)'}")
    say(f"read by the model: {', '.join(choice.texts) or 'the whole event (it has no field with text)'}")
    if choice.label is not None:
        say(f"categories: the values of {choice.label} ({', '.join(choice.labels)})")
    else:
        say(f"{LABELS_FILE} has texts without labels: fill them in to train a classifier, or delete the file")


def _show_backlog(found: Estimate, topic: str) -> None:
    show("")
    if found.events == 0:
        show(f"{topic} is empty now; an event would cost {_usd(found.price)}")
    else:
        what = f"the {found.events:,} events in {topic} now"
        show(f"{what} would cost {_usd(found.cost)} and take {_time(found.seconds)}")
    counted = f"counted on {found.samples} samples at 4 characters a token" if found.samples else "assumed"
    show(
        f"  of an event: {found.input_tokens:,} tokens in ({counted}), {found.output_tokens:,} out (assumed), "
        f"{_usd(found.price)} with {found.model}"
    )
    show(
        f"  {found.rate:,.0f} events/s: one replica with {found.rate * SECONDS_PER_CALL:,.0f} calls in flight of "
        f"{SECONDS_PER_CALL:g} s each (assumed); the account's rate limits may allow fewer"
    )


def _show_next(folder: Path, stage: str, events: Events, *, is_example: bool) -> None:
    commands = [] if folder.resolve() == Path.cwd() else [["cd", str(folder)]]
    commands.append(["eventmill", "check"])
    source = ["--from", EVENTS_FILE, "--schema", f"schemas/{TOPIC}-value.avsc"] if is_example else ["--last", "5"]
    commands.append(["eventmill", "try", stage, *source, "--stand-in"])
    show("")
    show("next:")
    for command in commands:
        show(f"  {join(command)}")
    say("without --stand-in, `try` asks the model itself: set OPENAI_API_KEY; calls cost money")


def _document(found: Estimate) -> dict[str, object]:
    return {
        "events": found.events,
        "model": found.model,
        "samples": found.samples,
        "input_tokens": found.input_tokens,
        "output_tokens": found.output_tokens,
        "price": found.price,
        "cost": found.cost,
        "rate": found.rate,
        "seconds": round(found.seconds, 1),
    }


def _usd(value: Decimal | None) -> str:
    if value is None:
        return "an unknown price"
    return f"{value:,.2f} USD" if value >= 1 else f"{value:.2g} USD" if value else "0 USD"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    text = str(timedelta(seconds=round(seconds)))
    return f"{text} h" if seconds < 86_400 else text
