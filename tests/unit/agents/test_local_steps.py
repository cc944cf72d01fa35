"""Steps with local models and vector stores: what they fill, what they cost, what they spare."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill_agents.cost import compute_cost
from eventmill_agents.enrich import Enricher
from eventmill_agents.local_calls import LocalParts
from eventmill_agents.outcome import DeadLetter, Outcome, Provenance, Result
from eventmill_connectors.testing import ScriptedChat, VectorsInMemory, WordModels, replied
from eventmill_schemas.cost import Certainty
from eventmill_schemas.errors import (
    InferenceFailed,
    InvalidReply,
    LocalModelAway,
    MissingEventField,
    PostgresUnreachable,
    UsageError,
)
from eventmill_schemas.events import Event
from eventmill_schemas.pipeline import (
    Cite,
    ClassifyStep,
    CompleteStep,
    EmbedStep,
    InferStep,
    PythonStep,
    RetrieveStep,
    Stage,
    StepSpec,
)

LABELS = ("BUG", "BILLING")
CATEGORY = {"name": "category", "type": {"type": "enum", "name": "Category", "symbols": ["BUG", "BILLING"]}}
SUMMARY = {"name": "summary", "type": "string"}
SURENESS = {"name": "sureness", "type": "double"}
VECTOR = {"name": "vector", "type": ["null", {"type": "array", "items": "float"}], "default": None}
SCORE = {"name": "score", "type": "double"}
COUNT = {"name": "count", "type": ["null", "int"], "default": None}
SOURCES = {"name": "sources", "type": {"type": "array", "items": "string"}}
CLASSIFY = ClassifyStep("classify", "words", "{{ event.body }}", "category", "sureness", 0.9)
EMBED = EmbedStep("embed", "words", "{{ event.body }}", "mails")


@dataclass
class Kit:
    """A stage at work: its doubles, and what became of one event."""

    make_stage: Callable[..., Stage]
    make_enricher: Callable[..., Enricher]
    event: Callable[..., Event]
    gate: Any
    models: WordModels
    stores: VectorsInMemory

    def enricher(
        self, *steps: StepSpec, fields: list[dict[str, Any]], chat: ScriptedChat | None = None, **functions: Any
    ) -> Enricher:
        """Make the enricher of a stage with these steps."""
        parts = LocalParts(self.models, self.stores, {"words": Decimal("0.04")}, {"mails": "words"})
        stage = self.make_stage(*steps, fields=fields)
        targets = {f"user:{name}": function for name, function in functions.items()}
        return self.make_enricher(stage, chat, targets, local=parts)

    async def enrich(self, made: Enricher, **event: Any) -> Outcome:
        """Enrich one event."""
        return await made.enrich(self.event(**event), self.gate)


@pytest.fixture
def kit(stage: Any, enricher: Any, event: Any, gate: Any) -> Kit:
    """Give a kit whose models count words."""
    return Kit(stage, enricher, event, gate, WordModels("words", labels=LABELS), VectorsInMemory("mails"))


def fields_of(outcome: Outcome) -> Mapping[str, Any]:
    """Return the fields of a result."""
    assert isinstance(outcome.end, Result), outcome.end
    return outcome.end.fields


def asked_for(chat: ScriptedChat) -> list[list[str]]:
    """Return the fields that each request asked for."""
    return [list((asked.request.schema or {})["properties"]) for asked in chat.asked]


async def test_what_the_classifier_is_sure_of_is_not_asked(kit: Kit, complete_step: Any) -> None:
    """A sure label fills its field, and the model is asked for the rest only."""
    chat = ScriptedChat(then=replied('{"summary": "It crashes."}'))
    made = kit.enricher(CLASSIFY, complete_step(), fields=[CATEGORY, SUMMARY, SURENESS], chat=chat)
    outcome = await kit.enrich(made, body="a bug again")
    assert fields_of(outcome) == {"category": "BUG", "summary": "It crashes.", "sureness": 0.99}
    assert asked_for(chat) == [["summary"]]
    assert [cost.provider for cost in outcome.costs] == ["onnx", "openai"]


async def test_what_it_is_not_sure_of_is_asked(kit: Kit, complete_step: Any) -> None:
    """An unsure label leaves its field open; how sure it was is there all the same."""
    chat = ScriptedChat(then=replied('{"category": "BILLING", "summary": "Money."}'))
    made = kit.enricher(CLASSIFY, complete_step(), fields=[CATEGORY, SUMMARY, SURENESS], chat=chat)
    outcome = await kit.enrich(made, body="hello")
    assert fields_of(outcome) == {"category": "BILLING", "summary": "Money.", "sureness": 0.4}
    assert asked_for(chat) == [["category", "summary"]]


async def test_where_nothing_is_left_no_call_is_made(kit: Kit, complete_step: Any) -> None:
    """A sure event costs its compute seconds and nothing else; its result names the local model."""
    chat = ScriptedChat()
    made = kit.enricher(CLASSIFY, complete_step(), fields=[CATEGORY, SURENESS], chat=chat)
    outcome = await kit.enrich(made, body="a bug")
    assert outcome.end == Result({"category": "BUG", "sureness": 0.99}, Provenance("words@1", None))
    assert not chat.asked
    (cost,) = outcome.costs
    assert (cost.provider, cost.model, cost.device, cost.compute_seconds) == (
        "onnx", "words@1", "cpu", Decimal("0.002"),
    )  # fmt: skip
    assert (cost.cost, cost.certainty) == (Decimal("0.000000022222"), Certainty.EXACT)
    assert cost.usage is not None
    assert cost.usage.input_tokens == 4


async def test_without_threshold_every_label_is_taken(kit: Kit) -> None:
    """Only a blank text has none: then nothing is computed, and confidence is 0."""
    step = ClassifyStep("classify", "words", "{{ event.body }}", "category", "sureness")
    fields = [{**CATEGORY, "type": ["null", CATEGORY["type"]], "default": None}, SURENESS]
    made = kit.enricher(step, fields=fields)
    assert fields_of(await kit.enrich(made, body="hello")) == {"category": "BUG", "sureness": 0.4}
    outcome = await kit.enrich(made, body=" \n")
    assert (fields_of(outcome), outcome.costs) == ({"sureness": 0.0}, ())


async def test_ids_and_costs_are_the_same_after_a_replay(kit: Kit) -> None:
    """The same event gives the same cost ids, another event and another text give others."""
    made = kit.enricher(CLASSIFY, fields=[{**CATEGORY, "default": "BUG"}, SURENESS])
    bodies = [("e-1", "a bug"), ("e-1", "a bug"), ("e-2", "a bug"), ("e-1", "two bug")]
    ids = [(await kit.enrich(made, id=name, body=body)).costs[0].call_id for name, body in bodies]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


async def test_a_model_without_price_is_not_free(kit: Kit) -> None:
    """Where no price per hour is known, seconds are told and no amount is."""
    made = kit.make_enricher(
        kit.make_stage(CLASSIFY, fields=[{**CATEGORY, "default": "BUG"}, SURENESS]), local=LocalParts(kit.models)
    )
    (cost,) = (await kit.enrich(made, body="a bug")).costs
    assert (cost.certainty, cost.cost, cost.compute_seconds) == (Certainty.UNPRICED, None, Decimal("0.002"))


async def test_working_values_are_seen_and_not_published(kit: Kit) -> None:
    """A name that is no field is seen by conditions, templates, functions and computed fields after it."""
    seen: list[Any] = []

    def look(event: Event, so_far: Mapping[str, Any], call: Any) -> dict[str, Any]:
        seen.append(so_far["guess"])
        return {"summary": so_far["guess"]}

    computed = {"name": "upper", "type": "string", "from": "result.guess | lower"}
    made = kit.enricher(
        ClassifyStep("classify", "words", "{{ event.body }}", "guess"),
        PythonStep("look", "user:look", when="result.guess == 'BILLING'"),
        fields=[{**SUMMARY, "default": "none"}, computed],
        look=look,
    )
    assert fields_of(await kit.enrich(made, body="billing")) == {"summary": "BILLING", "upper": "billing"}
    assert fields_of(await kit.enrich(made, body="a bug")) == {"upper": "bug"}
    assert seen == ["BILLING"], "the step whose condition is false was left out"


async def test_chunks_are_stored_with_their_vectors(kit: Kit) -> None:
    """Every chunk is in the store, as the event's; the result gets the normalised mean."""
    step = EmbedStep("embed", "words", "{{ event.body }}", "mails", chunk_tokens=5, overlap=1, into="vector")
    outcome = await kit.enrich(kit.enricher(step, fields=[VECTOR]), body="one two three four five six")
    owner, chunks = kit.stores.stored["mails"]["e-1"]
    assert [chunk.text for chunk in chunks] == ["one two three", "three four five", "five six"]
    assert (owner.tenant, str(owner.source)) == ("acme", "mails/3@41")
    vector = fields_of(outcome)["vector"]
    assert sum(value * value for value in vector) == pytest.approx(1)
    mean = sum(chunk.vector for chunk in chunks)
    assert vector == pytest.approx((mean / (mean @ mean) ** 0.5).tolist())
    assert len(outcome.costs) == 1, "one cost event for all chunks of the step"


