"""`eventmill dlq`: what failed for good, and why."""

import dataclasses
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from eventmill.cli.connection import KafkaOption, PipelineOption, RegistryOption, find_kafka, find_pipeline
from eventmill.cli.lazy import command_app
from eventmill.cli.output import say, show, show_json, show_table
from eventmill.reading.advice import advice
from eventmill.reading.dead_letters import DeadLetter, DeadLetters, Found, Overview
from eventmill.reading.show import document, excerpt, headers_text, json_text, key_text, printable, time_text
from eventmill.reading.values import Seen, ValueReader
from eventmill_schemas.errors import UsageError
from eventmill_schemas.pipeline import Kafka, Pipeline

app = command_app(help="List and show dead letters: events that failed for good.")

StageOption = Annotated[str | None, typer.Option("--stage", "-s", help="Only those of this stage.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_MESSAGE_SHOWN = 100
_HEX_SHOWN = 4096   # bytes of a value that can't be decoded
_INDENT = 12


@app.command("list")
def list_letters(
    stage: StageOption = None,
    kind: Annotated[str | None, typer.Option("--kind", "-k", help="Only this kind of failure.")] = None,
    last: Annotated[int, typer.Option("--last", "-n", min=0, help="Show so many of the newest.")] = 10,
    pipeline: PipelineOption = None,
    kafka: KafkaOption = None,
    json: JsonOption = False,
) -> None:
    """Count the dead letters by stage and kind, and show the newest."""
    described, connection = _connection(pipeline, kafka, None)
    with DeadLetters(described, connection, stage) as letters:
        overview = letters.overview(kind, last)
    if json:
        show_json({"counts": overview.counts, "newest": [_summary(letter) for letter in overview.newest]})
    else:
        _show_overview(overview)


@app.command("show", no_args_is_help=True)
def show_letter(
    reference: Annotated[
        str,
        typer.Argument(metavar="STAGE/PARTITION@OFFSET|EVENT_ID", help="What `eventmill dlq list` names it."),
    ],
    stage: StageOption = None,
    pipeline: PipelineOption = None,
    kafka: KafkaOption = None,
    registry: RegistryOption = None,
    json: JsonOption = False,
) -> None:
    """Show everything about a dead letter: what failed, the input record decoded, and what to try next."""
    described, connection = _connection(pipeline, kafka, registry)
    with DeadLetters(described, connection, stage) as letters:
        found = letters.find(reference)
    with ValueReader(connection.registry) as values:
        seen = values.see(found.letter.record)
    if json:
        show(json_text(_document(found, seen)))
        return
    for line in _lines(found.letter, seen):
        show(line)
    if found.others:
        say(f"other dead letters of it: {', '.join(found.others)}")


def _connection(pipeline: Any, kafka: str | None, registry: str | None) -> tuple[Pipeline, Kafka]:
    described = find_pipeline(pipeline)
    if described is None:
        raise UsageError("there is no pipeline.yaml in this folder", remedy="Name the file with `--pipeline FILE`")
    return described, find_kafka(described, kafka, registry)


def _show_overview(overview: Overview) -> None:
    if not overview.counts:
        show("no dead letters")
        return
    show_table(
        ("stage", "kind", "count", "newest"),
        [(count.stage, count.kind, count.count, time_text(count.newest)) for count in overview.counts],
    )
    if overview.newest:
        show("")
        show_table(("where", "failed", "event", "source", "kind", "message"), [_row(one) for one in overview.newest])
        say("eventmill dlq show WHERE shows one of them in full")


def _row(letter: DeadLetter) -> tuple[Any, ...]:
    report = letter.report
    message = " ".join(report.message.split()) if report is not None else ""
    shown = message if len(message) <= _MESSAGE_SHOWN else f"{message[:_MESSAGE_SHOWN]}…"
    event = None if report is None or report.event_id is None else printable(report.event_id)
    return letter.where, time_text(letter.failed_at), event, letter.source, printable(letter.kind), printable(shown)


def _summary(letter: DeadLetter) -> dict[str, Any]:
    report = letter.report
    return {
        "where": letter.where,
        "failed_at": letter.failed_at,
        "stage": letter.stage,
        "kind": letter.kind,
        "event_id": None if report is None else report.event_id,
        "message": None if report is None else report.message,
        "source": None if letter.source is None else str(letter.source),
    }


def _document(found: Found, seen: Seen) -> dict[str, Any]:
    letter = found.letter
    record = dataclasses.replace(letter.record, headers=letter.headers)
    return {
        "where": letter.where,
        "stage": letter.stage,
        "report": None if letter.report is None else dataclasses.asdict(letter.report),
        **document(dataclasses.replace(seen, record=record)),
        "next": advice(letter),
        "others": found.others,
    }


def _lines(letter: DeadLetter, seen: Seen) -> Iterator[str]:
    yield from _report_lines(letter)
    yield _field("key", key_text(letter.record.key))
    if letter.headers:
        yield _field("headers", headers_text(letter.headers))
    yield ""
    yield from _value_lines(seen)
    if letter.report is not None and letter.report.cause:
        yield ""
        yield "cause:"
        yield from (f"  {printable(line)}" for line in letter.report.cause.split("\n"))
    yield ""
    yield "what to try next:"
    yield from (f"  {printable(sentence)}" for sentence in advice(letter))


def _report_lines(letter: DeadLetter) -> Iterator[str]:
    record, report = letter.record, letter.report
    yield f"dead letter {letter.where} of the topic {record.source.topic}"
    if report is None:
        return
    model = None if report.model is None else f"{report.model}, prompt {report.prompt or '-'}"
    tokens = f"{_number(report.input_tokens)} in, {_number(report.output_tokens)} out"
    facts = {
        "event": report.event_id,
        "tenant": report.tenant,
        "kind": report.kind,
        "message": report.message,
        "step": report.step,
        "failed": time_text(letter.failed_at),
        "source": f"{letter.source} of {time_text(report.timestamp) or 'an unknown time'}",
        "attempts": report.attempts,
        "model": model,
        "tokens": tokens if report.attempts else None,
        "cost": f"{report.cost.normalize():f} USD" if report.cost is not None else None,
        "group": report.group,
        "version": report.app_version,
    }
    yield from (_field(name, str(value)) for name, value in facts.items() if value is not None)


def _value_lines(seen: Seen) -> Iterator[str]:
    if seen.problem is not None:
        raw = seen.record.value or b""
        yield f"value ({len(raw):,} bytes) can't be decoded: {printable(seen.problem)}"
        yield f"  {excerpt(raw, _HEX_SHOWN)}"
    elif seen.value is None:
        yield "value: none (a tombstone)"
    else:
        yield "value:" if seen.schema_id is None else f"value (schema {seen.schema_id}):"
        yield from (f"  {line}" for line in json_text(seen.value, indent=2).split("\n"))


def _field(name: str, value: str) -> str:
    lines = [printable(line) for line in value.split("\n")]
    return f"{name:<{_INDENT}}" + ("\n" + " " * _INDENT).join(lines)


def _number(count: int | None) -> str:
    return "unknown" if count is None else f"{count:,}"
