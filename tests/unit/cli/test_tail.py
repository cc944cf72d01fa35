"""`eventmill tail`: what a name means, and wrong use told before Kafka is asked."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from eventmill.cli import app
from eventmill.cli.connection import find_pipeline
from eventmill.cli.tail import named_topic

EXAMPLE = Path(__file__).parents[3] / "examples" / "support-mail" / "pipeline.yaml"


@pytest.mark.parametrize(
    ("name", "topic"),
    [
        ("triage", "support-mail.triage.results"),
        ("triage.costs", "support-mail.triage.costs"),
        ("escalate.dlq", "support-mail.escalate.dlq"),
        ("mails", "mails"),
        ("triage.nix", "triage.nix"),
        ("nix.costs", "nix.costs"),
        ("support-mail.triage.dlq", "support-mail.triage.dlq"),
    ],
)
def test_a_name_means_a_stages_topic_or_itself(name: str, topic: str) -> None:
    """Without a pipeline always itself."""
    assert named_topic(name, find_pipeline(EXAMPLE)) == topic
    assert named_topic(name, None) == name


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--filter", "event.a =="], "--filter 'event.a ==': unexpected 'end' at column 11"),
        (["--filter", "result.a"], "unknown name 'result'"),
        (["--filter", "meta.nix"], "meta.nix does not exist"),
        (["--from-beginning", "--last", "3"], "--from-beginning and --last contradict each other"),
        (["--max", "0"], "Invalid value for '--max'"),
    ],
)
def test_wrong_use_is_told(arguments: list[str], told: str) -> None:
    """On stderr, with exit code 2."""
    found = CliRunner().invoke(app, ["tail", "mails", "--kafka", "127.0.0.1:1", *arguments])
    assert (found.exit_code, found.stdout) == (2, "")
    assert told in found.stderr


@pytest.mark.parametrize("command", [["tail", "mails"], ["dlq", "list", "-p", str(EXAMPLE)]])
def test_a_kafka_that_is_away_is_told_soon(command: list[str]) -> None:
    """Once, within seconds, exit code 1."""
    found = CliRunner().invoke(app, [*command, "--kafka", "127.0.0.1:1"])
    assert found.exit_code == 1
    assert found.stderr.startswith("error: no Kafka broker answers at 127.0.0.1:1\n")
    assert found.stdout == ""


def test_dead_letters_need_a_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which stages there are is written nowhere else."""
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(app, ["dlq", "list"])
    assert (found.exit_code, found.stdout) == (2, "")
    assert "--pipeline FILE" in found.stderr
