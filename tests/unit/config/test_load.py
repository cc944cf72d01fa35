"""What a right pipeline file becomes."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from eventmill.config import load
from eventmill_schemas.errors import PipelineFileErrors
from eventmill_schemas.pipeline import CompleteStep, Format, Kafka, ModelRef, Order, PriceOverride, PythonStep, Stage


def test_every_key_reaches_its_value(project: Any) -> None:
    """The file with all keys becomes exactly this pipeline: nothing is lost, everything has its type."""
    pipeline = project.load({"KAFKA_PASSWORD": "open sesame"})
    assert pipeline.name == "support-mail"
    assert pipeline.folder == str(project.folder)
    assert pipeline.kafka == Kafka(
        "127.0.0.1:9092",
        "http://127.0.0.1:8081",
        {"security.protocol": "SSL", "sasl.password": "open sesame"},
    )
    assert pipeline.routes == {
        "writer": (
            ModelRef("openai", "gpt-5-mini", None, timedelta(seconds=90)),
            ModelRef("openai", "small", "http://127.0.0.1:9000/v1", timedelta(seconds=120)),
        )
    }
    assert pipeline.prices == (PriceOverride("openai", "small", Decimal("0.25"), Decimal("2.00"), None),)
    assert pipeline.allow_unpriced is False
    triage, escalate = pipeline.stages
    ask, count = triage.steps
    assert isinstance(ask, CompleteStep)
    assert (ask.name, ask.route, ask.fields) == ("complete", "writer", ("summary",))
    assert (ask.prompt.name, ask.prompt.version) == ("triage", "3")
    assert ask.prompt.parameters == {"temperature": 0.2, "max_output_tokens": 800}
    assert (ask.prompt.system, ask.prompt.user) == ("You sort the mail of a company.", "{{ event.body }}")
    assert count == PythonStep("count_words", "mail:count_words")
    assert triage == Stage(
        name="triage",
        inputs=("mails",),
        format=Format.AVRO,
        id_field="id",
        tenant_field="tenant",
        when="event.body is defined",
        steps=(ask, count),
        result=triage.result,
        in_flight=100,
        window=1000,
        window_bytes=32 << 20,
        order=Order.KEY,
        attempts=2,
        call_deadline=timedelta(minutes=2),
        topics={},
        partitions=4,
        upstream=False,
    )
    assert triage.result.avro["name"] == "Triage"
    assert escalate == Stage(
        name="escalate",
        inputs=("support-mail.triage.results",),
        format=Format.AVRO,
        id_field="event_id",
        tenant_field="tenant",
        when="event.summary != ''",
        steps=(PythonStep("pager", "mail:page"),),
        result=escalate.result,
        topics={"results": "pages", "dlq": "page.failures"},
        upstream=True,
    )


def test_the_values_are_plain(project: Any) -> None:
    """No text of the environment keeps the type that remembers how it was written."""
    pipeline = project.load({"KAFKA": "kafka:9092"})
    assert pipeline.kafka.bootstrap == "kafka:9092"
    assert {type(pipeline.kafka.bootstrap), *map(type, pipeline.kafka.client.values())} == {str}


def test_a_variable_has_the_type_that_its_key_wants(project: Any) -> None:
    """Numbers, truth values, sizes, durations, prices and lists may come from the environment, quoted or not."""
    project.spoil("in_flight: 100", 'in_flight: "${FLIGHT}"')
    project.spoil("window_bytes: 32MB", "window_bytes: ${BYTES}")
    project.spoil("allow_unpriced: false", "allow_unpriced: ${UNPRICED}")
    project.spoil("input: 0.25", 'input: "${PRICE}"')
    project.spoil("call_deadline: 2m", "call_deadline: ${DEADLINE}")
    project.spoil("input: mails", "input: ${TOPIC}")
    pipeline = project.load(
        {"FLIGHT": "7", "BYTES": "9", "UNPRICED": "true", "PRICE": "0.1", "DEADLINE": "7s", "TOPIC": "007"}
    )
    stage = pipeline.stages[0]
    assert (stage.in_flight, stage.window_bytes, stage.call_deadline) == (7, 9, timedelta(seconds=7))
    assert pipeline.allow_unpriced is True
    assert pipeline.prices[0].input == Decimal("0.1")
    assert stage.inputs == ("007",)


def test_the_defaults_are_those_of_the_values(project: Any) -> None:
    """A stage that says only what it must has the defaults of `Stage`, and an event's place is its id."""
    project.write(
        "pipeline.yaml", "pipeline: p\nstages:\n  s: {input: t, result: schemas/page.avsc, steps: [{python: 'm:f'}]}\n"
    )
    pipeline = project.load()
    stage = pipeline.stages[0]
    assert stage == Stage("s", ("t",), Format.AVRO, None, None, None, stage.steps, stage.result)
    assert pipeline.kafka == Kafka("127.0.0.1:9092", "http://127.0.0.1:8081")