async def test_what_is_unchanged_is_not_computed_again(kit: Kit) -> None:
    """A replay of an event whose chunks are stored computes nothing, and costs nothing."""
    made = kit.enricher(EMBED, fields=[{**SUMMARY, "default": ""}])
    assert len((await kit.enrich(made, body="some words")).costs) == 1
    assert (await kit.enrich(made, body="some words")).costs == ()
    assert len((await kit.enrich(made, body="other words")).costs) == 1
    assert len(kit.models.encoded) == 2


async def test_a_text_that_became_blank_leaves_no_chunk(kit: Kit) -> None:
    """The chunks that an event had are taken away; null is its vector, where the field takes null."""
    step = EmbedStep("embed", "words", "{{ event.body }}", "mails", into="vector")
    made = kit.enricher(step, fields=[VECTOR])
    await kit.enrich(made, body="some words")
    assert fields_of(await kit.enrich(made, body="  ")) == {"vector": None}
    assert kit.stores.stored["mails"]["e-1"][1] == ()
    strict = kit.enricher(step, fields=[{"name": "vector", "type": {"type": "array", "items": "float"}}])
    end = (await kit.enrich(strict, body="")).end
    assert isinstance(end, DeadLetter)
    assert isinstance(end.error, MissingEventField)
    assert end.step == "embed"


