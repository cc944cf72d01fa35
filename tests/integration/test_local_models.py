"""Local models in a worker process on real servers: cascade, vectors, passages, and what it all cost."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checking.evidence import Expect, Rate
from eventmill.dev.addresses import Addresses
from eventmill.vectors import StoreSetup
from eventmill_connectors.onnx.artifact import Artifact
from eventmill_connectors.onnx.build import EncoderRequest, build
from eventmill_connectors.onnx.head import Head
from eventmill_connectors.onnx.sources import installed_minilm
from eventmill_connectors.registry import SchemaRegistry
from eventmill_schemas.codec import frame
from scenario import ModelServer, Scenario

LABELS = {
    "BUG": ["the app crashes with an error", "a page shows exception 500", "it does not work since the update"],
    "BILLING": ["my invoice is wrong", "refund the money for my order", "I was charged twice on my card"],
}
BUGS = ["The app crashes whenever I open settings, number {n}.", "Error 500 on the login page, case {n}."]
BILLS = ["Invoice {n} has the wrong amount, please refund.", "My card was charged twice for order {n}."]
OTHERS = ["Good morning from town {n}, what lovely weather."]
MAILS = 60

INPUT = json.dumps(
    {
        "type": "record",
        "name": "Mail",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "tenant", "type": "string"},
            {"name": "body", "type": "string"},
        ],
    }
)
TRIAGE = json.dumps(
    {
        "type": "record",
        "name": "Triage",
        "fields": [
            {"name": "category", "type": {"type": "enum", "name": "Category", "symbols": ["BUG", "BILLING", "OTHER"]}},
            {"name": "sureness", "type": "double"},
        ],
    }
)
PASSAGE = {
    "type": "record",
    "name": "Passage",
    "fields": [{"name": "event_id", "type": "string"}, {"name": "similarity", "type": "double"}],
}
FOUND = json.dumps(
    {
        "type": "record",
        "name": "Found",
        "fields": [{"name": "passages", "type": {"type": "array", "items": PASSAGE}}],
    }
)
PIPELINE = """
postgres: "POSTGRES"
models: {mail: {onnx: "MODEL", price_per_hour: 0.04}}
stores: {mails: {model: mail, index: none, table: "{name}"}}
routes: {writer: [{provider: openai, model: gpt-5-mini}]}
stages:
  triage:
    input: "{name}.mails"
    event: {id: id, tenant: tenant}
    result: triage.avsc
    steps:
      - classify: {model: mail, text: "{{ event.body }}", into: category, confidence: sureness, threshold: 0.8}
      - complete: {route: writer, prompt: triage.md}
      - embed: {text: "{{ event.body }}", store: mails}
  ask:
    input: "{name}.questions"
    event: {id: id, tenant: tenant}
    result: found.avsc
    steps: [retrieve: {store: mails, text: "{{ event.body }}", into: passages, limit: 3}]
"""
PROMPT = "---\nname: triage\nversion: '1'\n---\n{{ event.body | data }}\n"
PRICES = {
    "gpt-5-mini": Rate(Decimal("0.25"), Decimal("2.00"), Decimal("0.025")),
    "mail": Rate(Decimal(0), Decimal(0), hour=Decimal("0.04")),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Give MiniLM with a head for the labels, from the means of a few phrases."""

    def train(embed: Any) -> tuple[Head, None]:
        means = [embed(phrases).mean(0) for phrases in LABELS.values()]
        weights = np.stack([mean / np.linalg.norm(mean) for mean in means], 1).astype(np.float32)
        return Head(weights, np.zeros(2, np.float32), 0.1, tuple(LABELS)), None

    return build(installed_minilm(), EncoderRequest("mail", tmp_path_factory.mktemp("models")), train).artifact


def mails() -> list[dict[str, str]]:
    """Return bugs, bills and what is neither, of two tenants."""
    kinds: Sequence[str] = (*BUGS, *BILLS, *OTHERS, *BUGS)
    return [
        {"id": f"m{n}", "tenant": f"t{n % 2}", "body": kinds[n % len(kinds)].format(n=n)} for n in range(MAILS)
    ]


def set_up(scenario: Scenario) -> None:
    """Make the place of the stores, as `eventmill apply` does."""

    async def run() -> None:
        async with AsyncExitStack() as opened:
            setup = StoreSetup(scenario.pipeline)
            opened.push_async_callback(setup.close)
            async for _ in setup.execute(await setup.plan()):
                pass

    asyncio.run(run())


