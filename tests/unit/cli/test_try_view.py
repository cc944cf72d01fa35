"""How a tried event looks: work in its order, costs as far as they are known, nothing raw on the terminal."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from eventmill.cli.try_view import document, lines, summary, totals
from eventmill.config import load
from eventmill.reading.show import json_text
from eventmill.testing import Trial, WordModels, reply, run_stage
from eventmill.trying.inputs import Inputs
from eventmill.trying.session import Round
from eventmill_schemas.chat import ChatReply, Finish
from eventmill_schemas.errors import Ambiguous, CallError

PIPELINE = """
pipeline: shop
allow_unpriced: true
models: {words: {onnx: models/words, price_per_hour: 0.36}}
routes:
  writer: [{provider: openai, model: gpt-5-mini}]
  own: [{provider: openai, model: our-own}]
stages:
  read:
    input: notes
    result: note.avsc
    steps:
      - complete: {route: writer, prompt: read.md, fields: [first]}
      - classify: {model: words, text: "{{ event.body }}", into: label}
      - complete: {route: own, prompt: read.md, fields: [second]}
"""
FIELDS = [{"name": name, "type": "string"} for name in ("first", "label", "second")]
FIRST, SECOND = reply({"first": "1"}, input_tokens=1000, output_tokens=4), reply({"second": "2"}, input_tokens=7)


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """Write a pipeline of three steps."""
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    (tmp_path / "note.avsc").write_text(json.dumps({"type": "record", "name": "Note", "fields": FIELDS}))
    (tmp_path / "read.md").write_text("{{ event.body | data }}")
    return tmp_path / "pipeline.yaml"


def tried(pipeline: Path, *replies: Any, body: str = "good") -> Trial:
    """Run one event through the stage."""
    words = WordModels("words", labels=("good", "bad"))
    return run_stage(pipeline, "read", [{"body": body}], replies=replies, local_models=words).only


def test_steps_are_shown_in_the_order_of_their_work(pipeline: Path) -> None:
    """Calls with their texts, the local model's work between them on one line with time, device and price."""
    shown = list(lines("here", tried(pipeline, FIRST, SECOND)))
    steps = [line.split(":")[0].strip() for line in shown if line.startswith("  step ")]
    assert steps == ["step complete", "step classify", "step complete_2"]
    local = next(line for line in shown if "classify" in line)
    assert local == "  step classify: onnx words@1, 3 tokens, 0.0020 s of cpu, 0.0000002 USD"


def test_what_is_not_known_is_never_shown_as_nothing(pipeline: Path) -> None:
    """A model without a price and an attempt without an answer: the sum says that there is more."""
    lost: CallError = Ambiguous("the connection broke")
    trial = tried(pipeline, lost, FIRST, SECOND)
    shown = list(lines("here", trial))
    assert "    no reply after 0.00 s: the connection broke" in shown
    assert any(line.endswith("unknown: no price is known") for line in shown)
    found = totals([trial])
    assert (found["unknown"], found["attempts"]) == (2, 3)
    assert found["cost"] == Decimal("0.0002582")   # 1000 x 0.25 + 4 x 2 per million, and the local work
    assert summary(found).endswith("0.0002582 USD and 2 attempts of unknown cost")
    assert "it is not known what was billed" in shown[-1]


def test_nothing_reaches_the_terminal_raw(pipeline: Path) -> None:
    """Escape sequences of events and models are shown as text; every line is one line."""
    evil = "\x1b[2J\x07 \u202e\r"
    answer = ChatReply(json.dumps({"first": evil}), Finish.OK, None, evil, None, None)
    shown = list(lines(evil, tried(pipeline, answer, ChatReply(evil, Finish.OK, None, "", None, None), body=evil)))
    assert all(line.isprintable() for line in shown)
    assert any("DEAD LETTER invalid_reply in step complete_2" in line for line in shown)


def test_a_total_of_nothing_is_short() -> None:
    """No events, no calls, no costs."""
    assert summary(totals([])) == "0 events: 0 results"


def test_the_document_has_the_work_of_local_models(pipeline: Path) -> None:
    """Apart from the calls, with device, seconds and exact cost; what is an amount stays one in JSON."""
    described = load(pipeline, {})
    trial = tried(pipeline, FIRST, SECOND)
    prepared = Round(described, described.stage("read"), Inputs((trial.record,), ("here",), None), {}, ())
    shown = json.loads(json_text(document(prepared, ["here"], [trial])))
    (event,) = shown["events"]
    assert event["local"] == [
        {
            "step": "classify",
            "model": "words@1",
            "device": "cpu",
            "tokens": 3,
            "seconds": "0.002",
            "cost": "0.000000200000",
            "outcome": "ok",
        }
    ]
    assert [call["step"] for call in event["calls"]] == ["complete", "complete_2"]
    assert [call["certainty"] for call in event["calls"]] == ["EXACT", "UNPRICED"]
    assert (event["cost"], shown["totals"]["unknown"]) == (None, 1)
