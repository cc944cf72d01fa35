"""`eventmill connect`: results and costs into a warehouse, by Kafka Connect."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from eventmill.cli.connection import KafkaOption, PipelineOption, RegistryOption, find_kafka, find_pipeline
from eventmill.cli.lazy import command_app
from eventmill.cli.output import FAILED, OK, say, show, show_json, show_table
from eventmill.config import load
from eventmill_connectors.connect.connector import Source
from eventmill_connectors.connect.converters import Converter, avro_converter
from eventmill_connectors.connect.files import as_text, file_of, read_connectors
from eventmill_connectors.connect.generate import Options, connector, needed
from eventmill_connectors.connect.references import References
from eventmill_connectors.connect.rest import ConnectApi
from eventmill_connectors.connect.sinks import CONTROL_TOPIC, Sink
from eventmill_connectors.connect.status import Status
from eventmill_connectors.kafka.admin import Topics
from eventmill_connectors.kafka.settings import command_settings
from eventmill_schemas.errors import UsageError
from eventmill_schemas.pipeline import Pipeline
from eventmill_schemas.topics import TopicSpec, stage_topics

app = command_app(help="Bring results and costs into a warehouse, by Kafka Connect.")

_USUAL_URL = "http://127.0.0.1:8083"

Url = Annotated[
    str, typer.Option("--url", envvar="CONNECT", metavar="URL", help="A worker of Kafka Connect.", show_default=True)
]
Places = Annotated[list[Path], typer.Argument(metavar="FILE|FOLDER", help="Files that `generate` made.")]
Seconds = Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait until tasks run.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def generate(  # noqa: PLR0913, PLR0917 - the options of a command
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where the files go.")],
    stages: Annotated[list[str] | None, typer.Argument(metavar="STAGE", help="All stages if not given.")] = None,
    sink: Annotated[Sink, typer.Option(help="The kind of warehouse.")] = Sink.POSTGRES,
    pipeline: Annotated[Path, typer.Option("--pipeline", "-p", help="The pipeline file.")] = Path("pipeline.yaml"),
    registry: Annotated[
        str | None, typer.Option(metavar="URL", help="The registry as Connect's workers reach it; else the pipeline's.")
    ] = None,
    converter: Annotated[
        Converter | None, typer.Option(help="The workers' Avro converter; else as the registry's address tells.")
    ] = None,
    secrets: Annotated[
        str, typer.Option(metavar="env|file:PATH", help="Where workers have addresses and secrets.")
    ] = "env",
    replication: Annotated[
        int, typer.Option(min=-1, help="Copies of the dead letter topics; -1: the broker's default.")
    ] = -1,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of your own; empty: none.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that were changed.")] = False,
) -> None:
    """Write the configurations of sinks, two for each stage: one for its results, one for its costs.

    They hold references to secrets, never secrets. Asks nothing over the network.
    """
    if replication == 0:
        raise UsageError("--replication 0 is no topic", remedy="Give 1 or more, or -1 for the broker's default")
    found = load(pipeline, os.environ)
    options = Options(
        values=avro_converter(registry or found.kafka.registry, converter),
        references=References.parse(secrets),
        replication=replication,
        own=_own(settings or []),
    )
    made = [connector(sink, source, options) for source in _sources(found, stages or [])]
    kept = [file for one in made if _differs(file := file_of(out, one), as_text(one))]
    if kept and not force:
        raise UsageError(
            f"{kept[0]} is there already and differs", remedy="Choose another folder, or replace it with --force"
        )
    out.mkdir(parents=True, exist_ok=True)
    for one in made:
        file_of(out, one).write_text(as_text(one), encoding="utf-8")
        show(str(file_of(out, one)))
    values = dict.fromkeys(name for one in made for name in needed(one))
    say(f"Connect's workers must have: {', '.join(values)}")


@app.command()
def validate(places: Places, url: Url = _USUAL_URL, json: Json = False) -> None:
    """Ask a worker what is wrong with connectors. Changes nothing; exit code 1 if something is."""
    with ConnectApi(url) as api:
        found = {one.name: api.validate(one) for one in read_connectors(places)}
    if json:
        show_json({"ok": not any(found.values()), "problems": found})
    else:
        for name, problems in found.items():
            for problem in problems:
                show(f"{name}: {problem.key}: {problem.message}")
            if not problems:
                show(f"{name}: ok")
    raise typer.Exit(FAILED if any(found.values()) else OK)


@app.command()
def apply(
    places: Places,
    url: Url = _USUAL_URL,
    timeout: Seconds = 60,
    pipeline: PipelineOption = None,
    kafka: KafkaOption = None,
    registry: RegistryOption = None,
    json: Json = False,
) -> None:
    """Make connectors be as their files say, and wait until their tasks run. A second run changes nothing.

    An Iceberg sink's control topic is created first; only for that Kafka is asked. Exit code 1 if a task fails.
    """
    connectors = read_connectors(places)
    controls = [TopicSpec(one.config[CONTROL_TOPIC], 1) for one in connectors if CONTROL_TOPIC in one.config]
    if controls:
        known = find_kafka(find_pipeline(pipeline, kafka), kafka, registry)
        _create_missing(Topics(command_settings(known)), controls)
    done, found = {}, []
    with ConnectApi(url) as api:
        for one in connectors:   # one after the other: two that make their catalog at once would be in each other's way
            done[one.name] = api.apply(one)
            found.append(api.await_running(one.name, timeout))
    if json:
        show_json({"changes": done, "connectors": [_document(status) for status in found]})
    else:
        for name, change in done.items():
            show(f"{name}: {change}")
    _judge(found)


@app.command()
def status(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="All if not given.")] = None,
    url: Url = _USUAL_URL,
    json: Json = False,
) -> None:
    """Show how connectors and their tasks are. Exit code 1 if one does not run: its own state does not tell."""
    with ConnectApi(url) as api:
        known = api.statuses()
    missing = [name for name in names or [] if name not in known]
    if missing:
        raise UsageError(
            f"there is no connector {missing[0]!r}", remedy=f"There is {', '.join(known) or 'none'}"
        )
    found = [known[name] for name in names or known]
    if not found:
        say("There are no connectors.")
    if json:
        show_json({"ok": all(one.works for one in found), "connectors": [_document(one) for one in found]})
    else:
        rows = [(one.name, one.connector.state, _tasks(one), one.connector.worker) for one in found]
        show_table(("connector", "state", "tasks", "worker"), rows)
    _judge(found)


@app.command()
def restart(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Connectors.")],
    everything: Annotated[bool, typer.Option("--all", help="What runs as well, not only what failed.")] = False,
    url: Url = _USUAL_URL,
    timeout: Seconds = 60,
) -> None:
    """Restart what failed of connectors, and wait until their tasks run. Exit code 1 if one fails again."""
    with ConnectApi(url) as api:
        for name in names:
            api.restart(name, only_failed=not everything)
        found = [api.await_running(name, timeout) for name in names]
    for one in found:
        if one.works:
            show(f"{one.name}: running")
    _judge(found)


@app.command()
def delete(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Connectors.")], url: Url = _USUAL_URL
) -> None:
    """Remove connectors. Their tables stay; one that is made anew goes on where it ended."""
    with ConnectApi(url) as api:
        for name in names:
            api.delete(name)
            show(f"{name}: deleted")


def _sources(pipeline: Pipeline, stages: list[str]) -> list[Source]:
    known = {stage.name: stage for stage in pipeline.stages}
    unknown = [name for name in stages if name not in known]
    if unknown:
        raise UsageError(f"there is no stage {unknown[0]!r}", remedy=f"The stages are {', '.join(known)}")
    topics = [stage_topics(pipeline.name, name, known[name].topics) for name in dict.fromkeys(stages or known)]
    sources = [s for one in topics for s in (Source(one.results, "event_id"), Source(one.costs, "cost_id"))]
    by_table: dict[str, Source] = {}
    for source in sources:
        other = by_table.setdefault(source.table, source)
        if other != source:
            raise UsageError(f"the topics {other.topic} and {source.topic} would both be the table {source.table}")
    return sources


def _own(settings: list[str]) -> Mapping[str, str]:
    found = {}
    for text in settings:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise UsageError(f"--set {text!r} is not KEY=VALUE")
        if _is_secret(key) and value and not value.startswith("${"):
            raise UsageError(
                f"--set {key}: its value would stand in a file", remedy=f"Give a reference: --set '{key}=${{env:NAME}}'"
            )
        found[key] = value
    return found


def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in ("password", "secret", "private.key", "credential", "keyfile", "token"))


def _differs(file: Path, text: str) -> bool:
    return file.exists() and file.read_text(encoding="utf-8") != text


def _create_missing(topics: Topics, specs: list[TopicSpec]) -> None:
    there = topics.describe([spec.name for spec in specs])
    missing = [spec for spec in specs if spec.name not in there]
    topics.create(missing)
    for spec in missing:
        show(f"created topic {spec.name}")


def _tasks(status: Status) -> str:
    return " ".join(task.state for task in status.tasks) or "none"


def _document(status: Status) -> Mapping[str, object]:
    return {"name": status.name, "ok": status.works, "complaint": status.complaint, **_parts(status)}


def _parts(status: Status) -> Mapping[str, object]:
    return {"state": status.connector.state, "tasks": [task.state for task in status.tasks]}


def _judge(found: list[Status]) -> None:
    for one in found:
        if one.complaint is not None:
            say(f"{one.name}: {one.complaint}")
    if not all(one.works for one in found):
        say("When its cause is gone: eventmill connect restart NAME")
        raise typer.Exit(FAILED)