def values(scenario: Scenario, topic: str) -> list[dict[str, Any]]:
    """Return the decoded values of a topic."""

    async def read() -> list[dict[str, Any]]:
        registry = SchemaRegistry(scenario.addresses.registry)
        found = []
        for message in scenario.read(topic):
            schema, body = frame(message.value() or b"")
            found.append(dict((await registry.schema(schema)).decode(body)))
        await registry.close()
        return found

    return asyncio.run(read())


def test_a_cascade_with_vectors_through_a_crash(
    tmp_path: Path, addresses: Addresses, unique: str, model: Artifact
) -> None:
    """Sure labels spare their calls, each event is stored once, costs are exact, and a mail's own text finds it first.

    The worker is killed in the middle: what it had stored is not stored twice, and no result comes twice.
    """
    text = PIPELINE.replace("POSTGRES", addresses.postgres or "").replace("MODEL", str(model.folder))
    files = {"triage.avsc": TRIAGE, "found.avsc": FOUND, "triage.md": PROMPT}
    with Scenario(tmp_path, addresses, unique, text, files) as scenario:
        topic, questions = f"{unique}.mails", f"{unique}.questions"
        scenario.create(partitions=2, inputs=[topic, questions])
        set_up(scenario)
        scenario.model = ModelServer("--latency", "lognormal:0.05:0.3")
        writer = scenario.writer(topic, INPUT)
        given = mails()
        first = scenario.worker("triage", "--slot", "0").open()
        scenario.produce(topic, ((mail["id"].encode(), writer.encode(mail)) for mail in given[:20]))
        scenario.wait(lambda: scenario.settled("triage") > 0, 20)
        scenario.produce(topic, ((mail["id"].encode(), writer.encode(mail)) for mail in given[20:]))
        first.kill()
        second = scenario.worker("triage", "--slot", "0")
        ask = scenario.worker("ask", "--slot", "0")   # meanwhile: starting takes both a second or two
        second.open()
        scenario.wait(lambda: scenario.settled("triage") >= MAILS, 40)

        expect = Expect(results=MAILS, dead_letters=0, repeated_calls=MAILS, unreported_calls=MAILS)
        report = scenario.check("triage", expect, PRICES)
        assert report.clean, report
        results = {one["event_id"]: one for one in values(scenario, scenario.topics("triage").results)}
        costs = values(scenario, scenario.topics("triage").costs)
        asked = {cost["event_id"] for cost in costs if cost["provider"] == "openai"}
        unsure = {name for name, one in results.items() if one["sureness"] < 0.8}
        assert asked == unsure, "a model was asked for what the classifier was not sure of, and for nothing else"
        assert 5 <= len(unsure) <= 30
        for mail in given:
            if mail["id"] not in unsure:
                known = "BUG" if ("app" in mail["body"] or "Error" in mail["body"]) else "BILLING"
                assert results[mail["id"]]["category"] == known
        local = [cost for cost in costs if cost["provider"] == "onnx"]
        assert {cost["model"] for cost in local} == {f"mail@{model.manifest.version}"}
        assert all(cost["device"] == "cpu" and cost["compute_seconds"] > 0 for cost in local)
        assert {cost["event_id"] for cost in local if cost["step"] == "classify"} == set(results)
        assert second.metric("eventmill_local_model_info", model="mail", provider="CPUExecutionProvider") == 1
        assert second.metric("eventmill_local_compute_seconds_total", model="mail", device="cpu") > 0
        assert second.metric("eventmill_local_queue", model="mail") == 0

        ask.open()
        own = scenario.writer(questions, INPUT)
        scenario.produce(questions, ((b"k", own.encode({**mail, "id": f"q-{mail['id']}"})) for mail in given[:10]))
        scenario.wait(lambda: scenario.settled("ask") >= 10, 20)
        for one in values(scenario, scenario.topics("ask").results):
            name = one["event_id"].removeprefix("q-")
            passages = one["passages"]
            assert passages[0]["event_id"] == name, "a mail's own text finds that mail first"
            assert passages[0]["similarity"] == pytest.approx(1, abs=1e-3)
            assert all(int(passage["event_id"][1:]) % 2 == int(name[1:]) % 2 for passage in passages), "own tenant only"
            assert len({passage["event_id"] for passage in passages}) == 3, "no mail is stored twice"
