"""Kill one replica, stop the other beyond its session: nothing lost, nothing twice, order kept."""

import os
import signal
import time
from pathlib import Path

from checker import quotes
from checking.evidence import Expect
from digest_pipeline import COPY, INPUT, PIPELINE, PROMPT, RESULT
from eventmill.dev.addresses import Addresses
from scenario import ModelServer, Scenario

EVENTS, KEYS = 2_000, 200
SESSION = 10.0

# What a replica says that was stopped too long, by where it was stopped: before a transaction or in the middle of one.
REFUSED = (
    "results in hand can't be committed any more",
    "another replica has gone on with these partitions",
    "has taken the slot",
)


def test_two_replicas_under_fire_settle_every_event_once(tmp_path: Path, addresses: Addresses, unique: str) -> None:
    """2,000 events, kill -9 of one replica and SIGSTOP of the other beyond its session time-out, with results in hand.

    An independent reader finds 0 lost, 0 duplicate results, 0 duplicate costs and every key in order, in the stage and
    in the one chained to it; every result belongs to its event.
    """
    files = {"digest.avsc": RESULT, "copy.avsc": COPY, "digest.md": PROMPT}
    with Scenario(tmp_path, addresses, unique, PIPELINE, files) as scenario:
        notes = f"{unique}.notes"
        scenario.create(inputs=[notes])
        scenario.model = ModelServer("--latency", "lognormal:0.5:0.4:0.01:4")
        writer = scenario.writer(notes, INPUT)
        events = ({"id": f"n{i}", "body": f"Note number {i} of customer {i % KEYS}."} for i in range(EVENTS))
        scenario.produce(notes, ((str(i % KEYS).encode(), writer.encode(event)) for i, event in enumerate(events)))
        fleet = scenario.start({"digest": 2, "copy": 1}, "--shutdown-timeout", "5")
        first, second = (member for member in fleet.members if member.stage == "digest")
        results = scenario.topics("digest").results

        scenario.wait(lambda: scenario.count(results) > EVENTS // 10, 40)
        assert first.process is not None
        os.kill(first.process.pid, signal.SIGKILL)
        scenario.wait(lambda: first.restarts == 1, 10)
        scenario.wait(lambda: scenario.count(results) > EVENTS // 4, 40)
        assert second.process is not None
        stopped = second.process.pid
        os.kill(stopped, signal.SIGSTOP)
        until = time.monotonic() + SESSION + 4
        scenario.wait(lambda: time.monotonic() > until, SESSION + 5)
        os.kill(stopped, signal.SIGCONT)
        scenario.wait(lambda: scenario.settled("copy") >= EVENTS, 90)
        zombie = (tmp_path / "logs" / "digest.1.log").read_text()
        assert any(text in zombie for text in REFUSED), zombie

        once = Expect(results=EVENTS, dead_letters=0, answers=quotes("body"))
        digest = scenario.check("digest", once)
        assert digest.clean, digest
        assert digest.counts["cost_records"] == EVENTS
        copy = scenario.check("copy", Expect(results=EVENTS, dead_letters=0))
        assert copy.clean, copy
