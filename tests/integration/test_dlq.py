"""`eventmill dlq` against a real broker: what failed is counted, found and shown in full."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from confluent_kafka import Producer
from typer.testing import CliRunner

from eventmill.cli import app
from eventmill.dev.addresses import Addresses
from eventmill_connectors.kafka.admin import Topics
from eventmill_schemas.dead_letter import DeadLetterReport, dead_letter_headers
from eventmill_schemas.topics import TopicSpec

EXAMPLE = Path(__file__).parents[2] / "examples" / "support-mail"
Dlq = Callable[..., Result]


@pytest.fixture
def pipeline(addresses: Addresses, unique: str, tmp_path: Path) -> Path:
    """Make the example pipeline under a name of its own, with the dead letter topics of its stages."""
    Topics({"bootstrap.servers": addresses.bootstrap}).create(
        [TopicSpec(f"{unique}.{stage}.dlq", count) for stage, count in (("triage", 2), ("escalate", 1), ("index", 1))]
    )
    for name in ("schemas", "prompts", "escalate.py"):
        (tmp_path / name).symlink_to(EXAMPLE / name)
    file = tmp_path / "pipeline.yaml"
    file.write_text((EXAMPLE / "pipeline.yaml").read_text().replace("pipeline: support-mail", f"pipeline: {unique}"))
    return file


@pytest.fixture
def dlq(addresses: Addresses, pipeline: Path) -> Dlq:
    """Give a way to run the command."""

    def run(command: str, *arguments: object) -> Result:
        where = ["--kafka", addresses.bootstrap, "--pipeline", str(pipeline)]
        return CliRunner().invoke(app, ["dlq", command, *map(str, arguments), *where])

    return run


def report(number: int, **changes: Any) -> DeadLetterReport:
    """Make the report of the event of this number; it failed in this second."""
    values: dict[str, Any] = {
        "pipeline": "p",
        "stage": "triage",
        "step": "complete",
        "kind": "invalid_reply",
        "message": "the answer does not follow its schema\nsecond line \x1b[31m",
        "cause": "InvalidReply: no\nValidationError: why",
        "retryable": False,
        "topic": "mails",
        "partition": 0,
        "offset": number,
        "timestamp": datetime.fromtimestamp(0, UTC),
        "group": "p.triage",
        "event_id": f"m{number}",
        "tenant": "nordlicht",
        "attempts": 3,
        "input_tokens": 1234,
        "output_tokens": None,
        "cost": Decimal("0.000500000000"),
        "model": "gpt-5-mini",
        "prompt": "triage@1",
        "failed_at": datetime.fromtimestamp(1_800_000_000 + number, UTC),
        "app_version": "0.1.0",
    }
    return DeadLetterReport(**(values | changes))


@pytest.fixture
def bury(addresses: Addresses, unique: str) -> Callable[..., None]:
    """Give a way to write dead letters."""
    producer = Producer({"bootstrap.servers": addresses.bootstrap})

    def write(
        said: DeadLetterReport | None, value: bytes | None = b'{"a": 1}', *, stage: str = "triage", partition: int = 0
    ) -> None:
        original: list[tuple[str, bytes | None]] = [("traceparent", b"00-1"), ("mine", None)]
        headers = original if said is None else dead_letter_headers(original, said)
        producer.produce(f"{unique}.{stage}.dlq", value, b"k-1", partition, headers=headers)
        assert producer.flush(10) == 0

    return write


def test_without_dead_letters_it_says_so(dlq: Dlq) -> None:
    """With exit code 0: nothing failed."""
    done = dlq("list")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "no dead letters\n", "")
    assert json.loads(dlq("list", "--json").stdout) == {"counts": [], "newest": []}


def test_they_are_counted_by_stage_and_kind_and_the_newest_are_listed(dlq: Dlq, bury: Callable[..., None]) -> None:
    """Over all partitions, by the time of the failure."""
    for number in (5, 1, 3):
        bury(report(number), partition=number % 2)
    bury(report(2, kind="undecodable", event_id=None))
    bury(report(4, stage="escalate", kind="step_failed"), stage="escalate")
    bury(None)
    shown = json.loads(dlq("list", "--json").stdout)
    assert [(c["stage"], c["kind"], c["count"]) for c in shown["counts"]] == [
        ("triage", "invalid_reply", 3),
        ("escalate", "step_failed", 1),
        ("triage", "undecodable", 1),
        ("triage", "unknown", 1),
    ]
    assert [one["event_id"] for one in shown["newest"]] == ["m5", "m4", "m3", None, "m1", None]
    first = shown["newest"][0]
    assert (first["where"], first["source"], first["failed_at"]) == (
        "triage/1@0",
        "mails/0@5",
        "2027-01-15T08:00:05+00:00",
    )
    lines = dlq("list", "-n", 2).stdout.splitlines()
    assert lines[0].split() == ["STAGE", "KIND", "COUNT", "NEWEST"]
    assert lines[1].split() == ["triage", "invalid_reply", "3", "2027-01-15T08:00:05.000Z"]
    assert [line.split()[0] for line in lines[6:]] == ["WHERE", "triage/1@0", "escalate/0@0"]
    assert "\x1b" not in "".join(lines)


def test_they_are_chosen_by_stage_and_kind(dlq: Dlq, bury: Callable[..., None]) -> None:
    """Counts and list alike."""
    bury(report(1))
    bury(report(2, kind="undecodable"))
    bury(report(3), stage="escalate")
    for arguments, expected in (
        (["--kind", "undecodable"], ["m2"]),
        (["--stage", "escalate"], ["m3"]),
        (["--stage", "triage", "--kind", "invalid_reply"], ["m1"]),
        (["--kind", "call_failed"], []),
    ):
        shown = json.loads(dlq("list", "--json", *arguments).stdout)
        assert [one["event_id"] for one in shown["newest"]] == expected
        assert sum(count["count"] for count in shown["counts"]) == len(expected)
    assert dlq("list", "--stage", "nix").exit_code == 2


@pytest.mark.parametrize("reference", ["triage/0@0", "m1", "mails/0@1"])
def test_all_of_a_dead_letter_is_shown_by_any_of_its_names(
    dlq: Dlq, bury: Callable[..., None], reference: str
) -> None:
    """Its place, its event, the input record's place; every fact in the text, every value in the JSON."""
    bury(report(1))
    bury(report(2))
    done = dlq("show", reference)
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.stdout
    for fact in (
        "dead letter triage/0@0 of the topic",
        "event       m1",
        "tenant      nordlicht",
        "kind        invalid_reply",
        "message     the answer does not follow its schema\n            second line \\u001b[31m",
        "source      mails/0@1 of 1970-01-01T00:00:00.000Z",
        "attempts    3",
        "model       gpt-5-mini, prompt triage@1",
        "tokens      1,234 in, unknown out",
        "cost        0.0005 USD",
        "key         k-1",
        "headers     traceparent=00-1 mine=<null>",
        'value:\n  {\n    "a": 1\n  }',
        "cause:\n  InvalidReply: no\n  ValidationError: why",
        "what to try next:\n  Make the result schema's docs",
    ):
        assert fact in done.stdout
    shown = json.loads(dlq("show", reference, "--json").stdout)
    assert (shown["where"], shown["value"], shown["key"], shown["others"]) == ("triage/0@0", {"a": 1}, "k-1", [])
    assert shown["headers"] == [["traceparent", "00-1"], ["mine", None]]
    assert (shown["report"]["cost"], shown["report"]["offset"]) == ("0.000500000000", 1)
    assert shown["next"]


