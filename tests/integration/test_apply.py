"""`eventmill apply` on a real broker and registry: what is made, grown, refused, and left alone."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from eventmill.cli import app
from eventmill.dev.addresses import Addresses
from eventmill_connectors.kafka.admin import Topics, TopicState
from eventmill_connectors.registry import Registered, SchemaRegistry
from eventmill_schemas.topics import TopicSpec

PIPELINE = """
pipeline: {name}
kafka: {{bootstrap: "{kafka}", registry: "{registry}"}}
stages:
  copy: {{input: {name}.in, result: copy.avsc}}
  again: {{input: copy, result: again.avsc}}
"""
COPY: dict[str, Any] = {
    "type": "record",
    "name": "Copy",
    "fields": [{"name": "text", "type": "string", "from": "event.text"}],
}
OUTPUTS = [f"{stage}.{kind}" for stage in ("copy", "again") for kind in ("results", "costs", "dlq")]


@pytest.fixture
def folder(tmp_path: Path, addresses: Addresses, unique: str) -> Path:
    """Write a pipeline of two stages, the second behind the first."""
    text = PIPELINE.format(name=unique, kafka=addresses.bootstrap, registry=addresses.registry)
    (tmp_path / "pipeline.yaml").write_text(text)
    for name in ("copy", "again"):
        (tmp_path / f"{name}.avsc").write_text(json.dumps(COPY))
    return tmp_path


@pytest.fixture
def topics(addresses: Addresses) -> Topics:
    """Look at the cluster."""
    return Topics({"bootstrap.servers": addresses.bootstrap})


@pytest.fixture
def apply(folder: Path) -> Callable[..., Result]:
    """Run `eventmill apply` on the pipeline."""

    def run(*options: str) -> Result:
        return CliRunner().invoke(app, ["apply", str(folder / "pipeline.yaml"), *options], env={"NO_COLOR": "1"})

    return run


def latest(addresses: Addresses, subject: str) -> Registered:
    """Return the newest version of a subject that there must be."""

    async def ask() -> Registered | None:
        registry = SchemaRegistry(addresses.registry)
        try:
            return await registry.latest(subject)
        finally:
            await registry.close()

    found = asyncio.run(ask())
    assert found is not None
    return found


def outputs(topics: Topics, unique: str) -> dict[str, TopicState]:
    """Return the pipeline's own topics, as they are, without its name."""
    found = topics.describe([f"{unique}.{name}" for name in OUTPUTS])
    return {name.removeprefix(f"{unique}."): state for name, state in found.items()}


def test_from_nothing_to_nothing_to_do(
    addresses: Addresses, apply: Callable[..., Result], topics: Topics, unique: str
) -> None:
    """A dry run changes nothing and says what; the run makes it; a second run finds nothing to do."""
    planned = apply("--inputs", "--partitions", "3", "--dry-run", "--json")
    assert planned.exit_code == 0, planned.stderr
    changes = json.loads(planned.stdout)["changes"]
    assert [change["change"] for change in changes] == ["register_schema"] * 4 + ["create_topic"] * 7
    assert outputs(topics, unique) == {}

    done = apply("--inputs", "--partitions", "3")
    assert done.exit_code == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(changes)
    assert "11 changes made" in done.stderr

    made = outputs(topics, unique)
    assert {state.partitions for state in made.values()} == {3}
    limit = topics.describe([f"{unique}.in"])[f"{unique}.in"].max_message_bytes
    assert made["copy.dlq"].max_message_bytes == made["again.dlq"].max_message_bytes == limit + 65_536
    assert "event_id" in latest(addresses, f"{unique}.copy.results-value").schema

    again = apply("--inputs")
    assert (again.exit_code, again.stdout) == (0, "")
    assert "nothing to do" in again.stderr


def test_a_missing_input_is_an_error_that_names_the_flag(
    apply: Callable[..., Result], topics: Topics, unique: str
) -> None:
    """Without --inputs nothing at all is made, and exit code 2 says that it is the user's turn."""
    done = apply()
    assert done.exit_code == 2
    assert f"{unique}.in" in done.stderr
    assert "--inputs" in done.stderr
    assert outputs(topics, unique) == {}


