"""`eventmill init` without a topic: an example that runs, written over nothing."""

import json
import shlex
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from eventmill.cli import app


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    """Run `eventmill` in this process."""
    return CliRunner().invoke(app, list(arguments))


def test_the_example_passes_check_and_try_as_it_says(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands that it prints, run to the letter: the pipeline is right, and every event has a result."""
    done = run("init", "my shop")
    assert done.exit_code == 0, done.output
    assert "calls cost money" in done.stderr
    commands = [shlex.split(line) for line in done.stdout.partition("next:\n")[2].splitlines()]
    assert [command[0] for command in commands] == ["cd", "eventmill", "eventmill"]
    monkeypatch.chdir(place / commands[0][1])
    checked = run(*commands[1][1:])
    assert checked.exit_code == 0, checked.output
    assert "pipeline my-shop\n" in checked.stdout
    tried = run(*commands[2][1:], "--json")
    assert tried.exit_code == 0, tried.output
    report = json.loads(tried.stdout)
    assert (report["stage"], report["totals"]["results"]) == ("triage", 5)
    assert {event["result"]["category"] for event in report["events"]} <= {"QUESTION", "PROBLEM", "REQUEST", "OTHER"}


def test_labels_are_there_to_begin_with(place: Path) -> None:
    """Every class of the result schema has a few texts."""
    run("init")
    rows = [line.rpartition(",")[2] for line in (place / "labels.csv").read_text().splitlines()[1:]]
    schema = json.loads((place / "schemas/triage.avsc").read_text())
    assert set(rows) == set(schema["fields"][0]["type"]["symbols"])
    assert min(map(rows.count, set(rows))) >= 5


def test_files_that_are_there_stay(place: Path) -> None:
    """A second run writes nothing and names them, exit code 2; --force writes over them."""
    assert run("init").exit_code == 0
    (place / "pipeline.yaml").write_text("mine")
    (place / "labels.csv").unlink()
    again = run("init", "--stage", "sort")
    assert again.exit_code == 2
    assert "pipeline.yaml" in again.stderr
    assert "--force" in again.stderr
    assert (place / "pipeline.yaml").read_text() == "mine"
    assert not (place / "labels.csv").exists()
    assert run("init", "--stage", "sort", "--force").exit_code == 0
    assert "  sort:" in (place / "pipeline.yaml").read_text()


def test_a_script_gets_json_and_mistakes_are_named() -> None:
    """The files that were written; a name that no stage can have; a broker that is away."""
    done = run("init", "new", "--json")
    report = json.loads(done.stdout)
    assert "new/pipeline.yaml" in report["files"]
    assert all(Path(file).is_file() for file in report["files"])
    assert (report["topic"], report["backlog"]) == ("tickets", None)
    wrong = run("init", "other", "--stage", "Not A Name")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert not Path("other").exists()
    bad = run("init", "other", "--topic", "no topic", "--kafka", "127.0.0.1:9")
    assert bad.exit_code == 2
    assert "'no topic'" in bad.stderr
