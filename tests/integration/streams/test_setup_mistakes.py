"""What a worker does that can't work: it ends with one message that names the thing and the remedy."""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from checking.evidence import Expect
from digest_pipeline import INPUT, PROMPT, RESULT
from eventmill.dev.addresses import Addresses
from eventmill_connectors.kafka.admin import Topics
from eventmill_schemas.topics import TopicSpec
from scenario import Scenario

PIPELINE = """
routes: {writer: [{provider: openai, model: gpt-5-mini}]}
stages:
  digest:
    input: "{name}.notes"
    event: {id: id}
    result: digest.avsc
    steps: [complete: {route: writer, prompt: digest.md}]
"""
COPYING = """
stages:
  copy:
    input: "{name}.notes"
    event: {id: id}
    result: copy.avsc
    steps: []
"""
COPY = json.dumps(
    {"type": "record", "name": "Copy", "fields": [{"name": "body", "type": "string", "from": "event.body"}]}
)
FILES = {"digest.avsc": RESULT, "digest.md": PROMPT}
OWN_SERVER = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
NOWHERE = "127.0.0.1:9"   # the discard port: nothing listens there


@pytest.fixture
def scenario(tmp_path: Path, addresses: Addresses, unique: str) -> Iterator[Scenario]:
    """Give a pipeline whose topics and schemas do not exist yet."""
    with Scenario(tmp_path, addresses, unique, PIPELINE, FILES) as made:
        yield made


def test_a_worker_that_can_never_work_exits_2_and_names_thing_and_remedy(scenario: Scenario) -> None:
    """Each mistake of the user ends the worker with exit code 2 and one message.

    Missing topics, unknown stage, unknown key in YAML, no model key, a dead letter topic that is too small,
    unregistered and incompatible schemas.
    """
    name, topics = scenario.name, scenario.topics("digest")

    nothing = scenario.worker("digest", environ=OWN_SERVER)
    no_stage = scenario.worker("digets", environ=OWN_SERVER)
    wrong = scenario.folder / "wrong.yaml"
    wrong.write_text(scenario.file.read_text().replace("    event:", "    evnt:"))
    no_key_in_yaml = scenario.worker("digest", "--pipeline", str(wrong), environ=OWN_SERVER)
    without_key = scenario.worker("digest")
    ended = {
        nothing: (f"{name}.notes", topics.dlq, "missing in Kafka", "`eventmill apply`"),
        no_stage: ("'digets'", "digest"),
        no_key_in_yaml: ("wrong.yaml:8:", "evnt", "event"),
        without_key: ("OPENAI_API_KEY", "gpt-5-mini", "OPENAI_BASE_URL"),
    }
    for worker in ended:
        assert worker.code() == 2, worker.text

    found = Topics({"bootstrap.servers": scenario.addresses.bootstrap})
    small = TopicSpec(topics.dlq, 2, {"max.message.bytes": "1000"})
    found.create([small, *(TopicSpec(topic, 2) for topic in (f"{name}.notes", topics.results, topics.costs))])
    too_small = scenario.worker("digest", environ=OWN_SERVER)
    assert too_small.code() == 2, too_small.text
    found.configure(topics.dlq, {"max.message.bytes": "4000000"})
    unregistered = scenario.worker("digest", environ=OWN_SERVER)
    assert unregistered.code() == 2, unregistered.text
    scenario.writer(topics.results, INPUT)
    incompatible = scenario.worker("digest", environ=OWN_SERVER)
    ended |= {
        too_small: (topics.dlq, "1000 bytes", "`eventmill apply`"),
        unregistered: (f"{topics.results}-value", "not registered", "`eventmill apply`"),
        incompatible: (f"{topics.results}-value", "not compatible", "`eventmill apply`"),
    }
    assert incompatible.code() == 2, incompatible.text
    for worker, words in ended.items():
        _one_message(worker.text, words)


def test_a_port_that_is_taken_is_named(scenario: Scenario) -> None:
    """A worker whose HTTP port another process has ends with exit code 2, naming the port and the option."""
    scenario.create(2, [f"{scenario.name}.notes"])
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        worker = scenario.worker("digest", "--http-port", str(port), environ=OWN_SERVER)
        assert worker.code() == 2, worker.text
    _one_message(worker.text, (f"127.0.0.1:{port}", "--http-port"))


def test_outputs_with_other_partition_counts_are_written_by_key_and_that_is_said(
    tmp_path: Path, addresses: Addresses, unique: str
) -> None:
    """A result topic with three partitions behind an input with two: nothing is lost or doubled, the log says it."""
    with Scenario(tmp_path, addresses, unique, COPYING, {"copy.avsc": COPY}) as scenario:
        notes, topics = f"{unique}.notes", scenario.topics("copy")
        scenario.create(2, [notes])
        Topics({"bootstrap.servers": addresses.bootstrap}).grow(topics.results, 3)
        writer = scenario.writer(notes, INPUT)
        scenario.produce(notes, ((f"k{i % 9}".encode(), writer.encode({"id": f"{i}", "body": "b"})) for i in range(90)))
        worker = scenario.worker("copy", "--slot", "0")
        scenario.wait(lambda: scenario.settled("copy") >= 90, 40)
        assert worker.stop() == 0
        assert f"{topics.results} has 3 partitions" in worker.text
        assert f"{topics.costs} has" not in worker.text, "what fits is not told"
        partitions = {(record.key(), record.partition()) for record in scenario.read(topics.results)}
        assert len(partitions) == 9, "each key has one partition"
        assert {partition for _, partition in partitions} == {0, 1, 2}
        report = scenario.check("copy", Expect(results=90, dead_letters=0))
        assert report.clean, report


def test_a_worker_whose_broker_or_registry_is_away_exits_1_for_its_supervisor(
    tmp_path: Path, addresses: Addresses, unique: str
) -> None:
    """Not the user's mistake, so the exit code is 1 and a supervisor starts it again; the message names the address."""
    with ExitStack() as running:
        (tmp_path / "broker").mkdir()
        (tmp_path / "registry").mkdir()
        no_broker = Addresses(NOWHERE, addresses.registry, addresses.postgres)
        no_registry = Addresses(addresses.bootstrap, f"http://{NOWHERE}", addresses.postgres)
        first = running.enter_context(Scenario(tmp_path / "broker", no_broker, unique, PIPELINE, FILES))
        real = running.enter_context(Scenario(tmp_path / "registry", addresses, unique, PIPELINE, FILES))
        real.create(2, [f"{unique}.notes"])
        real.file.write_text(real.file.read_text().replace(addresses.registry, no_registry.registry))
        without_broker = first.worker("digest", environ=OWN_SERVER)
        without_registry = real.worker("digest", environ=OWN_SERVER)
        assert without_broker.code() == 1, without_broker.text
        assert without_registry.code() == 1, without_registry.text
        _one_message(without_broker.text, ("no Kafka broker answers", NOWHERE, "eventmill dev up"))
        _one_message(without_registry.text, (NOWHERE,))


def _one_message(text: str, words: tuple[str, ...]) -> None:
    """Ask for one `error:` line with at most one line of remedy behind it, and nothing else."""
    assert "Traceback" not in text, text
    lines = [line for line in text.splitlines() if not line.startswith("{")]   # what is logged before is JSON
    assert [line.startswith("error: ") for line in lines] in ([True], [True, False]), text
    said = re.sub(r"\s+", " ", text)
    for word in words:
        assert word in said, (word, text)
