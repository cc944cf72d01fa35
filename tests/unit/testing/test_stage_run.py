"""`run_stage` as the author of a pipeline uses it in pytest: values in, values out, and clear words for mistakes."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from eventmill.testing import Incoming, VectorsInMemory, WordModels, reply, run_stage, run_stage_async
from eventmill_schemas.chat import ChatReply, ChatRequest, Finish, Usage
from eventmill_schemas.errors import ModelUnreachable, RateLimited, UsageError
from eventmill_schemas.pipeline import ModelRef

PIPELINE = """
pipeline: shop
routes: {writer: [{provider: openai, model: gpt-5-mini}]}
stages:
  read:
    input: notes
    event: {id: id}
    when: "event.body != ''"
    result: note.avsc
    steps:
      - complete: {route: writer, prompt: read.md, fields: [mood]}
      - python: "NAME:shout"
  plain:
    input: lines
    format: json
    event: {id: id, tenant: who}
    result: mood.avsc
    steps:
      - complete: {route: writer, prompt: read.md}
  next:
    input: plain
    result: said.avsc
"""
SAID = """
{"type": "record", "name": "Said", "fields": [{"name": "said", "type": "string", "from": "event.mood"}]}
"""
RESULT = {
    "type": "record",
    "name": "Note",
    "fields": [
        {"name": "written", "type": {"type": "long", "logicalType": "timestamp-millis"}, "from": "event.written"},
        {"name": "mood", "type": {"type": "enum", "name": "Mood", "symbols": ["GOOD", "BAD"]}},
        {"name": "loud", "type": "string", "default": ""},
    ],
}
EVENT_SCHEMA = {
    "type": "record",
    "name": "Event",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "body", "type": "string"},
        {"name": "written", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "lang", "type": "string", "default": "en"},
    ],
}
STEP = """
from eventmill_agents.outcome import Skip
from eventmill_schemas.errors import InvalidReply

SCHEMA = {"type": "object", "properties": {"loud": {"type": "string"}}, "required": ["loud"]}


async def shout(event, so_far, call):
    if event.fields["body"] == "skip me":
        return Skip("too quiet")
    if event.fields["body"] == "ask":
        try:
            return dict(await call.complete(route="writer", system="Shout.", user=so_far["mood"], schema=SCHEMA))
        except Exception:
            return {"loud": "caught"}
    return {"loud": event.fields["body"].upper()}
"""
WRITTEN = datetime(2026, 9, 14, 4, 12, 40, tzinfo=UTC)
EVENT = {"id": "n1", "body": "a lamp", "written": WRITTEN}


@pytest.fixture
def pipeline(tmp_path: Path, unique: str) -> Path:
    """Write a pipeline whose module no other test has."""
    (tmp_path / "pipeline.yaml").write_text(PIPELINE.replace("NAME", unique))
    (tmp_path / "note.avsc").write_text(json.dumps(RESULT))
    mood = {"type": "record", "name": "Mood", "fields": [{"name": "mood", "type": "string"}]}
    (tmp_path / "mood.avsc").write_text(json.dumps(mood))
    (tmp_path / "said.avsc").write_text(SAID)
    (tmp_path / "read.md").write_text("# System\nRead.\n# User\n{{ event.body }}")
    (tmp_path / f"{unique}.py").write_text(STEP)
    (tmp_path / "event.avsc").write_text(json.dumps(EVENT_SCHEMA))
    return tmp_path / "pipeline.yaml"


def test_an_event_becomes_the_record_that_readers_see(pipeline: Path) -> None:
    """Fields of the model, of the python step and of `from`, in their envelope, with the exact price of the tokens."""
    run = run_stage(pipeline, "read", [EVENT], replies=[reply({"mood": "GOOD"}, input_tokens=1000, output_tokens=10)])
    result = run.only.result
    assert result is not None
    assert (result["event_id"], result["mood"], result["loud"]) == ("n1", "GOOD", "A LAMP")
    assert result["written"] == WRITTEN
    assert (result["model"], result["source_topic"]) == ("gpt-5-mini", "notes")
    assert result["cost"] == run.cost == Decimal("0.000270000000")   # 1000 x 0.25 + 10 x 2 USD per million
    assert (run.dead_letters, run.skips) == ([], [])
    assert [cost.outcome for cost in run.costs] == ["ok"]


def test_the_rendered_prompt_is_there_to_look_at(pipeline: Path) -> None:
    """System and user text as sent, the event's text fenced, and the JSON Schema of the fields that are asked for."""
    run = run_stage(pipeline, "read", [EVENT], replies=[{"mood": "GOOD"}])
    (asked,) = run.prompts
    assert asked.system.startswith("Read.")
    assert "a lamp" in asked.user
    assert asked.user.startswith("<data-")
    assert asked.schema is not None
    assert list(asked.schema["properties"]) == ["mood"]


