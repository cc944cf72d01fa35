"""One small pipeline from records to results, judged by the independent checker to the last digit."""

from decimal import Decimal
from pathlib import Path

from checker import quotes
from checking.evidence import Expect, Rate
from digest_pipeline import COPY, INPUT, PIPELINE, PROMPT, RESULT
from eventmill.dev.addresses import Addresses
from scenario import ModelServer, Scenario

EVENTS, KEYS = 300, 12
GPT_5_MINI = Rate(Decimal("0.25"), Decimal("2.00"), Decimal("0.025"))


def test_every_event_has_its_own_answer_in_order_at_the_exact_cost(
    tmp_path: Path, addresses: Addresses, unique: str
) -> None:
    """300 events of 12 keys, spread latencies, some calls refused with 429: results, order and costs are exact.

    Each summary derives from its own event; the cost events add up to the stand-in's ledger times the list price.
    """
    files = {"digest.avsc": RESULT, "copy.avsc": COPY, "digest.md": PROMPT}
    with Scenario(tmp_path, addresses, unique, PIPELINE, files) as scenario:
        notes = f"{unique}.notes"
        scenario.create(inputs=[notes])
        scenario.model = ModelServer("--latency", "lognormal:0.05:0.8", "--errors", "429=0.05,refusal=0.02")
        writer = scenario.writer(notes, INPUT)
        events = [{"id": f"n{i}", "body": f"Note number {i} is about the matter {i * 7919}."} for i in range(EVENTS)]
        scenario.produce(notes, ((str(i % KEYS).encode(), writer.encode(e)) for i, e in enumerate(events)))
        scenario.start({"digest": 1, "copy": 1})
        scenario.wait(lambda: scenario.settled("digest") >= EVENTS, 60)
        scenario.wait(lambda: scenario.settled("copy") >= scenario.count(scenario.topics("digest").results), 30)

        digest = scenario.check("digest", Expect(answers=quotes("body")), {"gpt-5-mini": GPT_5_MINI})
        assert digest.clean, digest
        assert digest.counts["results"] + digest.counts["dead_letters"] == EVENTS
        assert digest.counts["dead_letters"] == digest.dead_letter_kinds["refused_reply"] > 0
        assert digest.counts["cost_records"] > EVENTS, "attempts answered with 429 have their cost events too"
        copy = scenario.check("copy", Expect(results=digest.counts["results"], dead_letters=0))
        assert copy.clean, copy