@pytest.mark.parametrize(
    ("field", "output", "value"),
    [
        (SCORE, 0.25, 0.25),
        (SCORE, [[0.25]], 0.25),
        (COUNT, [3], 3),
        (VECTOR, [0.5, 0.25], [0.5, 0.25]),
        (SUMMARY, ["yes"], "yes"),
    ],
)
async def test_outputs_are_read_by_the_type_of_their_field(
    kit: Kit, field: dict[str, Any], output: Any, value: Any
) -> None:
    """One value fits a field that is no list, whatever axes it has; a list stays a list."""
    kit.models = WordModels("words", outputs={"y": output})
    step = InferStep("infer", "words", {"x": "event.amount"}, {"y": field["name"]})
    outcome = await kit.enrich(kit.enricher(step, fields=[field]), amount=[1, 2])
    assert fields_of(outcome) == {field["name"]: value}
    assert kit.models.inferred == [("words", {"x": [1, 2]})]
    assert outcome.costs[0].usage is None


@pytest.mark.parametrize(
    ("field", "outputs", "message"),
    [
        (COUNT, {"y": 0.5}, "output 'y' of step 'infer': the field 'count' holds"),
        (SCORE, {"y": [1.0, 2.0]}, "output 'y' of step 'infer': the field 'score' holds"),
        (SCORE, {"z": 1.0}, "the model 'words' has no output 'y'. It has: z"),
    ],
)
async def test_outputs_that_do_not_fit_are_named(
    kit: Kit, field: dict[str, Any], outputs: dict[str, Any], message: str
) -> None:
    """A model of another kind than the result wants makes a dead letter that says which output."""
    kit.models = WordModels("words", outputs=outputs)
    step = InferStep("infer", "words", {"x": "event.amount"}, {"y": field["name"]})
    end = (await kit.enrich(kit.enricher(step, fields=[field]), amount=1)).end
    assert isinstance(end, DeadLetter)
    assert isinstance(end.error, InferenceFailed)
    assert message in str(end.error)


