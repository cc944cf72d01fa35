"""Local models, stores and the steps that use them, as they are written in the pipeline file."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from eventmill.config.advice import advise
from eventmill.config.examine import examine
from eventmill.config.load import load_with_lines
from eventmill_schemas.errors import PipelineFileErrors
from eventmill_schemas.pipeline import (
    Cite,
    ClassifyStep,
    CompleteStep,
    Device,
    EmbedStep,
    InferStep,
    LocalModel,
    PythonStep,
    RetrieveStep,
    VectorIndex,
    VectorStore,
)

PIPELINE = """\
pipeline: mail
postgres: "${DATABASE_URL:-}"
models:
  categories: {onnx: models/categories, price_per_hour: 0.04}
  minilm: {onnx: models/minilm, device: cuda, threads: 3, require_gpu: false}
stores:
  mails: {model: minilm, index: none, table: vectors}
routes:
  writer: [{provider: openai, model: gpt-5-mini}]
stages:
  triage:
    input: mails
    event: {tenant: tenant}
    result: triage.avsc
    steps:
      - classify: {model: categories, text: "{{ event.body }}", into: category, confidence: sureness, threshold: 0.9}
      - retrieve: {store: mails, text: "{{ event.body }}", limit: 3, min_similarity: 0.3, into: passages}
      - complete: {route: writer, prompt: p.md, cite: {field: sources, from: passages}, when: "result.sureness < 1"}
      - embed: {text: "{{ event.body }}", store: mails, chunk_tokens: 200, overlap: 20, into: vector}
      - infer: {model: categories, inputs: {amount: event.amount}, outputs: {probability: score}}
      - python: {function: "m:f", models: [minilm], stores: [mails]}
"""
WITHOUT_PYTHON = PIPELINE[: PIPELINE.index("      - python")]
PROMPT = "{{ event.body }} {% for one in result.passages %}{{ one.id }}{% endfor %} {{ result.sureness }}"
FIELDS = [
    {"name": "category", "type": {"type": "enum", "name": "C", "symbols": ["BUG", "OTHER"]}},
    {"name": "sources", "type": {"type": "array", "items": "string"}},
    {"name": "vector", "type": ["null", {"type": "array", "items": "float"}], "default": None},
    {"name": "score", "type": "double"},
    {"name": "found", "type": "int", "from": "result.passages | length"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with a right pipeline."""
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    (tmp_path / "p.md").write_text(PROMPT)
    (tmp_path / "triage.avsc").write_text(json.dumps({"type": "record", "name": "Triage", "fields": FIELDS}))
    return tmp_path