def test_failures_and_skips_are_values(pipeline: Path) -> None:
    """An unusable reply is a dead letter that names its step, a false `when` and a step's Skip are skips."""
    events = [EVENT, {**EVENT, "body": ""}, {**EVENT, "body": "skip me"}, {**EVENT, "id": ""}]
    run = run_stage(pipeline, "read", events, replies=[{"mood": "SAD"}, {"mood": "BAD"}])
    wrong, without_id = run.dead_letters
    assert (wrong.step, wrong.error.kind) == ("complete", "invalid_reply")
    assert "SAD" in wrong.error.message
    assert (without_id.step, without_id.error.kind) == (None, "missing_field")
    assert [skip.reason for skip in run.skips] == ["when", "too quiet"]
    assert run.results == []
    assert [trial.event is None for trial in run.trials] == [False, False, False, True]
    assert len(run.costs) == 2   # the unusable reply is paid for


def test_a_schema_gives_events_the_types_they_have_in_kafka(pipeline: Path) -> None:
    """Times may be text and defaults are filled in; an event that does not fit is said to, before anything is asked."""
    seen: list[str] = []

    def answer(request: ChatRequest) -> dict[str, str]:
        seen.append(request.user)
        return {"mood": "GOOD"}

    event = {"id": "n1", "body": "a lamp", "written": "2026-09-14T06:12:40+02:00"}
    for schema in (pipeline.with_name("event.avsc"), EVENT_SCHEMA):
        run = run_stage(pipeline, "read", [event], replies=answer, schema=schema)
        assert run.results[0]["written"] == WRITTEN
        assert run.only.event is not None
        assert run.only.event.fields["lang"] == "en"
    assert len(seen) == 2
    with pytest.raises(UsageError, match=r"event 1 does not fit the schema: .*'written'"):
        run_stage(pipeline, "read", [{**event, "written": "today"}], replies=answer, schema=EVENT_SCHEMA)


def test_json_stages_decode_as_workers_do(pipeline: Path) -> None:
    """Fields go through JSON; raw bytes, headers, keys and tombstones can be given too."""
    good = {"id": 7, "who": "acme", "body": "x"}
    events = [
        good,
        Incoming(b"not json"),
        Incoming(None, key="k"),
        Incoming(good, key="k", headers={"ce_id": "from-header"}, timestamp=WRITTEN),
    ]
    run = run_stage(pipeline, "plain", events, replies=lambda _: {"mood": "fine"})
    assert [result["event_id"] for result in run.results] == ["7", "from-header"]
    assert [result["tenant"] for result in run.results] == ["acme", "acme"]
    assert [letter.error.kind for letter in run.dead_letters] == ["undecodable"]
    assert [skip.reason for skip in run.skips] == ["tombstone"]
    assert (run.trials[3].record.key, run.trials[3].record.timestamp_ms) == (b"k", 1_789_359_160_000)
    with pytest.raises(UsageError, match="event 1 is no JSON"):
        run_stage(pipeline, "plain", [{"id": WRITTEN}])
    with pytest.raises(UsageError, match="reads JSON, which has no schema"):
        run_stage(pipeline, "plain", [good], schema=EVENT_SCHEMA)