def test_the_newest_of_an_event_is_shown_and_the_others_are_named(dlq: Dlq, bury: Callable[..., None]) -> None:
    """An event may fail in several stages."""
    bury(report(1))
    bury(report(1, stage="escalate", kind="step_failed"), stage="escalate")
    done = dlq("show", "m1")
    assert "dead letter escalate/0@0" in done.stdout
    assert "other dead letters of it: triage/0@0" in done.stderr
    assert "dead letter triage/0@0" in dlq("show", "m1", "--stage", "triage").stdout


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "value: none (a tombstone)"),
        (b"\xff\x00", "value (2 bytes) can't be decoded: it is neither framed Avro nor UTF-8 text\n  0xff00"),
        (b"plain", 'value:\n  "plain"'),
    ],
)
def test_a_value_that_is_no_event_is_shown_as_far_as_possible(
    dlq: Dlq, bury: Callable[..., None], value: bytes | None, shown: str
) -> None:
    """It often is the reason why it is here."""
    bury(report(1, kind="undecodable"), value)
    assert shown in dlq("show", "m1").stdout


def test_a_record_of_another_program_is_shown(dlq: Dlq, bury: Callable[..., None]) -> None:
    """As far as it says something."""
    bury(None)
    done = dlq("show", "triage/0@0")
    assert done.exit_code == 0
    assert "another program wrote it" in done.stdout


@pytest.mark.parametrize("reference", ["triage/0@7", "triage/9@0", "nobody", "mails/0@7", "triage/x@0"])
def test_what_is_not_there_is_told(dlq: Dlq, bury: Callable[..., None], reference: str) -> None:
    """With the command that shows what is."""
    bury(report(1))
    done = dlq("show", reference)
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"there is no dead letter {reference}" in done.stderr
    assert "eventmill dlq list" in done.stderr


def test_topics_that_were_never_made_are_told(addresses: Addresses, pipeline: Path, unique: str) -> None:
    """A pipeline that was not applied has no dead letters to list."""
    pipeline.write_text(pipeline.read_text().replace(f"pipeline: {unique}", f"pipeline: {unique}.other"))
    done = CliRunner().invoke(app, ["dlq", "list", "-p", str(pipeline), "--kafka", addresses.bootstrap])
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"has no topic {unique}.other.escalate.dlq" in done.stderr
    assert "eventmill apply" in done.stderr