async def test_passages_come_into_the_prompt_and_citations_are_checked(kit: Kit, complete_step: Any) -> None:
    """Nearest first, not the event's own; an answer may cite what it was given."""
    store = kit.enricher(EMBED, fields=[{**SUMMARY, "default": ""}])
    for name, body in (("a", "the invoice is wrong"), ("b", "app crashes"), ("c", "an invoice")):
        await kit.enrich(store, id=name, body=body)
    chat = ScriptedChat(
        replied('{"summary": "As before.", "sources": ["a#0"]}'), replied('{"summary": "x", "sources": ["z#0"]}')
    )
    ask = complete_step(
        user="{% for one in result.passages %}[{{ one.id }}] {{ one.text }} {{ one.source }}\n{% endfor %}",
        cite=Cite("sources", "passages"),
    )
    find = RetrieveStep("retrieve", "mails", "{{ event.body }}", "passages", limit=2)
    made = kit.enricher(find, ask, fields=[SUMMARY, SOURCES], chat=chat)
    outcome = await kit.enrich(made, id="b2", body="the invoice")
    assert fields_of(outcome) == {"summary": "As before.", "sources": ["a#0"]}
    prompt = chat.asked[0].request.user
    assert prompt.index("[a#0]") < prompt.index("[c#0]")
    assert "crashes" not in prompt
    assert "mails/3@41" in prompt
    end = (await kit.enrich(made, id="b3", body="the invoice")).end
    assert isinstance(end, DeadLetter)
    assert isinstance(end.error, InvalidReply)
    assert "cites 'z#0'" in end.error.message


async def test_passages_of_the_event_itself_and_of_other_tenants_are_left_out(kit: Kit) -> None:
    """Unless all tenants are wanted; a result's records get the fields that they have, a list of texts the ids."""
    store = kit.enricher(EMBED, fields=[{**SUMMARY, "default": ""}])
    for name, tenant in (("a", "acme"), ("b", "other"), ("self", "acme")):
        await kit.enrich(store, id=name, tenant=tenant, body="the same words")
    record = {"type": "record", "name": "Passage", "fields": [{"name": "text", "type": "string"}]}
    found = {"name": "found", "type": {"type": "array", "items": record}}
    own = RetrieveStep("own", "mails", "{{ event.body }}", "found")
    every = RetrieveStep("every", "mails", "{{ event.body }}", "sources", any_tenant=True)
    made = kit.enricher(own, every, fields=[found, SOURCES])
    outcome = await kit.enrich(made, id="self", body="the same words")
    assert fields_of(outcome) == {"found": [{"text": "the same words"}], "sources": ["a#0", "b#0"]}
    assert [cost.step for cost in outcome.costs] == ["own", "every"]
    assert fields_of(await kit.enrich(made, id="self", body=" ")) == {"found": [], "sources": []}


async def test_while_models_or_stores_are_away_the_event_waits(kit: Kit) -> None:
    """Each has its door, and no event is to blame; it opens when the next try goes well."""
    kit.models.failures = [LocalModelAway("device lost"), LocalModelAway("device lost")]
    kit.stores.failures = [PostgresUnreachable("starting")]
    outcome = await kit.enrich(kit.enricher(EMBED, fields=[{**SUMMARY, "default": ""}]), body="words")
    assert isinstance(outcome.end, Result)
    assert kit.gate.waits == [("postgres_unreachable", 1), ("local_model_away", 1), ("local_model_away", 2)]
    assert {"postgres_unreachable", "local_model_away"} <= set(kit.gate.opens)
    assert len(outcome.costs) == 1


