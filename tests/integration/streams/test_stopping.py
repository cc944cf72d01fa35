"""How a worker stops: it drains, or exits at once when told twice; a slot's partitions wait for it or are given up."""

import json
import signal
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from confluent_kafka.admin import AdminClient

from checking.evidence import Expect
from digest_pipeline import INPUT, PROMPT, RESULT
from eventmill.dev.addresses import Addresses
from scenario import ModelServer, Scenario
from worker_process import WorkerProcess, until

PIPELINE = """
routes: {writer: [{provider: openai, model: gpt-5-mini}]}
stages:
  digest:
    input: "{name}.notes"
    event: {id: id}
    result: digest.avsc
    steps: [complete: {route: writer, prompt: digest.md}]
    in_flight: 20
"""
FILES = {"digest.avsc": RESULT, "digest.md": PROMPT}


def _scenario(tmp_path: Path, addresses: Addresses, name: str, events: int, latency: str) -> Scenario:
    scenario = Scenario(tmp_path, addresses, name, PIPELINE, FILES)
    notes = f"{name}.notes"
    scenario.create(4, inputs=[notes])
    scenario.model = ModelServer("--latency", latency)
    writer = scenario.writer(notes, INPUT)
    notes_of = ({"id": f"n{i}", "body": f"Note {i} about {i * 7919}."} for i in range(events))
    scenario.produce(notes, ((note["id"].encode(), writer.encode(note)) for note in notes_of))
    return scenario


def test_sigterm_finishes_the_calls_in_flight_and_repeats_none(
    tmp_path: Path, addresses: Addresses, unique: str
) -> None:
    """SIGTERM while 20 calls of 2 s are in flight: they finish, are committed, and the exit code is 0.

    The next worker of the slot does the rest. The model's ledger holds each of the 60 events once.
    """
    with _scenario(tmp_path, addresses, unique, 60, "fixed:2") as scenario:
        worker = scenario.worker("digest", "--slot", "0").open()
        until(lambda: worker.health()["in_flight"] == 20, 20)
        worker.signal()
        worker.says("draining", 10)
        assert worker.code(30) == 0, worker.text
        drained = scenario.settled("digest")
        assert 20 <= drained < 60, "what was in flight is finished, what was not begun is left"
        assert '"abandoned": 0' in worker.text, worker.text
        scenario.worker("digest", "--slot", "0")
        scenario.wait(lambda: scenario.settled("digest") >= 60, 40)
        report = scenario.check("digest", Expect(results=60, dead_letters=0))
        assert report.clean, report
        assert set(_calls(scenario).values()) == {1}


def test_a_drain_that_is_too_long_is_cut_and_a_second_signal_ends_it_at_once(
    tmp_path: Path, addresses: Addresses, unique: str
) -> None:
    """Calls of 30 s: --shutdown-timeout 1 leaves them behind with exit code 0; a second SIGTERM exits with 143.

    Nothing is settled, so nothing is lost: the next owner begins again.
    """
    with _scenario(tmp_path, addresses, unique, 10, "fixed:30") as scenario:
        short = scenario.worker("digest", "--slot", "0", "--shutdown-timeout", "1").open()
        until(lambda: short.health()["in_flight"] > 0, 20)
        assert short.stop(25) == 0
        assert "drained" in short.text
        assert '"abandoned": 0' not in short.text

        long = scenario.worker("digest", "--slot", "0", "--shutdown-timeout", "300").open()
        until(lambda: long.health()["in_flight"] > 0, 20)
        for _ in range(2):   # within a second: one wish, which reaches a process twice when its group is signalled
            long.signal()
        long.says("draining", 10)
        until(lambda: _seconds_since_stopping(long) > 1.2, 10)
        assert not long.ended
        long.signal()
        assert long.code(5) == 128 + signal.SIGTERM
        assert "second signal" in long.text
        assert scenario.settled("digest") == 0


def test_a_slot_keeps_its_place_in_the_group_unless_told_to_leave(
    tmp_path: Path, addresses: Addresses, unique: str
) -> None:
    """After a plain SIGTERM the group still has the member, so a restart moves no partition; --leave removes it."""
    with _scenario(tmp_path, addresses, unique, 5, "fixed:0.02") as scenario:
        staying = scenario.worker("digest", "--slot", "0").open()
        scenario.wait(lambda: scenario.settled("digest") >= 5, 30)
        assert staying.stop() == 0
        assert _members(scenario) == {f"{unique}.digest.0"}
        leaving = scenario.worker("digest", "--slot", "0", "--leave").open()
        assert leaving.stop() == 0
        until(lambda: not _members(scenario), 5, lambda: str(_members(scenario)))


def _members(scenario: Scenario) -> set[str | None]:
    admin = AdminClient({"bootstrap.servers": scenario.addresses.bootstrap})
    group = admin.describe_consumer_groups([f"{scenario.name}.digest"])[f"{scenario.name}.digest"].result(10)
    return {member.group_instance_id for member in group.members}


def _calls(scenario: Scenario) -> Counter[str]:
    """Count the calls that the model's server received, by what was asked."""
    assert scenario.model is not None
    return Counter(entry["sha256"] for entry in scenario.model.ledger()["entries"])


def _seconds_since_stopping(worker: WorkerProcess) -> float:
    line = next(json.loads(line) for line in worker.text.splitlines() if '"event": "stopping"' in line)
    began = datetime.fromisoformat(line["timestamp"])
    return (datetime.now(UTC) - began).total_seconds()
