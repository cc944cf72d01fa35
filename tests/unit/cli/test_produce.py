"""`eventmill produce` used wrongly: told before Kafka is asked."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from eventmill.cli import app

ROOT = Path(__file__).parents[3]
MAILS = str(ROOT / "examples" / "support-mail" / "mails.jsonl")
NOWHERE = ("--kafka", "127.0.0.1:1")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["mails", "--from", "nix.jsonl"], "error: nix.jsonl: the file can't be read: No such file or directory"),
        (["mails", "--from", "mails"], "error: mails: the name does not say what format it has"),
        (["a b", "--from", MAILS], "error: the topic 'a b' has characters other than"),
        (["mails", "--from", MAILS, "--partitions", "3"], "error: --partitions is for a topic that is created"),
        (["mails", "--from", MAILS, "--map", "id"], "error: --map id: this is not FIELD=COLUMN"),
        (["mails", "--from", MAILS, "--encoding", "nix"], "error: there is no text encoding 'nix'"),
        (["mails", "--from", MAILS, "--repeat", "2", "--events", "9"], "error: --repeat and --events both say"),
        (["mails", "--from", "-", "--repeat", "2"], "error: standard input can't be read again"),
        (["mails", "--from", MAILS, "--schema", "nix.avsc"], "error: nix.avsc: the schema can't be read"),
        (
            ["mails", "--from", MAILS, "--schema", "nix.avsc", "--value-format", "json"],
            "error: a schema is for Avro values",
        ),
        (["mails"], "Missing option '--from'"),
        (["mails", "--from", MAILS, "--rate", "0"], "Invalid value for '--rate'"),
    ],
)
def test_wrong_use_is_told(arguments: list[str], told: str) -> None:
    """On stderr, with exit code 2, and not after a time-out."""
    found = CliRunner().invoke(app, ["produce", *arguments, *NOWHERE])
    assert (found.exit_code, found.stdout) == (2, "")
    assert told in found.stderr
    assert "Traceback" not in found.stderr


def test_a_kafka_that_is_away_is_told_soon() -> None:
    """Within seconds, with what to do, exit code 1."""
    found = CliRunner().invoke(app, ["produce", "mails", "--from", MAILS, *NOWHERE])
    assert found.exit_code == 1
    assert found.stderr.startswith("error: no Kafka broker answers at 127.0.0.1:1\nStart it")