def test_topics_grow_with_their_input_and_dead_letters_with_its_records(
    apply: Callable[..., Result], topics: Topics, unique: str
) -> None:
    """Growing is said loudly, down the whole chain; a topic with more partitions is told and left."""
    topics.create([TopicSpec(f"{unique}.in", 2), TopicSpec(f"{unique}.again.costs", 6)])
    assert apply().exit_code == 0
    topics.grow(f"{unique}.in", 4)
    topics.configure(f"{unique}.in", {"max.message.bytes": "3000000"})
    done = apply()
    assert done.exit_code == 0, done.stderr
    made = outputs(topics, unique)
    assert {name: state.partitions for name, state in made.items()} == {
        name: 6 if name == "again.costs" else 4 for name in OUTPUTS
    }
    assert made["copy.dlq"].max_message_bytes == 3_065_536
    assert "can't be undone" in done.stderr
    assert f"{unique}.again.costs has 6 partitions" in done.stderr
    assert "nothing to do" in apply().stderr


def test_an_incompatible_schema_is_refused_with_the_registrys_reason(
    apply: Callable[..., Result], folder: Path, topics: Topics, unique: str
) -> None:
    """Nothing is changed, not even what could be; the reason names the field; a dry run finds it too."""
    assert apply("--inputs").exit_code == 0
    topics.grow(f"{unique}.in", 9)
    changed = {**COPY, "fields": [{"name": "title", "type": "string", "from": "event.text"}]}
    (folder / "copy.avsc").write_text(json.dumps(changed))
    for options in (["--dry-run"], []):
        done = apply(*options)
        assert done.exit_code == 2
        assert f"{unique}.copy.results-value" in done.stderr
        assert "nothing was changed" in done.stderr
    assert "title" in done.stderr
    assert {state.partitions for state in outputs(topics, unique).values()} == {8}
    document = json.loads(apply("--json").stdout)
    assert document["applied"] == 0
    assert "title" in document["problems"][0]["message"]


def test_a_compatible_change_is_a_new_version_and_transitively_checked(
    addresses: Addresses, apply: Callable[..., Result], folder: Path, unique: str
) -> None:
    """A field with a default is a second version; one that only the second version could be read with is refused."""
    assert apply("--inputs").exit_code == 0
    first = COPY["fields"][0]
    more = {"name": "more", "type": ["null", "string"], "default": None}
    (folder / "copy.avsc").write_text(json.dumps({**COPY, "fields": [first, more]}))
    done = apply()
    assert (done.exit_code, "a new version after 1" in done.stdout) == (0, True)
    assert latest(addresses, f"{unique}.copy.results-value").version == 2
    required = {"name": "more", "type": ["null", "string"]}  # readable from version 2, not from version 1
    (folder / "copy.avsc").write_text(json.dumps({**COPY, "fields": [first, required]}))
    assert apply().exit_code == 2


@pytest.mark.parametrize(
    ("kafka", "registry", "message"),
    [("127.0.0.1:9", None, "no Kafka broker answers at 127.0.0.1:9"), (None, "http://127.0.0.1:9", "registry")],
)
def test_what_is_away_is_named(
    addresses: Addresses,
    apply: Callable[..., Result],
    folder: Path,
    unique: str,
    kafka: str | None,
    registry: str | None,
    message: str,
) -> None:
    """A broker or a registry that does not answer is one message with its address and exit code 1."""
    (folder / "pipeline.yaml").write_text(
        PIPELINE.format(name=unique, kafka=kafka or addresses.bootstrap, registry=registry or addresses.registry)
    )
    done = apply("--inputs")
    assert done.exit_code == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_partitions_alone_would_do_nothing(apply: Callable[..., Result]) -> None:
    """--partitions without --inputs is an error, not an option without effect."""
    done = apply("--partitions", "3")
    assert done.exit_code == 2
    assert "--inputs" in done.stderr