def test_replies_can_be_told_by_step(pipeline: Path) -> None:
    """Each step has its own list or function; the python step's call is one like any other."""
    event = {**EVENT, "body": "ask"}
    script = {"complete": [{"mood": "BAD"}], "shout": lambda request: {"loud": request.user * 2}}
    run = run_stage(pipeline, "read", [event], replies=script)
    assert run.results[0]["loud"] == "BADBAD"
    assert [cost.step for cost in run.costs] == ["complete", "shout"]


def test_errors_of_the_model_can_be_scripted(pipeline: Path) -> None:
    """An attempt that is refused is repeated at once, and a server that is away waited for without waiting."""
    script = [RateLimited("slow down", retry_after=60), ModelUnreachable("nobody there"), {"mood": "GOOD"}]
    run = run_stage(pipeline, "read", [EVENT], replies=script)
    assert [cost.outcome for cost in run.costs] == ["rate_limited", "ok"]
    assert [call.cost is None for call in run.only.calls] == [False, True, False]
    assert [call.cost.attempt for call in run.only.calls if call.cost] == [1, 2]
    cut = run_stage(pipeline, "read", [EVENT], replies=[reply('{"mood": "GO', finish=Finish.TRUNCATED)])
    assert cut.dead_letters[0].error.kind == "truncated_reply"


def test_a_model_of_ones_own_answers_too(pipeline: Path) -> None:
    """`models` takes anything with the port's method; one that is always away ends the test instead of hanging it."""

    class Mine:
        async def complete(self, model: ModelRef, request: ChatRequest, timeout: float) -> ChatReply:  # noqa: ASYNC109 - the port's
            return ChatReply('{"mood": "GOOD"}', Finish.OK, Usage(1, 1), "mine-7", None, None)

    class Away:
        async def complete(self, model: ModelRef, request: ChatRequest, timeout: float) -> ChatReply:  # noqa: ASYNC109 - the port's
            raise ModelUnreachable("nobody is there")

    run = run_stage(pipeline, "read", [EVENT], models=Mine())
    assert run.results[0]["model"] == "mine-7"
    assert run.cost == Decimal("0.00000225")   # an unknown name is priced as the model that was asked
    with pytest.raises(ModelUnreachable):
        run_stage(pipeline, "read", [EVENT], models=Away())


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        (None, "the test gives no replies"),
        ([], "call 1 of step 'complete' has no reply: the script has 0"),
        ([{"mood": "GOOD"}] * 3, "2 of 3 replies were not asked for"),
        ({"complete": [{"mood": "GOOD"}] * 2}, "1 of 2 replies of step 'complete' were not asked for"),
        ({"mood": "GOOD"}, "'mood' is no step with a list of replies"),
        ({"shout": []}, "the step 'complete' asked a model, and has no replies"),
        ("GOOD", "`replies` is a str"),
        ([7], "a reply is a int"),
        ([{"mood": WRITTEN}], "a reply is not JSON"),
    ],
)
def test_a_script_that_does_not_fit_is_a_clear_error(pipeline: Path, replies: Any, words: str) -> None:
    """It names the call or the step, and is never taken for a failure of the event."""
    with pytest.raises(UsageError, match=words) as raised:
        run_stage(pipeline, "read", [EVENT], replies=replies)
    assert raised.value.remedy


def test_a_step_can_not_hide_a_missing_reply(pipeline: Path) -> None:
    """The python step catches every exception, and the test fails all the same."""
    with pytest.raises(UsageError, match="call 2 of step 'shout' has no reply"):
        run_stage(pipeline, "read", [{**EVENT, "body": "ask"}], replies=[{"mood": "GOOD"}])


def test_mistakes_around_the_stage_are_named(pipeline: Path, tmp_path: Path) -> None:
    """A stage that does not exist, a broken file, two sources of answers, an event that is none, `only` of two."""
    with pytest.raises(UsageError, match="no stage 'reed'") as raised:
        run_stage(pipeline, "reed", [])
    assert raised.value.remedy == "Its stages: read, plain, next"
    with pytest.raises(UsageError, match=r"missing\.yaml"):
        run_stage(tmp_path / "missing.yaml", "read", [])
    with pytest.raises(UsageError, match="both say what answers"):
        run_stage(pipeline, "read", [EVENT], replies=[], models=object())   # type: ignore[arg-type]
    with pytest.raises(UsageError, match="event 1 is a list"):
        run_stage(pipeline, "read", [[]])   # type: ignore[list-item]
    with pytest.raises(UsageError, match="there were 0"):
        _ = run_stage(pipeline, "read", []).only


