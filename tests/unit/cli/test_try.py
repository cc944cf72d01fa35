"""`eventmill try` as a person at a terminal and a script meet it, without Kafka: the stand-in answers."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pytest
from click.testing import Result
from typer.testing import CliRunner

from eventmill.cli import app

PIPELINE = """
pipeline: shop
kafka: {bootstrap: "127.0.0.1:9", registry: "http://127.0.0.1:9"}
routes: {writer: [{provider: openai, model: gpt-5-mini}]}
stages:
  read:
    input: notes
    event: {id: id}
    when: "event.body != ''"
    result: mood.avsc
    steps:
      - complete: {route: writer, prompt: read.md}
  json:
    input: lines
    format: json
    result: mood.avsc
    steps:
      - complete: {route: writer, prompt: read.md, fields: [summary]}
      - python: "NAME:tell"
  next:
    input: read
    result: copy.avsc
"""
MOOD = """
{"type": "record", "name": "Mood", "fields": [
  {"name": "summary", "type": "string", "doc": "What is said, in one sentence."},
  {"name": "told", "type": ["null", "string"], "default": null}
]}
"""
COPY = """
{"type": "record", "name": "Copy", "fields": [{"name": "text", "type": "string", "from": "event.summary"}]}
"""
EVENT = """
{"type": "record", "name": "Event", "fields": [
  {"name": "id", "type": "string"}, {"name": "body", "type": "string"},
  {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}
]}
"""
AT = "2026-09-14T06:12:40Z"
TELL = """
def tell(event, so_far, call):
    print("printed by a step")
    return {"told": so_far["summary"].upper()}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unique: str) -> Path:
    """Give a folder with a pipeline and events, as the current one."""
    files = {
        "pipeline.yaml": PIPELINE.replace("NAME", unique),
        f"{unique}.py": TELL,
        "mood.avsc": MOOD,
        "copy.avsc": COPY,
        "event.avsc": EVENT,
        "read.md": "---\nversion: '7'\n---\n# System\nRead carefully.\n# User\n{{ event.body | data }}",
        "events.jsonl": "".join(
            json.dumps({"id": f"n{number}", "body": body, "at": AT}) + "\n"
            for number, body in enumerate(["The lamp is broken.", "", "[[stand-in:invalid]] Oh.", "Thanks.", "5", "6"])
        ),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trying(*arguments: str, given: str | None = None) -> Result:
    """Run `eventmill try` in this process."""
    return CliRunner().invoke(app, ["try", *arguments], input=given)


def test_everything_about_an_event_is_shown(folder: Path) -> None:
    """Prompt, reply, validation, fields, tokens and price; a skip; a dead letter with its reason; a total."""
    done = trying("read", "--from", "events.jsonl", "--schema", "event.avsc", "--stand-in", "--events", "3")
    assert done.exit_code == 1, done.output   # one of them would be a dead letter
    first, second, third, end = done.stdout.split("\n\n")
    for part in (
        "n0  events.jsonl:1",
        "step complete: openai gpt-5-mini, prompt read@7",
        "    | Read carefully.",
        "    | The lamp is broken.",
        '    |   "summary": "The lamp is broken.',
        "tokens in and",
        "USD",
        "    valid: it follows the schema",
        '    summary  "The lamp is broken.',
    ):
        assert part in first, part
    assert second == "n1  events.jsonl:2\n  skipped: `when` is false"
    assert "    system: as above" in third
    assert "    not usable: the answer does not follow its schema" in third
    assert "  DEAD LETTER invalid_reply in step complete" in third
    assert end.startswith("3 events: 1 result, 1 dead letter, 1 skipped; 2 model calls, ")
    assert "stand-in in this process" in done.stderr
    assert "nobody pays the amounts shown" in done.stderr


def test_json_has_all_of_it_and_adds_up(folder: Path) -> None:
    """One document on stdout; the total is the exact sum of what each attempt cost."""
    done = trying("read", "--from", "events.jsonl", "--schema", "event.avsc", "--stand-in", "--json")
    report = json.loads(done.stdout)
    assert [event["outcome"] for event in report["events"]] == ["result", "skipped", "dead_letter", "result", "result"]
    calls = [call for event in report["events"] for call in event["calls"]]
    assert [call["problem"] is None for call in calls] == [True, False, True, True]
    assert calls[0]["user"].count("The lamp is broken.") == 1
    assert json.loads(calls[0]["reply"])["summary"]
    assert report["events"][2]["dead_letter"]["kind"] == "invalid_reply"
    totals = report["totals"]
    assert Decimal(totals["cost"]) == sum(Decimal(call["cost"]) for call in calls) > 0
    assert totals["input_tokens"] == sum(call["input_tokens"] for call in calls)
    assert (totals["events"], totals["attempts"], totals["unknown"]) == (5, 4, 0)
    assert report["models"] == [{"provider": "openai", "model": "gpt-5-mini", "address": None, "stand_in": True}]


def test_what_a_step_prints_is_kept_apart(folder: Path) -> None:
    """Standard input gives events of a JSON stage, and stdout stays one JSON document."""
    lines = "".join(f'{{"body": "Line {number}."}}\n' for number in range(2))
    done = trying("json", "--from", "-", "--stand-in", "--json", given=lines)
    assert done.exit_code == 0, done.output
    events = json.loads(done.stdout)["events"]
    assert [event["result"]["told"] for event in events] == ["LINE 0.", "LINE 1."]
    assert [event["place"] for event in events] == ["standard input:1", "standard input:2"]
    assert done.stderr.count("printed by a step") == 2


def test_a_stage_behind_another_needs_no_schema(folder: Path) -> None:
    """Its events are the results of the stage before, whose schema is known; no model is asked, nothing is paid."""
    result = {"event_id": "n0", "summary": "Broken.", "source_topic": "notes", "source_partition": 0}
    result |= {"source_offset": 3, "processed_at": AT}
    done = trying("next", "--from", "-", "--json", given=json.dumps(result))
    assert done.exit_code == 0, done.output
    (event,) = json.loads(done.stdout)["events"]
    assert (event["event_id"], event["result"]["text"], event["cost"]) == ("n0", "Broken.", "0")


def test_a_file_with_a_schema_of_its_own_needs_no_other(folder: Path) -> None:
    """An Avro file is tried without a registry; the event's place is its record."""
    schema = json.loads(EVENT)
    with (folder / "events.avro").open("wb") as file:
        fastavro.writer(file, schema, [{"id": "n7", "body": "From Avro.", "at": 0}])
    done = trying("read", "--from", "events.avro", "--stand-in", "--json")
    assert done.exit_code == 0, done.output
    (event,) = json.loads(done.stdout)["events"]
    assert (event["event_id"], event["place"]) == ("n7", "events.avro: record 1")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["read"], 2, "--from FILE"),
        (["read", "--from", "events.jsonl", "--last", "2"], 2, "--last N"),
        (["read", "--last", "2", "--schema", "event.avsc"], 2, "--schema is for events of a file"),
        (["nobody", "--from", "events.jsonl"], 2, "Its stages: read, json, next"),
        (["read", "--from", "nothing.jsonl", "--schema", "event.avsc", "--stand-in"], 2, "nothing.jsonl"),
        (["read", "--from", "broken.jsonl", "--schema", "event.avsc", "--stand-in"], 2, "broken.jsonl:2: "),
        (["read", "--from", "empty.jsonl", "--schema", "event.avsc", "--stand-in"], 2, "has no events"),
        (["read", "--from", "events.jsonl", "--schema", "event.avsc", "--key", "k", "--stand-in"], 2, "--key k"),
        (["json", "--from", "events.jsonl", "--schema", "event.avsc", "--stand-in"], 2, "Leave out `--schema`"),
        (["read", "--from", "events.jsonl", "--schema", "event.avsc"], 2, "OPENAI_API_KEY is not set"),
        (["read", "--from", "events.jsonl", "--stand-in"], 1, "--schema FILE.avsc"),
        (["read", "--from", "events.jsonl", "-p", "other.yaml"], 2, "other.yaml"),
    ],
)
def test_mistakes_are_told_before_anything_is_asked(
    folder: Path, arguments: list[str], code: int, words: str
) -> None:
    """Exit code, one message that names the thing, nothing on stdout, no traceback."""
    (folder / "broken.jsonl").write_text(f'{{"id": "n0", "body": "b", "at": "{AT}"}}\nnot JSON\n')
    (folder / "empty.jsonl").write_text("\n")
    done = trying(*arguments)
    assert (done.exit_code, done.stdout) == (code, ""), done.output
    assert words in done.stderr
    assert "Traceback" not in done.output


