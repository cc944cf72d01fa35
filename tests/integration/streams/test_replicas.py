"""Several replicas of a stage: who takes partitions over repeats as little as possible, and a slot has one owner."""

import json
from collections import Counter
from pathlib import Path

from checking.evidence import Expect
from digest_pipeline import INPUT, PROMPT, RESULT
from eventmill.dev.addresses import Addresses
from scenario import ModelServer, Put, Scenario
from worker_process import until

PIPELINE = """
routes: {writer: [{provider: openai, model: gpt-5-mini}]}
stages:
  digest:
    input: "{name}.notes"
    event: {id: id}
    result: digest.avsc
    steps: [complete: {route: writer, prompt: digest.md}]
    in_flight: 40
"""
FILES = {"digest.avsc": RESULT, "digest.md": PROMPT}
PARTITIONS, EACH = 8, 4


def test_calls_in_flight_survive_a_rebalance_and_a_slot_has_one_owner(
    tmp_path: Path, addresses: Addresses, unique: str
) -> None:
    """A second replica joins while the first has 32 calls of 12 s in flight, then a third takes the second's slot.

    Only calls of partitions that moved away are made again, those of the partitions that came back are adopted. The
    replica whose slot was taken exits with code 1 and says so, and the third goes on: every event has one result.
    """
    with Scenario(tmp_path, addresses, unique, PIPELINE, FILES) as scenario:
        notes, events = f"{unique}.notes", PARTITIONS * EACH
        scenario.create(PARTITIONS, inputs=[notes])
        scenario.model = ModelServer("--latency", "fixed:12")
        writer = scenario.writer(notes, INPUT)

        def put(round_: str) -> None:
            for partition in range(PARTITIONS):
                ids = [f"{round_}{partition}.{number}" for number in range(EACH)]
                records: list[Put] = [(i.encode(), writer.encode({"id": i, "body": f"Note {i}."}), []) for i in ids]
                scenario.put(notes, partition, records)

        put("a")
        first = scenario.worker("digest", "--slot", "0").open()
        until(lambda: first.health()["in_flight"] == events, 20)
        second = scenario.worker("digest", "--slot", "1").open(60)
        until(lambda: 0 < len(first.health()["lanes"]) < PARTITIONS, 30)
        mine = len(first.health()["lanes"])
        kept = [json.loads(line)["kept"] for line in first.text.splitlines() if '"event": "assigned"' in line]
        assert kept[-1] == mine * EACH, "every call was still in flight when the partitions were dealt again"
        scenario.wait(lambda: scenario.settled("digest") >= events, 60)
        calls = Counter(entry["sha256"] for entry in scenario.model.ledger()["entries"])
        assert len(calls) == events
        assert Counter(calls.values()) == {1: mine * EACH, 2: events - mine * EACH}

        third = scenario.worker("digest", "--slot", "1")
        assert second.code(60) == 1, second.text
        assert "error: another replica has taken the slot" in second.text
        assert "Traceback" not in second.text
        third.open(60)
        put("b")
        scenario.wait(lambda: scenario.settled("digest") >= 2 * events, 90)
        assert not first.ended, first.text
        assert not third.ended, third.text
        report = scenario.check("digest", Expect(results=2 * events, dead_letters=0))
        assert report.clean, report