async def test_a_door_is_opened_by_who_has_waited_at_it(kit: Kit) -> None:
    """That texts are cut, another model computes or Postgres reads says nothing of what is away for others."""
    steps = (CLASSIFY, EMBED)
    outcome = await kit.enrich(kit.enricher(*steps, fields=[CATEGORY, SURENESS]), body="a bug")
    assert isinstance(outcome.end, Result)
    assert kit.gate.opens == []


async def test_an_input_that_is_refused_shows_that_the_model_is_back(kit: Kit) -> None:
    """Who has waited opens the door also where the answer, at last, is that his input can't be computed."""
    kit.models.failures = [LocalModelAway("device lost"), InferenceFailed("too large")]
    outcome = await kit.enrich(kit.enricher(CLASSIFY, fields=[CATEGORY, SURENESS]), body="a bug")
    assert isinstance(outcome.end, DeadLetter)
    assert kit.gate.opens == ["local_model_away"]


async def test_arrays_are_told_apart_by_all_of_their_numbers(kit: Kit) -> None:
    """Long arrays that differ in the middle, or in a late digit, are different work: each is run and paid."""
    long = np.zeros(5000, np.float32)
    other = long.copy()
    other[2500] = 1

    async def work(event: Event, so_far: Mapping[str, Any], call: Any) -> dict[str, Any]:
        for inputs in (long, other, [np.array([1 / 3])], [np.array([1 / 3 + 1e-12])], long):
            await call.infer("words", {"x": inputs})
        return {"summary": ""}

    outcome = await kit.enrich(kit.enricher(PythonStep("work", "user:work"), fields=[SUMMARY], work=work))
    assert isinstance(outcome.end, Result), outcome.end
    assert len({cost.cost_id for cost in outcome.costs}) == len(outcome.costs) == len(kit.models.inferred) == 4


async def test_what_a_model_can_not_compute_is_a_dead_letter(kit: Kit) -> None:
    """An input that fails alone ends its own event, at its step."""
    kit.models.failures = [InferenceFailed("too large")]
    end = (await kit.enrich(kit.enricher(EMBED, fields=[{**SUMMARY, "default": ""}]), body="words")).end
    assert isinstance(end, DeadLetter)
    assert (end.error.kind, end.step) == ("inference_failed", "embed")


async def test_python_steps_have_the_same_ports(kit: Kit) -> None:
    """Asynchronous and plain functions encode, cut, infer, store and search; equal work is done and paid once."""

    async def work(event: Event, so_far: Mapping[str, Any], call: Any) -> dict[str, Any]:
        (first,) = await call.encode("words", ["a bug"])
        (again,) = await call.encode("words", ["a bug"])
        assert first is again
        assert await call.split("words", "one two three", max_tokens=4) == ["one two", "three"]
        assert not await call.unchanged("mails", ["x"])
        return {"summary": str(first.label)}

    def plain(event: Event, so_far: Mapping[str, Any], call: Any) -> dict[str, Any]:
        outputs = call.infer("words", {"x": 1})
        found = call.search("mails", "a bug", limit=1, any_tenant=True)
        return {"score": outputs["y"] + len(found)}

    kit.models = WordModels("words", labels=LABELS, outputs={"y": 0.5})
    steps = (PythonStep("work", "user:work"), PythonStep("plain", "user:plain"))
    outcome = await kit.enrich(kit.enricher(*steps, fields=[SUMMARY, SCORE], work=work, plain=plain), body="x")
    assert fields_of(outcome) == {"summary": "BUG", "score": 0.5}
    assert [(cost.step, cost.provider) for cost in outcome.costs] == [
        ("work", "onnx"), ("plain", "onnx"), ("plain", "onnx"),
    ]  # fmt: skip


