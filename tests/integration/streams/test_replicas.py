"""Several replicas of a stage: who takes partitions over repeats as little as possible, and a slot has one owner."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from checking.evidence import Expect
from digest_pipeline import INPUT, PROMPT, RESULT
from eventmill.dev.addresses import Addresses
from eventmill.dev.model.completions import completion, parse, write
from eventmill.dev.model.faults import Outcome
from scenario import KEY, Put, Scenario
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


class PatientModel:
    """A model server that answers nobody until `answering` is set, and counts what it was asked."""

    def __init__(self) -> None:
        """Listen."""
        self.answering = threading.Event()
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked = parse(self.rfile.read(int(self.headers["content-length"])))
                with model._lock:
                    model._asked[asked.user] += 1
                model.answering.wait(120)
                body = completion(asked, write(asked, Outcome.OK), 1, 0)
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None   # type: ignore[method-assign]  # who was cancelled hangs up
        self.environ = {"OPENAI_BASE_URL": f"http://127.0.0.1:{self._server.server_port}/v1", "OPENAI_API_KEY": KEY}
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def asked(self) -> Counter[str]:
        """How often each text has come."""
        with self._lock:
            return self._asked.copy()

    def close(self) -> None:
        """Let everybody go, and stop."""
        self.answering.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def model() -> Iterator[PatientModel]:
    """Give a model server that does not answer yet."""
    server = PatientModel()
    yield server
    server.close()


def test_calls_in_flight_survive_a_rebalance_and_a_slot_has_one_owner(
    tmp_path: Path, addresses: Addresses, unique: str, model: PatientModel
) -> None:
    """A second replica joins while the first has 32 calls in flight, then a third takes the second's slot.

    Only calls of partitions that moved away are made again, those of the partitions that came back are adopted. The
    replica whose slot was taken exits with code 1 and says so, and the third goes on: every event has one result.
    """
    with Scenario(tmp_path, addresses, unique, PIPELINE, FILES) as scenario:
        notes, events = f"{unique}.notes", PARTITIONS * EACH
        scenario.create(PARTITIONS, inputs=[notes])
        writer = scenario.writer(notes, INPUT)

        def put(round_: str) -> None:
            for partition in range(PARTITIONS):
                ids = [f"{round_}{partition}.{number}" for number in range(EACH)]
                records: list[Put] = [(i.encode(), writer.encode({"id": i, "body": f"Note {i}."}), []) for i in ids]
                scenario.put(notes, partition, records)

        put("a")
        first = scenario.worker("digest", "--slot", "0", environ=model.environ).open()
        until(lambda: model.asked.total() == events, 30)
        second = scenario.worker("digest", "--slot", "1", environ=model.environ).open(60)
        until(lambda: 0 < len(first.health()["lanes"]) < PARTITIONS, 30)
        mine = len(first.health()["lanes"])
        kept = [json.loads(line)["kept"] for line in first.text.splitlines() if '"event": "assigned"' in line]
        assert kept[-1] == mine * EACH, "every call was still in flight when the partitions were dealt again"
        until(lambda: model.asked.total() == 2 * events - mine * EACH, 30, lambda: str(model.asked))
        model.answering.set()
        scenario.wait(lambda: scenario.settled("digest") >= events, 60)
        assert Counter(model.asked.values()) == {1: mine * EACH, 2: events - mine * EACH}

        third = scenario.worker("digest", "--slot", "1", environ=model.environ)
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
