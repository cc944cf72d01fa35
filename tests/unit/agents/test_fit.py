"""Whether a model is one for a step is told before the first event."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from eventmill_agents.fit import misfits, needed_models
from eventmill_schemas.local_models import ModelCard
from eventmill_schemas.pipeline import (
    ClassifyStep,
    EmbedStep,
    InferStep,
    Kafka,
    LocalModel,
    Pipeline,
    PythonStep,
    ResultSchema,
    RetrieveStep,
    Stage,
    StepSpec,
    VectorStore,
)

CARD = ModelCard(
    "mini", "1", "cpu", {"ids": (None, None)}, {"vector": (None, 3)}, "space", 3, max_tokens=128, labels=("A", "B")
)
ENUM = {"type": "enum", "name": "E", "symbols": ["A", "C"]}
RESULT = ResultSchema(
    {
        "type": "record",
        "name": "R",
        "fields": [
            {"name": "label", "type": "string"},
            {"name": "kind", "type": ["null", ENUM], "default": None},
            {"name": "again", "type": "E"},
        ],
    },
    "r.avsc",
)


def classify(into: str) -> ClassifyStep:
    """Return a step that puts its label there."""
    return ClassifyStep("c", "mini", "x", into)


@pytest.mark.parametrize(
    ("step", "card", "found"),
    [
        (classify("label"), CARD, []),
        (classify("working"), CARD, []),
        (classify("label"), replace(CARD, labels=()), [("model", "the model mini@1 gives no labels")]),
        (classify("label"), replace(CARD, max_tokens=None), [("model", "the model mini@1 takes no texts")]),
        (classify("kind"), CARD, [("into", "the enum of `kind` has not the labels `B` of the model mini@1")]),
        (classify("again"), CARD, [("into", "the enum of `again` has not the labels `B` of the model mini@1")]),
        (EmbedStep("e", "mini", "x", "s", 128), CARD, []),
        (EmbedStep("e", "mini", "x", "s", 129), CARD,
         [("chunk_tokens", "the model mini@1 takes 128 tokens, and chunks would have 129")]),
        (EmbedStep("e", "mini", "x", "s"), replace(CARD, vector_space=None),
         [("model", "the model mini@1 makes no vectors of texts")]),
        (InferStep("i", "mini", {"ids": "1"}, {"vector": "v"}), CARD, []),
        (InferStep("i", "mini", {"x": "1"}, {"y": "v"}), CARD,
         [("inputs", "the model mini@1 has no input `x`"), ("outputs", "the model mini@1 has no output `y`"),
          ("inputs", "the model mini@1 needs the input `ids`")]),
        (PythonStep("p", "m:f"), CARD, []),
    ],
)  # fmt: skip
def test_what_a_step_wants_of_its_model(step: StepSpec, card: ModelCard, found: list[tuple[str, str]]) -> None:
    """Labels, vectors, tokens, inputs and outputs: each misfit names the key, the model and a remedy."""
    misses = list(misfits(step, card, RESULT))
    assert [(one.key, one.message.removeprefix("r.avsc: ")) for one in misses] == found
    assert all(one.remedy for one in misses)


@pytest.mark.parametrize(
    ("steps", "models", "stores"),
    [
        ([], (), False),
        ([classify("label"), EmbedStep("e", "other", "x", into="v")], ("mini", "other"), False),
        ([EmbedStep("e", "mini", "x", "mails")], ("mini",), True),
        ([RetrieveStep("r", "mails", "x", "found")], ("other",), True),
        ([PythonStep("p", "m:f")], (), False),
        ([PythonStep("p", "m:f", models=("mini",))], ("mini",), False),
        ([PythonStep("p", "m:f", stores=("mails",))], ("other",), True),
    ],
)
def test_only_what_a_stage_uses_is_loaded(
    stage: Callable[..., Stage], steps: list[Any], models: tuple[str, ...], stores: bool
) -> None:
    """Steps use what they name; a store brings its model."""
    made = stage(*steps, fields=[])
    pipeline = Pipeline(
        "p", "/p", Kafka("k:1", "http://r"), (made,), {},
        models={name: LocalModel(name, f"/m/{name}") for name in ("mini", "other")},
        stores={"mails": VectorStore("mails", "other")},
    )  # fmt: skip
    assert needed_models(pipeline, made) == (models, stores)