async def test_a_port_that_is_not_there_is_named(kit: Kit) -> None:
    """A function that calls something else gets the list of what there is."""

    async def work(event: Event, so_far: Mapping[str, Any], call: Any) -> dict[str, Any]:
        await call.embed("words")
        return {}

    made = kit.enricher(PythonStep("work", "user:work"), fields=[{**SUMMARY, "default": ""}], work=work)
    end = (await kit.enrich(made, body="x")).end
    assert isinstance(end, DeadLetter)
    assert "there is no call.embed; there are: complete, encode, infer" in end.error.message


async def test_unknown_models_and_stores_are_the_pipelines_mistake(kit: Kit) -> None:
    """No event is made a dead letter for them."""

    async def work(event: Event, so_far: Mapping[str, Any], call: Any) -> dict[str, Any]:
        await call.search("nowhere", "x")
        return {}

    made = kit.enricher(PythonStep("work", "user:work"), fields=[{**SUMMARY, "default": ""}], work=work)
    end = (await kit.enrich(made, body="x")).end
    assert isinstance(end, DeadLetter)
    assert "nowhere" in end.error.message
    bare = kit.make_enricher(kit.make_stage(CLASSIFY, fields=[{**CATEGORY, "default": "BUG"}, SURENESS]))
    with pytest.raises(UsageError, match="no local model is loaded"):
        await kit.enrich(bare, body="x")


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (ClassifyStep("c", "words", "{{ event.body", "category"), "`text` of step 'c'"),
        (ClassifyStep("c", "words", "{{ result.nothing }}", "category"), "result.nothing does not exist"),
        (InferStep("i", "words", {"x": "event."}, {"y": "score"}), "input 'x' of step 'i'"),
        (EmbedStep("e", "words", "x", "mails", when="result.late"), "result.late does not exist"),
    ],
)
def test_what_can_be_told_without_an_event_is_told_at_the_start(kit: Kit, step: StepSpec, message: str) -> None:
    """Templates, expressions and conditions are compiled before the first event."""
    fields = [{**CATEGORY, "default": "BUG"}, {**SCORE, "default": 0.0}]
    with pytest.raises(UsageError) as caught:
        kit.enricher(step, fields=fields)
    assert message in str(caught.value)


def test_complete_does_not_ask_for_what_others_fill(kit: Kit, complete_step: Any) -> None:
    """Vectors and scores of the steps around it are none of its fields; what a later classifier fills neither."""
    seen: list[CompleteStep] = [complete_step()]
    made = kit.enricher(
        EmbedStep("embed", "words", "x", into="vector"),
        *seen,
        ClassifyStep("late", "words", "x", "category"),
        InferStep("infer", "words", {"x": "1"}, {"y": "score"}),
        fields=[CATEGORY, SUMMARY, {**VECTOR}, SCORE],
    )
    complete = made._steps[1]
    assert complete._fields == ("summary",)  # type: ignore[attr-defined]  # its own


@given(
    st.decimals(0, 10**6, places=12, allow_nan=False),
    st.decimals(0, 10**6, places=6, allow_nan=False),
)
def test_compute_costs_are_exact(seconds: Decimal, price: Decimal) -> None:
    """Rounded once, half to even, at 12 places: as fractions say."""
    from fractions import Fraction

    exact = Fraction(seconds) * Fraction(price) / 3600 * 10**12
    assert int(compute_cost(seconds, price).scaleb(12)) == round(exact)


def test_json_of_the_schemas_is_cached_by_what_is_open(kit: Kit, complete_step: Any) -> None:
    """The same open fields give the same schema object: it is compiled once, however many events there are."""
    made = kit.enricher(CLASSIFY, complete_step(), fields=[CATEGORY, SUMMARY, SURENESS], chat=ScriptedChat())
    complete = made._steps[1]
    first, second = (complete._schema(("summary",)) for _ in range(2))  # type: ignore[attr-defined]  # its own
    assert first is second
    assert json.dumps(first)
