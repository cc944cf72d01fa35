"""The checker's test of replies tells the mails of the example apart, with the summaries that the stand-in gives."""

import json
from pathlib import Path
from typing import Any

from checker import quotes
from eventmill.config.load import load
from eventmill.dev.model.answer import answer
from eventmill.dev.model.reading import read
from eventmill_agents.prompt import PromptRenderer
from eventmill_schemas.events import Event, RawRecord, Source
from eventmill_schemas.json_schema import json_schema
from eventmill_schemas.pipeline import CompleteStep
from eventmill_schemas.result_schema import answer_fields

EXAMPLE = Path(__file__).parents[3] / "examples" / "support-mail"


def answered_mails() -> list[tuple[dict[str, str], dict[str, Any]]]:
    """Give every mail with what the stand-in answers to the example's prompt about it."""
    stage = load(EXAMPLE / "pipeline.yaml", {}).stage("triage")
    (step,) = [step for step in stage.steps if isinstance(step, CompleteStep)]
    prompt = PromptRenderer(step.prompt, step.name)
    schema = json_schema(stage.result.avro, answer_fields(stage.result.avro))
    pairs = []
    for line in (EXAMPLE / "mails.jsonl").read_bytes().split(b"\n")[:-1]:
        mail = json.loads(line)
        event = Event(mail["id"], mail["tenant"], mail, RawRecord(Source("mails", 0, 0), b"k", b"v", (), 0))
        system, user = prompt.render(event, {})
        pairs.append((mail, answer(schema, read(user, system))))
    return pairs


def test_a_summary_is_its_own_mail_s_and_no_other_s() -> None:
    """Each summary is taken for its own mail's answer; given to any other mail, threads included, it is found wrong."""
    answers, pairs = quotes("body", "subject"), answered_mails()
    taken = {(mail["id"], other["id"]) for mail, _ in pairs for other, reply in pairs if answers(mail, reply)}
    assert taken == {(mail["id"], mail["id"]) for mail, _ in pairs}


def test_the_demo_has_mails_of_every_category_and_urgent_ones_of_several_tenants() -> None:
    """All symbols of the enum occur, so that every branch of the demo can be seen; pages go to several teams."""
    pairs = answered_mails()
    assert {reply["category"] for _, reply in pairs} == {
        "URGENT", "MEETING", "SUPPORT", "MARKETING", "PERSONAL", "OTHER",
    }  # fmt: skip
    assert len({mail["tenant"] for mail, reply in pairs if reply["category"] == "URGENT"}) >= 3
