"""`eventmill doctor` where no server needs to be asked: what it shows, and its exit code."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eventmill.cli import app


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Write a pipeline file with two mistakes."""
    file = tmp_path / "pipeline.yaml"
    file.write_text("pipeline: p\nstages:\n  a: {input: mails, result: missing.avsc}\n  b: {input: mails}\n")
    return file


def test_a_broken_pipeline_fails_line_by_line_beside_what_is_well(broken: Path) -> None:
    """Each mistake is a finding with its line; the machine is judged all the same; exit code 1."""
    done = CliRunner().invoke(app, ["doctor", str(broken)])
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("ok    python")]
    mistakes = [line for line in lines if line.startswith("fail  pipeline")]
    assert len(mistakes) == 2
    assert "pipeline.yaml:3" in mistakes[0]
    assert "2 failed" in done.stderr


def test_json_has_the_findings_and_their_count(broken: Path) -> None:
    """Scripts read whether all is well, how much is not, and what to do about it."""
    done = CliRunner().invoke(app, ["doctor", str(broken), "--json"])
    document = json.loads(done.stdout)
    assert (done.exit_code, document["ok"], document["counts"]["fail"]) == (1, False, 2)
    assert {"check", "level", "detail", "hint"} == set(document["findings"][0])
    assert done.stderr == ""


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """One line, no trace."""
    done = CliRunner().invoke(app, ["doctor", str(tmp_path / "nowhere.yaml")])
    assert done.exit_code == 1
    assert "nowhere.yaml: the file can't be read" in done.stdout
    assert "Traceback" not in done.output
