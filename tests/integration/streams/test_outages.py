"""What every event needs goes away in the middle: nothing fails, the stage waits and says why, then goes on."""

from pathlib import Path
from urllib.parse import urlsplit

from checker import quotes
from checking.evidence import Expect
from digest_pipeline import INPUT, PROMPT, RESULT
from eventmill.dev.addresses import Addresses
from eventmill_schemas.codec import AvroWriter
from scenario import ModelServer, Scenario
from tcp_proxy import TcpProxy
from worker_process import WorkerProcess, until

PIPELINE = """
routes: {writer: [{provider: openai, model: gpt-5-mini}]}
stages:
  digest:
    input: "{name}.notes"
    event: {id: id}
    result: digest.avsc
    steps: [complete: {route: writer, prompt: digest.md}]
    in_flight: 10
    attempts: 1
"""
FILES = {"digest.avsc": RESULT, "digest.md": PROMPT}
EVENTS = 60
NEWER = INPUT.replace('"name": "Note"', '"name": "NewerNote"')


def test_registry_and_model_server_may_go_away_and_come_back(
    tmp_path: Path, addresses: Addresses, unique: str
) -> None:
    """The registry is cut off before a schema id not yet seen, then the model's server is stopped and started again.

    Each time the lane door closes, /healthz and the metrics name the reason, the worker stays ready and healthy; when
    it is back everything settles. With one attempt per event there is not one dead letter, and no call is repeated.
    """
    registry = urlsplit(addresses.registry)
    proxy = TcpProxy(registry.hostname or "", registry.port or 0)
    through = addresses.registry.replace(registry.netloc, f"127.0.0.1:{proxy.port}")
    with Scenario(tmp_path, addresses, unique, PIPELINE, FILES) as scenario:
        notes = f"{unique}.notes"
        scenario.create(4, inputs=[notes])
        scenario.file.write_text(scenario.file.read_text().replace(addresses.registry, through))
        scenario.model = ModelServer("--latency", "fixed:0.02")
        address = scenario.model.base_url
        known, newer = scenario.writer(notes, INPUT), scenario.writer(f"{notes}.newer", NEWER)
        events = [{"id": f"n{i}", "body": f"Note number {i} is about matter {i * 7919}."} for i in range(3 * EVENTS)]
        worker = scenario.worker("digest", "--slot", "0")

        def put(part: int, writer: AvroWriter = known) -> None:
            batch = events[part * EVENTS : (part + 1) * EVENTS]
            scenario.produce(notes, ((event["id"].encode(), writer.encode(event)) for event in batch))

        put(0)
        scenario.wait(lambda: scenario.settled("digest") >= EVENTS, 40)

        proxy.switch_off()
        put(1, newer)
        _closes(worker, "registry_unreachable")
        assert scenario.settled("digest") == EVENTS
        proxy.switch_on()
        scenario.wait(lambda: scenario.settled("digest") >= 2 * EVENTS, 60)
        _is_open(worker)

        first = scenario.model.ledger()
        scenario.model.stop()
        put(2)
        _closes(worker, "model_unreachable")
        assert scenario.settled("digest") == 2 * EVENTS
        scenario.model = ModelServer("--latency", "fixed:0.02", "--port", str(urlsplit(address).port))
        scenario.wait(lambda: scenario.settled("digest") >= 3 * EVENTS, 60)
        _is_open(worker)

        assert worker.metric("eventmill_blocked_seconds_total", door="lane", reason="registry_unreachable") > 0
        assert worker.metric("eventmill_blocked_seconds_total", door="lane", reason="model_unreachable") > 0
        assert worker.stop() == 0, worker.text
        report = scenario.check("digest", Expect(results=3 * EVENTS, dead_letters=0, answers=quotes("body")))
        assert report.clean, report
        assert (first["calls"], scenario.model.ledger()["calls"]) == (2 * EVENTS, EVENTS), "one call for each event"


def _closes(worker: WorkerProcess, reason: str) -> None:
    """Wait until the door is closed for `reason`; the worker itself is well, so nobody should restart it."""
    until(lambda: worker.health()["doors_closed"] == [reason], 30, lambda: worker.text[-3000:])
    assert worker.metric("eventmill_door_closed", reason=reason) == 1
    assert worker.get("/healthz")[0] == worker.get("/readyz")[0] == 200
    assert "lane door closed" in worker.text


def _is_open(worker: WorkerProcess) -> None:
    assert worker.health()["doors_closed"] == []
    assert worker.metric("eventmill_door_closed") == 0