def test_everything_is_read_as_it_is_written(folder: Path) -> None:
    """Models, stores and steps arrive with every value; an embed step without model has that of its store."""
    pipeline = load_with_lines(folder / "pipeline.yaml", {"DATABASE_URL": "postgresql://u:hush@h/d"}).pipeline
    assert pipeline.postgres == "postgresql://u:hush@h/d"
    assert "hush" not in repr(pipeline)
    assert pipeline.models == {
        "categories": LocalModel("categories", str(folder / "models/categories"), price_per_hour=Decimal("0.04")),
        "minilm": LocalModel("minilm", str(folder / "models/minilm"), Device.CUDA, 3, require_gpu=False),
    }
    assert pipeline.stores == {"mails": VectorStore("mails", "minilm", VectorIndex.NONE, "vectors")}
    classify, retrieve, complete, embed, infer, python = pipeline.stages[0].steps
    body = "{{ event.body }}"
    assert classify == ClassifyStep("classify", "categories", body, "category", "sureness", 0.9)
    assert retrieve == RetrieveStep("retrieve", "mails", body, "passages", 3, 0.3, any_tenant=False)
    assert isinstance(complete, CompleteStep)
    assert (complete.cite, complete.when) == (Cite("sources", "passages"), "result.sureness < 1")
    assert embed == EmbedStep("embed", "minilm", body, "mails", 200, 20, "vector")
    assert python == PythonStep("f", "m:f", models=("minilm",), stores=("mails",))
    assert infer == InferStep("infer", "categories", {"amount": "event.amount"}, {"probability": "score"})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("classify: {model: categories", "classify: {model: catgories",
         "there is no model `catgories`. Did you mean `categories`?"),
        ("retrieve: {store: mails", "retrieve: {store: x", "there is no store `x`. There are: `mails`"),
        ("mails: {model: minilm", "mails: {model: x", "there is no model `x`. There are: `categories`, `minilm`"),
        ("models: [minilm]", "models: [minlm]", "there is no model `minlm`. Did you mean `minilm`?"),
        ("stores: [mails]", "stores: [x]", "there is no store `x`. There are: `mails`"),
        ("embed: {text", "embed: {model: categories, text",
         ("the store `mails` has vectors of `minilm`, not of `categories`. "
         "Take the store's model, or leave `model` out")),
        (', store: mails, chunk_tokens: 200, overlap: 20, into: vector', ", model: minilm",
         "the vectors go nowhere. Give a `store`, or `into`"),
        ("      - infer:", '      - embed: {text: "{{ event.subject }}", store: mails}\n      - infer:',
         ("a step before keeps the event's chunks in `mails` already, and this one would replace them. "
         "Embed both texts in one step, give each its own store, or leave one out by `when`")),
        ("overlap: 20", "overlap: 200", "`overlap` must be smaller than `chunk_tokens`"),
        ("into: category, confidence: sureness", "into: score, confidence: sureness",
         "FOLDER/triage.avsc: the field `score` must be a string or an enum, for a label"),
        ("confidence: sureness", "confidence: category",
         "FOLDER/triage.avsc: the field `category` must be a float or double, for a confidence"),
        ("into: vector", "into: sources",
         "FOLDER/triage.avsc: the field `sources` must be a list of float or double, for a vector"),
        ("into: passages", "into: found",
         "FOLDER/triage.avsc: `found` is a field that is computed by its `from`. Take another name"),
        ("into: vector", "into: cost",
         "FOLDER/triage.avsc: `cost` is a field that eventmill fills. Take another name"),
        ("from: passages", "from: passage",
         "no `retrieve` step before puts passages into `passage`. Did you mean `passages`?"),
        ("field: sources", "field: vector", "the step does not fill `vector`. It fills: `category`, `sources`"),
        ("result.sureness < 1", "result.sureness <",
         "`when` 'result.sureness <': unexpected 'end' at column 18"),
        ('text: "{{ event.body }}", limit', 'text: "{{ event.body ", limit',
         "`text` '{{ event.body': unexpected end of template, expected 'end of print statement'."),
        ("amount: event.amount", "amount: result.vecto",
         ("input `amount` 'result.vecto': result.vecto does not exist "
         "(result has: category, sources, vector, score, sureness, passages)")),
        ("event: {tenant: tenant}", "event: {tenant: null}", None),
        ("limit: 3", "limit: 0", "`limit` must be at least 1, not `0`"),
        ("threshold: 0.9", "threshold: 1.5", "`threshold` must be at most 1, not `1.5`"),
        ("price_per_hour: 0.04", "price_per_hour: cheap",
         "`price_per_hour` must be a number of USD per hour, such as `0.04`, not `cheap`"),
        ("device: cuda, ", "",
         "`require_gpu` is for models on a GPU, and this one computes on the CPU. Take it away, or say `device: cuda`"),
        ('postgres: "${DATABASE_URL:-}"\n', "",
         "stores are kept in Postgres, and the pipeline has none. Give its address: `postgres: ...`"),
        ("outputs: {probability: score}", "outputs: {}", "`outputs` must not be empty"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_remedy(folder: Path, old: str, new: str, message: str | None) -> None:
    """A mistake is told at a line of the file, also where it brings others with it; what is none gives no message."""
    assert PIPELINE.count(old) == 1
    (folder / "pipeline.yaml").write_text(PIPELINE.replace(old, new))
    found: list[Any] = []
    try:
        load_with_lines(folder / "pipeline.yaml", {})
    except Exception as error:  # noqa: BLE001 - the kind is compared below
        found = [(one.line, str(one).partition(": ")[2].replace(str(folder), "FOLDER")) for one in error.errors]  # type: ignore[attr-defined]  # of PipelineFileErrors
    assert (message in [text for _, text in found]) if message else not found
    assert all(line for line, _ in found)


def test_own_tenant_needs_a_tenant(folder: Path) -> None:
    """A store is not filtered by a tenant that no event has."""
    text = PIPELINE.replace("event: {tenant: tenant}", "event: {}").replace("limit: 3", "limit: 3, tenant: own")
    (folder / "pipeline.yaml").write_text(text)
    with pytest.raises(Exception, match="the stage's events have no tenant"):
        load_with_lines(folder / "pipeline.yaml", {})


def test_without_tenant_field_passages_of_all_are_found(folder: Path) -> None:
    """The default of `tenant` is what the stage can do."""
    (folder / "pipeline.yaml").write_text(PIPELINE.replace("event: {tenant: tenant}", "event: {}"))
    step = load_with_lines(folder / "pipeline.yaml", {}).pipeline.stages[0].steps[1]
    assert isinstance(step, RetrieveStep)
    assert step.any_tenant


def test_what_nobody_uses_is_said(folder: Path) -> None:
    """A model or store without a step is a warning; so is a field that an unsure classifier leaves open for nobody."""
    text = WITHOUT_PYTHON.replace("stores:\n", "  spare: {onnx: models/spare}\nstores:\n  old: {model: spare}\n")
    (folder / "pipeline.yaml").write_text(text)
    warnings = [advice.message for advice in advise(load_with_lines(folder / "pipeline.yaml", {}))]
    assert warnings[:1] == ["no step uses the store `old`"]


def test_a_field_left_open_for_nobody_is_said(folder: Path) -> None:
    """With a threshold, and no later step that fills the field, an unsure label makes a dead letter: check warns."""
    lines = [line for line in WITHOUT_PYTHON.splitlines() if "complete:" not in line]
    fields = [field for field in FIELDS if field["name"] != "sources"]
    (folder / "triage.avsc").write_text(json.dumps({"type": "record", "name": "Triage", "fields": fields}))
    (folder / "pipeline.yaml").write_text("\n".join(lines))
    warnings = [advice.message for advice in advise(load_with_lines(folder / "pipeline.yaml", {}))]
    assert any("`category` stays open where `classify` is not sure" in warning for warning in warnings)


def test_a_model_that_is_not_there_is_a_warning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`check` passes where models are built elsewhere, and says that no worker can start here."""
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    text = WITHOUT_PYTHON.replace("onnx: models/minilm,", "onnx: models/minilm, price_per_hour: 1,")
    (folder / "pipeline.yaml").write_text(text)
    found = examine(load_with_lines(folder / "pipeline.yaml", {}), {"OPENAI_API_KEY": "x"})
    said = [warning.message.replace(str(folder), "FOLDER") for warning in found.warnings]
    assert [warning for warning in said if warning.startswith("no worker can start here")] == [
        ("no worker can start here: there is no model at FOLDER/models/categories. "
        "Make it with `eventmill models build` or `eventmill models import`"),
        ("no worker can start here: there is no model at FOLDER/models/minilm. "
        "Make it with `eventmill models build` or `eventmill models import`"),
        "no worker can start here: `postgres` is empty, and stores are kept there",
    ]


def test_a_model_that_is_there_and_unusable_is_a_mistake(folder: Path) -> None:
    """So is a model without a price, unless that is allowed."""
    (folder / "models/categories").mkdir(parents=True)
    with pytest.raises(PipelineFileErrors) as caught:
        examine(load_with_lines(folder / "pipeline.yaml", {}), {})
    messages = [error.message for error in caught.value.errors]
    assert any("is no model" in message for message in messages)
    assert "no price is known for the local model `minilm`" in messages
