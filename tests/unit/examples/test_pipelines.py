"""The example pipelines load, their schemas serve their prompts, and their prompts keep hostile mails as data."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill.config.load import load
from eventmill_agents.prompt import PromptRenderer
from eventmill_schemas.events import Event, RawRecord, Source
from eventmill_schemas.json_schema import json_schema
from eventmill_schemas.pipeline import CompleteStep, Pipeline, Stage
from eventmill_schemas.result_schema import answer_fields, computed_fields, published

EXAMPLES = Path(__file__).parents[3] / "examples"
MAILS = [json.loads(line) for line in (EXAMPLES / "support-mail" / "mails.jsonl").read_bytes().split(b"\n")[:-1]]


def pipeline(name: str) -> Pipeline:
    """Load an example as the command line does, with nothing set in the environment."""
    return load(EXAMPLES / name / "pipeline.yaml", {})


def prompt_of(stage: Stage) -> PromptRenderer:
    """Return the renderer of a stage's only step that asks a chat model."""
    (step,) = [step for step in stage.steps if isinstance(step, CompleteStep)]
    return PromptRenderer(step.prompt, step.name)


def event(fields: dict[str, object], topic: str = "mails") -> Event:
    """Make an event of decoded fields."""
    return Event(str(fields["id"]), "nordlicht", fields, RawRecord(Source(topic, 0, 0), b"k", b"v", (), 0))


def escalate() -> ModuleType:
    """Import the python step of the support-mail example from its file."""
    spec = importlib.util.spec_from_file_location("escalate", EXAMPLES / "support-mail" / "escalate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("schema", sorted(EXAMPLES.glob("*/schemas/*.avsc")), ids=lambda path: path.stem)
def test_every_schema_is_valid_avro_and_documented(schema: Path) -> None:
    """Each file is a record with a doc whose name is the file's, and every field a model fills says what it wants."""
    avro = json.loads(schema.read_text("utf-8"))
    fastavro.parse_schema(avro)
    assert (avro["type"], avro["name"].lower()) == ("record", schema.stem)
    assert avro["doc"]
    assert all(field["doc"] for field in avro["fields"] if schema.stem in {"triage", "intent"} and "from" not in field)


@pytest.mark.parametrize(
    ("name", "stage", "answers"),
    [
        (
            "support-mail",
            "triage",
            ("category", "sureness", "summary", "summary_translated", "action_items", "reply_suggestions"),
        ),
        ("support-mail", "escalate", ("channel", "pager_text")),
        ("support-mail", "index", ()),
        ("intents", "intent", ("intent", "sureness", "topic", "urgency", "summary")),
    ],
)
def test_a_result_has_the_answers_and_copies_that_its_stage_is_for(
    name: str, stage: str, answers: tuple[str, ...]
) -> None:
    """The steps fill these fields only; what is copied comes from a field that the input has."""
    loaded = pipeline(name).stage(stage)
    assert answer_fields(loaded.result.avro) == answers
    if answers:
        assert list(json_schema(loaded.result.avro, answers)["properties"]) == list(answers)
    mail, query = "support-mail/schemas/mail", "intents/schemas/query"
    source = {"triage": mail, "index": mail, "intent": query}.get(stage)
    given_fields = (
        json.loads((EXAMPLES / f"{source}.avsc").read_text("utf-8"))
        if source
        else published(pipeline(name).stage("triage").result.avro, "triage.avsc")
    )["fields"]
    for expression in computed_fields(loaded.result.avro).values():
        assert expression.removeprefix("event.") in {field["name"] for field in given_fields}


def test_the_second_stage_reads_the_first_one_s_results_and_only_urgent_ones() -> None:
    """`escalate` is chained by the stage's name and keeps its event ids and tenants."""
    stage = pipeline("support-mail").stage("escalate")
    assert stage.upstream
    assert stage.inputs == ("support-mail.triage.results",)
    assert (stage.id_field, stage.tenant_field) == ("event_id", "tenant")
    assert stage.when == "event.category == 'URGENT'"


@pytest.mark.parametrize("mail", MAILS, ids=[mail["id"] for mail in MAILS])
def test_a_mail_s_text_stands_in_the_prompt_once_unevaluated_and_fenced(mail: dict[str, str]) -> None:
    """Body and subject are in the user text as they are (but NUL), inside a fence that they don't close themselves."""
    _, user = prompt_of(pipeline("support-mail").stage("triage")).render(event(dict(mail)), {})
    assert f"Target language: {mail['target_language']}\n" in user
    assert "\x00" not in user
    assert user.count("<data-") == user.count("</data-") == 3
    for text in (mail["subject"], mail["body"]):
        storable = text.replace("\x00", "")
        fenced = re.findall(r"<data-([0-9a-f]{16})>\n(.*?)\n</data-\1>", user, re.DOTALL)
        assert storable in [content for _, content in fenced]


def test_prompts_name_their_version_and_answers_have_room() -> None:
    """Both prompts have a declared version and an output limit: an answer without one is cut where it hurts."""
    for name, stage in (("support-mail", "triage"), ("intents", "intent")):
        renderer = prompt_of(pipeline(name).stage(stage))
        assert renderer.label == f"{stage}@1"
        assert renderer.prompt.parameters["max_output_tokens"] >= 300


def test_a_question_s_label_is_never_shown_to_the_model() -> None:
    """The label that a person gave is copied to the result, and is not in the prompt."""
    query = {"id": "q1", "text": "Where is my card?", "label": "card_arrival"}
    texts = prompt_of(pipeline("intents").stage("intent")).render(event(query, "queries"), {})
    assert "Where is my card?" in texts[1]
    assert not any("card_arrival" in text for text in texts)


@given(customer=st.text(max_size=20), subject=st.text(max_size=400), summary=st.text(max_size=400))
async def test_a_page_is_one_line_that_a_pager_takes(customer: str, subject: str, summary: str) -> None:
    """Whatever the mail was, the page is one line of at most 160 characters for the tenant's channel."""
    triage = {"id": "m1", "customer": customer, "subject": subject, "summary_translated": summary}
    fields = await escalate().page_text(event(triage), {}, None)
    assert fields.keys() == {"channel", "pager_text"}
    assert fields["channel"] == "#nordlicht-on-call"
    assert len(fields["pager_text"]) <= 160
    assert "\n" not in fields["pager_text"]
    assert fields["pager_text"].startswith(" ".join(customer.split())[:20])