async def test_inside_an_event_loop_there_is_a_function_to_await(pipeline: Path) -> None:
    """The plain one says so instead of failing in asyncio's words; both give the same."""
    with pytest.raises(UsageError, match="event loop") as raised:
        run_stage(pipeline, "read", [EVENT], replies=[{"mood": "GOOD"}])
    assert "run_stage_async" in str(raised.value)
    run = await run_stage_async(pipeline, "read", [EVENT], replies=[{"mood": "GOOD"}])
    assert run.results[0]["mood"] == "GOOD"


def test_variables_come_from_the_test(tmp_path: Path, pipeline: Path) -> None:
    """`${VAR}` takes what `environ` says."""
    text = pipeline.read_text().replace("input: notes", 'input: "${TOPIC}"')
    pipeline.write_text(text)
    run = run_stage(pipeline, "read", [{**EVENT, "body": ""}], environ={"TOPIC": "elsewhere"})
    assert run.only.record.source.topic == "elsewhere"


def test_stages_can_be_chained(pipeline: Path) -> None:
    """The results of one stage are events of the next, as they would be in Kafka."""
    first = run_stage(pipeline, "plain", [{"id": "7", "who": "acme", "body": "x"}], replies=[{"mood": "fine"}])
    second = run_stage(pipeline, "next", first.results)
    assert second.only.result is not None
    assert (second.only.result["event_id"], second.only.result["tenant"]) == ("7", "acme")
    assert (second.only.result["said"], second.cost) == ("fine", 0)




LOCAL = """
pipeline: shop
models:
  words: {onnx: models/words, price_per_hour: 0.36}
stores:
  notes: {model: words}
postgres: "postgresql://nobody@127.0.0.1:9/none"
routes: {writer: [{provider: openai, model: gpt-5-mini}]}
stages:
  read:
    input: notes
    event: {id: id}
    result: mood.avsc
    steps:
      - retrieve: {store: notes, text: "{{ event.body }}", into: passages}
      - classify: {model: words, text: "{{ event.body }}", into: mood, threshold: 0.9}
      - complete: {route: writer, prompt: read.md}
      - embed: {model: words, text: "{{ event.body }}", store: notes}
"""


def test_local_models_and_stores_are_doubles(pipeline: Path) -> None:
    """A sure text is not asked about, an unsure one is; both are stored; the work of the machine has its price."""
    pipeline.with_name("local.yaml").write_text(LOCAL)
    events = [{"id": "n1", "body": "all good here"}, {"id": "n2", "body": "not so here"}]
    stores = VectorsInMemory("notes")
    run = run_stage(
        pipeline.with_name("local.yaml"),
        "read",
        events,
        replies=[{"mood": "BAD"}],
        local_models=WordModels("words", labels=("GOOD", "BAD")),
        stores=stores,
    )
    assert [result["mood"] for result in run.results] == ["GOOD", "BAD"]
    assert [[call.exchange.model.model for call in trial.calls] for trial in run.trials] == [[], ["gpt-5-mini"]]
    assert sorted(stores.stored["notes"]) == ["n1", "n2"]
    local = [cost for cost in run.costs if cost.provider == "onnx"]
    assert {cost.model for cost in local} == {"words@1"}
    assert {cost.cost for cost in local} == {Decimal("0.0000002")}   # 0.002 s at 0.36 USD an hour
    assert [call.cost.provider for trial in run.trials for call in trial.calls if call.cost] == ["openai"]
    with pytest.raises(UsageError, match="uses the local model 'words', and the test gives none"):
        run_stage(pipeline.with_name("local.yaml"), "read", events, stores=stores)
    with pytest.raises(UsageError, match="uses the store 'notes', and the test gives none"):
        run_stage(pipeline.with_name("local.yaml"), "read", events, local_models=WordModels("words"))