def test_a_server_that_is_away_is_an_error_and_not_an_events(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker would wait at the door; who tries wants to know. Exit code 1, and the address is named before."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    done = trying("read", "--from", "events.jsonl", "--schema", "event.avsc")
    assert done.exit_code == 1
    assert "calls cost money" in done.stderr
    assert "error: " in done.stderr
    assert "127.0.0.1:9" in done.stderr
    assert "DEAD LETTER" not in done.output


@contextmanager
def started(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Run `eventmill try` as a process; it is killed if it says nothing for ever, so that reading ends."""
    command = [sys.executable, "-m", "eventmill.cli", "try", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    watchdog = threading.Timer(90, process.kill)
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def told(process: "subprocess.Popen[str]", words: str) -> list[str]:
    """Return what is said until a line with `words` comes."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if words in line:
            return lines
    raise AssertionError(f"{words!r} was not said, but {''.join(lines)}")


def document(process: "subprocess.Popen[str]") -> Any:
    """Return the next round."""
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def test_saving_a_file_tries_again(folder: Path) -> None:
    """Prompt, module, YAML, events: each save shows the new outcome, written in place or renamed.

    A YAML that is broken is told with its line, and mended by the next save. Ctrl-C ends with 130 and without noise.
    """
    arguments = ("json", "--from", "lines.jsonl", "--stand-in", "--watch", "--json")
    (folder / "lines.jsonl").write_text('{"body": "One."}\n')
    module = next(folder.glob("*.py"))
    with started(*arguments) as process:
        assert document(process)["events"][0]["result"]["told"] == "ONE."
        told(process, "watching")

        (folder / "read.md~").write_text("# System\nRead it twice.\n# User\n{{ event.body }}")
        (folder / "read.md~").rename(folder / "read.md")
        assert "Read it twice." in document(process)["events"][0]["calls"][0]["system"]
        told(process, "watching")

        module.write_text(TELL.replace("upper", "lower"))
        assert document(process)["events"][0]["result"]["told"] == "one."
        assert any("all 3 rounds: 3 events" in line for line in told(process, "watching"))

        good = (folder / "pipeline.yaml").read_text()
        (folder / "pipeline.yaml").write_text(good.replace("stages:", "stagse:"))
        assert any("pipeline.yaml:5" in line for line in told(process, "watching"))
        (folder / "pipeline.yaml").write_text(good.replace("pipeline: shop", "pipeline: mended"))
        assert document(process)["pipeline"] == "mended"
        told(process, "watching")

        (folder / "lines.jsonl").write_text('{"body": "Another."}\n')
        assert document(process)["events"][0]["result"]["told"] == "another."
        told(process, "watching")
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=20)
        assert (process.returncode, out, errors) == (130, "", "")


def test_ctrl_c_ends_a_call_that_is_not_answered(folder: Path) -> None:
    """Exit code 130 at once and without noise, also while the loop is only being made."""
    (folder / "lines.jsonl").write_text('{"body": "[[stand-in:timeout]]"}\n')
    with started("json", "--from", "lines.jsonl", "--stand-in") as process:
        told(process, "stand-in in this process")
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=20)
    assert (process.returncode, out, errors) == (130, "", "")
