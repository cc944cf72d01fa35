"""The commands as a script uses them: exit codes, data on stdout and messages on stderr, JSON, colours, pipes."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from digest_pipeline import COPY, INPUT
from eventmill.dev.addresses import Addresses
from worker_process import until

PIPELINE = """
pipeline: {name}
kafka: {{bootstrap: "${{KAFKA}}", registry: "${{REGISTRY}}"}}
stages:
  copy:
    input: {name}.notes
    event: {{id: id}}
    result: copy.avsc
    steps: []
"""
FIELDS = COPY.replace("event.note", "event.id").replace("event.summary", "event.body")
EVENTS = 20


class Place:
    """A folder with a pipeline in it, and the command line there."""

    def __init__(self, folder: Path, addresses: Addresses, name: str) -> None:
        """Write the files."""
        self.folder, self.name = folder, name
        self.environ = {
            "PATH": "/usr/bin:/bin",
            "TERM": "xterm",
            "KAFKA": addresses.bootstrap,
            "REGISTRY": addresses.registry,
        }
        (folder / "pipeline.yaml").write_text(PIPELINE.format(name=name))
        (folder / "copy.avsc").write_text(FIELDS)
        (folder / "note.avsc").write_text(INPUT)
        (folder / "notes.jsonl").write_text("".join(f'{{"id": "n{i}", "body": "Note {i}"}}\n' for i in range(EVENTS)))

    def start(self, *arguments: str, **more: Any) -> "subprocess.Popen[str]":
        """Start a command."""
        return subprocess.Popen(
            [sys.executable, "-m", "eventmill.cli", *arguments],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )

    def run(self, *arguments: str, given: str | None = None) -> tuple[int, str, str]:
        """Run a command to its end: exit code, stdout, stderr."""
        process = self.start(*arguments, stdin=subprocess.PIPE)
        out, err = process.communicate(given, 60)
        return process.returncode, out, err

    def data(self, *arguments: str) -> Any:
        """Run a command that must do its work, and read the one JSON document on its stdout."""
        code, out, err = self.run(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
def place(tmp_path: Path, addresses: Addresses, unique: str) -> Place:
    """Give a folder with a pipeline of unique names."""
    return Place(tmp_path, addresses, unique)


def test_a_script_drives_a_pipeline_by_json_alone(place: Place) -> None:
    """From check to lag each command prints one JSON document, and lines of JSON where records are shown.

    A second apply has nothing to do, a run that is interrupted leaves with 0, and what was said went to stderr.
    """
    stage = place.data("check")["stages"]["copy"]
    assert stage["topics"]["results"] == f"{place.name}.copy.results"
    planned = place.data("apply", "--inputs", "--partitions", "3", "--dry-run")
    made = place.data("apply", "--inputs", "--partitions", "3")
    assert (planned["applied"], made["applied"]) == (0, len(made["changes"])) == (0, 6)
    assert planned["changes"] == made["changes"]
    assert place.data("apply")["changes"] == []
    arguments = ("--schema", "note.avsc", "--key", "id", "--id", "id")
    produced = place.data("produce", f"{place.name}.notes", "--from", "notes.jsonl", *arguments)
    assert produced["events"] == EVENTS
    doctor = place.data("doctor")
    assert doctor["ok"]
    assert {finding["level"] for finding in doctor["findings"]} <= {"ok", "warn"}

    before = place.data("lag")
    run = place.start("run", "--logs", "logs", "--shutdown-timeout", "5")
    try:
        until(lambda: _left(place.data("lag")) == 0, 120)
    finally:
        run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=40)
    assert (run.returncode, out) == (0, "")
    assert "running copy.0" in err
    assert _left(before) == EVENTS

    code, out, err = place.run("tail", "copy", "--from-beginning", "--no-follow", "--json")
    assert (code, err) == (0, "")
    records = [json.loads(line) for line in out.splitlines()]
    assert sorted(record["value"]["note"] for record in records) == sorted(f"n{i}" for i in range(EVENTS))
    assert place.data("dlq", "list") == {"counts": [], "newest": []}


def _left(lag: Any) -> int:
    found: int = lag["groups"][0]["total"]["backlog"]
    return found


def test_mistakes_exit_2_and_outages_exit_1_with_nothing_on_stdout(place: Place) -> None:
    """Whatever is asked wrongly: exit code 2 (1 for a server that is away), one message that names it, no traceback."""
    (place.folder / "bad.jsonl").write_text('{"id": "n1", "body": "b"}\nnot JSON\n')
    (place.folder / "wrong.yaml").write_text("pipeline: p\nstages: {}\nrouts: {}\n")
    assert place.run("apply", "--inputs")[0] == 0
    notes = f"{place.name}.notes"
    asked: Mapping[tuple[str, ...], tuple[int, str]] = {
        ("check", "missing.yaml"): (2, "missing.yaml"),
        ("check", "wrong.yaml"): (2, "wrong.yaml:3"),
        ("apply", "--partitions", "3"): (2, "--inputs"),
        ("lag", "--group"): (2, "--group"),
        ("nonsense",): (2, "nonsense"),
        ("worker", "nobody"): (2, "nobody"),
        ("run", "--replicas", "nobody=2"): (2, "no stage 'nobody'"),
        ("run", "--replicas", "copy"): (2, "--replicas copy is not STAGE=N"),
        ("produce", notes, "--from", "bad.jsonl", "--schema", "note.avsc"): (2, "bad.jsonl:2"),
        ("produce", f"{place.name}.none", "--from", "notes.jsonl", "--schema", "note.avsc"): (2, f"{place.name}.none"),
        ("tail", f"{place.name}.none", "--no-follow"): (2, f"{place.name}.none"),
        ("tail", "copy", "--no-follow", "--filter", "event."): (2, "--filter"),
        ("dlq", "list", "--stage", "nobody"): (2, "nobody"),
        ("lag", "--kafka", "127.0.0.1:9", "--group", "g"): (1, "127.0.0.1:9"),
        ("tail", "topic", "--kafka", "127.0.0.1:9", "--no-follow"): (1, "127.0.0.1:9"),
    }
    for some in _in_threes(list(asked)):
        running = {arguments: place.start(*arguments, stdin=subprocess.DEVNULL) for arguments in some}
        for arguments, process in running.items():
            out, err = process.communicate(timeout=60)
            code, word = asked[arguments]
            assert (process.returncode, out) == (code, ""), (arguments, out, err)
            assert word in err, (arguments, err)
            assert "Traceback" not in err, (arguments, err)


def _in_threes(items: list[tuple[str, ...]]) -> Iterator[list[tuple[str, ...]]]:
    """Start not all at once: each is an interpreter that reads its modules."""
    return (items[start : start + 3] for start in range(0, len(items), 3))


def test_colours_are_for_terminals_that_want_them(place: Place) -> None:
    """On a terminal an error is coloured, with NO_COLOR set or TERM=dumb it is not, and never in a pipe."""
    assert "\x1b[" in _on_terminal(place, {})
    for setting in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        plain = _on_terminal(place, setting)
        assert "error: " in plain
        assert "\x1b" not in plain
    assert "\x1b" not in place.run("check", "missing.yaml")[2]


def _on_terminal(place: Place, setting: Mapping[str, str]) -> str:
    """Return what a failing command writes to a terminal."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "eventmill.cli", "check", "missing.yaml"],
        cwd=place.folder,
        env={**place.environ, **setting},
        stdin=its,
        stdout=its,
        stderr=its,
    )
    os.close(its)
    written = b""
    try:
        while part := os.read(ours, 4096):
            written += part
    except OSError:   # Linux says so when the last writer of a terminal is gone
        assert process.wait(20) == 2
    finally:
        os.close(ours)
    return written.decode()


def test_interrupting_and_closing_the_pipe_end_a_command_quietly(place: Place) -> None:
    """Ctrl-C in a command that follows gives exit code 130; a reader that goes away early, as `head` does, no noise."""
    assert place.run("apply", "--inputs")[0] == 0
    many = (place.folder / "notes.jsonl").read_text() * 500   # more than a pipe holds
    produced = place.run("produce", f"{place.name}.notes", "--from", "-", "--schema", "note.avsc", given=many)
    assert produced[0] == 0, produced[2]
    following = place.start("tail", f"{place.name}.notes", "--json")
    assert following.stdout is not None
    assert json.loads(following.stdout.readline())["topic"] == f"{place.name}.notes"
    following.send_signal(signal.SIGINT)
    err = following.communicate(timeout=20)[1]
    assert (following.returncode, "Traceback" in err) == (130, False), err

    reading = place.start("tail", f"{place.name}.notes", "--from-beginning", "--no-follow", "--json")
    assert reading.stdout is not None
    assert reading.stdout.readline()
    reading.stdout.close()
    assert reading.stderr is not None
    err = reading.stderr.read()
    reading.wait(20)
    reading.stderr.close()
    assert err == ""