@pytest.mark.parametrize(
    ("event", "id_field", "tenant_field"),
    [
        ("", "event_id", "tenant"),
        ("event: {id: number}", "number", "tenant"),
        ("event: {id: null, tenant: null}", None, None),
        ("event: {tenant: null}", "event_id", None),
    ],
)
def test_a_chained_stage_knows_the_fields_of_results(
    project: Any, event: str, id_field: str | None, tenant_field: str | None
) -> None:
    """Id and tenant of a result are found without a word; what is said, null too, goes before."""
    project.spoil("    input: triage\n", f"    input: triage\n    {event}\n")
    stage = project.load().stage("escalate")
    assert (stage.id_field, stage.tenant_field) == (id_field, tenant_field)


def test_a_stage_may_be_named_by_its_topic(project: Any) -> None:
    """The full name of a results topic, also one given under `topics`, is as good as the stage's name."""
    project.spoil("    result: schemas/triage.avsc", "    result: schemas/triage.avsc\n    topics: {results: sorted}")
    project.spoil("    input: triage\n", "    input: [sorted, triage]\n")
    stage = project.load().stage("escalate")
    assert (stage.inputs, stage.upstream, stage.id_field) == (("sorted",), True, "event_id")


def test_reading_the_costs_of_a_stage_is_reading_a_transactional_topic(project: Any) -> None:
    """Costs and dead letters are written in transactions too; their records are not results, so no id is assumed."""
    project.spoil("    input: triage\n", "    input: support-mail.triage.costs\n")
    stage = project.load().stage("escalate")
    assert (stage.upstream, stage.id_field) == (True, None)


def test_mixed_inputs_with_an_id_are_fine(project: Any) -> None:
    """A stage's results and a topic from outside can be read together where the id is said."""
    project.spoil("    input: triage\n", "    input: [triage, others]\n    event: {id: null}\n")
    stage = project.load().stage("escalate")
    assert (stage.inputs, stage.upstream, stage.id_field) == (("support-mail.triage.results", "others"), True, None)


def test_steps_get_names_of_their_own(project: Any) -> None:
    """Names that are not given are made different from each other and from those that are given."""
    steps = """\
    steps:
      - complete: {route: writer, prompt: prompts/triage.md, fields: [summary]}
      - complete: {route: writer, prompt: prompts/triage.md, fields: [summary]}
      - complete: {route: writer, prompt: prompts/triage.md, fields: [summary], name: complete}
      - python: "mail:page"
      - python: "other:page"
      - python: {function: "mail:page", name: page_2}
"""
    start, end = project.text.index("    steps:"), project.text.index("    result: schemas/triage.avsc")
    project.spoil(project.text[start:end], steps)
    names = [step.name for step in project.load().stage("triage").steps]
    assert names == ["complete_2", "complete_3", "complete", "page", "page_3", "page_2"]


def test_anchors_share_settings(project: Any) -> None:
    """Keys that begin with `x-` are the user's own, for what stages share by `<<`."""
    project.spoil("pipeline: support-mail", "pipeline: support-mail\nx-slow: &slow {attempts: 7, call_deadline: 1h}")
    project.spoil("    input: triage\n", "    <<: *slow\n    input: triage\n")
    stage = project.load().stage("escalate")
    assert (stage.attempts, stage.call_deadline) == (7, timedelta(hours=1))


def test_the_order_of_stages_and_routes_is_that_of_the_file(project: Any) -> None:
    """A stage may read one that stands below it."""
    first, second = project.text.index("  triage:"), project.text.index("  escalate:")
    project.write("pipeline.yaml", project.text[:first] + project.text[second:] + project.text[first:second])
    assert [stage.name for stage in project.load().stages] == ["escalate", "triage"]


def test_paths_are_found_from_anywhere(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are looked for beside the pipeline file, and the pipeline keeps an absolute folder."""
    monkeypatch.chdir(project.folder.parent)
    pipeline = load(Path(project.folder.name) / "pipeline.yaml", {})
    assert pipeline.folder == str(project.folder)
    assert pipeline.stages[0].result.file == f"{project.folder.name}/schemas/triage.avsc"


def test_other_line_ends_and_a_byte_order_mark_change_nothing(project: Any) -> None:
    """Files written on Windows mean the same, and a prompt keeps its version there."""
    prompt = project.folder / "prompts/triage.md"
    without_version = prompt.read_text().replace('version: "3"\n', "")
    project.write("prompts/triage.md", without_version)
    plain = project.load()
    for name in ("pipeline.yaml", "prompts/triage.md", "schemas/triage.avsc"):
        text = (project.folder / name).read_bytes().replace(b"\n", b"\r\n")
        project.write(name, b"\xef\xbb\xbf" + text)
    assert project.load() == plain


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "the file can't be read: No such file or directory"),
        (b"pipeline: \xff\n", "this is not UTF-8 text"),
        (b"", "the file is empty"),
        (b"# only a comment\n", "the file is empty"),
        (b"- a\n", "the file must be a map, not a list"),
        (b"hello\n", "the file must be a map, not `hello`"),
    ],
)
def test_a_file_that_is_no_pipeline_at_all(project: Any, content: bytes | None, message: str) -> None:
    """What can't be read, or is something else, is said in one line."""
    if content is None:
        project.file.unlink()
    else:
        project.write("pipeline.yaml", content)
    assert [found for _, _, found in project.mistakes()] == [message]


def test_a_folder_is_no_pipeline_file(project: Any) -> None:
    """The folder instead of the file is a usual slip."""
    with pytest.raises(PipelineFileErrors, match="can't be read: Is a directory"):
        load(project.folder, {})
