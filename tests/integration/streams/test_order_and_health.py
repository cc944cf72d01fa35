"""How much of a key runs at once, and what a working stage says of itself over HTTP."""

from pathlib import Path

import pytest
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST

from checking.evidence import Expect
from digest_pipeline import INPUT, PROMPT, RESULT
from eventmill.dev.addresses import Addresses
from eventmill_streams.metrics import Metrics
from scenario import ModelServer, Scenario
from worker_process import until

PIPELINE = """
routes: {writer: [{provider: openai, model: gpt-5-mini}]}
stages:
  digest:
    input: "{name}.notes"
    event: {id: id}
    result: digest.avsc
    steps: [complete: {route: writer, prompt: digest.md}]
    order: ORDER
"""
FILES = {"digest.avsc": RESULT, "digest.md": PROMPT}
EVENTS = 6


@pytest.mark.parametrize(("order", "at_once"), [("none", EVENTS), ("key", 1)])
def test_order_says_how_many_events_of_a_key_run_at_once(
    tmp_path: Path, addresses: Addresses, unique: str, order: str, at_once: int
) -> None:
    """Six events of one key: `none` begins them all, `key` one; /healthz and the gauges say so while they run.

    /metrics is what the strict OpenMetrics parser takes, with the declared names, and its counters add up at the end.
    """
    pipeline = PIPELINE.replace("ORDER", order)
    with Scenario(tmp_path, addresses, unique, pipeline, FILES) as scenario:
        notes = f"{unique}.notes"
        scenario.create(2, inputs=[notes])
        scenario.model = ModelServer("--latency", "fixed:1.5")
        writer = scenario.writer(notes, INPUT)
        values = [writer.encode({"id": f"n{i}", "body": f"Note {i}."}) for i in range(EVENTS)]
        scenario.put(notes, 0, [(b"one", value, []) for value in values])
        worker = scenario.worker("digest", "--slot", "0").open()
        until(lambda: worker.health()["in_flight"] > 0, 20)
        until(lambda: worker.metric("eventmill_window_events") == EVENTS or scenario.settled("digest") > 0, 10)
        assert worker.metric("eventmill_in_flight") == at_once
        state = worker.health()
        assert (state["ready"], state["partitions"], state["problems"]) == (True, 2, [])
        assert {lane["partition"] for lane in state["lanes"]} == {f"{notes}/0", f"{notes}/1"}
        assert worker.get("/healthz")[0] == worker.get("/readyz")[0] == 200
        scenario.wait(lambda: scenario.settled("digest") >= EVENTS, 40)

        status, content_type, body = worker.get("/metrics")
        assert (status, content_type) == (200, CONTENT_TYPE_LATEST)
        assert body.endswith("# EOF\n")
        declared = {family.name for family in Metrics().registry.collect()}
        assert {family.name for family in worker.families()} == declared
        assert worker.metric("eventmill_events_total", stage="digest", outcome="result") == EVENTS
        assert worker.metric("eventmill_calls_total", model="gpt-5-mini", outcome="ok") == EVENTS
        assert worker.metric("eventmill_call_seconds_count", model="gpt-5-mini") == EVENTS
        assert worker.metric("eventmill_settle_seconds_count") == EVENTS
        assert worker.metric("eventmill_ticks_total", outcome="committed") > 0
        ledger = scenario.model.ledger()
        for direction, counted in (("input", "prompt_tokens"), ("output", "completion_tokens")):
            assert worker.metric("eventmill_tokens_total", direction=direction) == ledger[counted]
        until(lambda: worker.metric("eventmill_window_bytes") == worker.metric("eventmill_unsettled") == 0, 10)
        report = scenario.check("digest", Expect(results=EVENTS, dead_letters=0))
        # Without an order there is none to keep: the answer that comes first is the result that comes first.
        assert report.faults.keys() <= ({"order_violations"} if order == "none" else set()), report
        assert worker.metric("eventmill_cost_usd_total") == pytest.approx(float(report.cost_total or 0))
