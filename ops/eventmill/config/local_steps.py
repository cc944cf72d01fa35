"""Steps that use local models and vector stores: what their values mean together."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from eventmill.config.local_models import check_model
from eventmill.config.problems import listed, suggestion
from eventmill.config.reading import Reading
from eventmill.config.step_entries import ClassifyEntry, EmbedEntry, InferEntry, PythonEntry, RetrieveEntry
from eventmill.config.yaml_nodes import KeyPath
from eventmill_agents.condition import Expression
from eventmill_agents.names import Known
from eventmill_agents.template import TextTemplate
from eventmill_schemas.avro_types import AvroType, definition, kind, named_types, record_fields, without_null
from eventmill_schemas.errors import UsageError
from eventmill_schemas.pipeline import (
    ClassifyStep,
    EmbedStep,
    InferStep,
    PythonStep,
    ResultSchema,
    RetrieveStep,
    StepSpec,
)
from eventmill_schemas.result_schema import ENVELOPE, computed_fields

_TEXTS = frozenset({"string", "enum"})
_FLOATS = frozenset({"float", "double"})


@dataclass(frozen=True, slots=True)
class Around:
    """What a step may speak of. `stores`: the model of each store; `models`, `stores` also those that are wrong.

    `names`: for templates and expressions. `result` None: its schema is wrong.
    """

    models: Collection[str]
    stores: Mapping[str, str | None]
    has_tenant: bool
    names: Known
    result: ResultSchema | None
    reading: Reading

    def compile(self, make: Callable[..., object], text: str, label: str, at: KeyPath) -> None:
        """Note an expression or template that can't work."""
        try:
            make(text, label=label, names=self.names)
        except UsageError as error:
            self.reading.wrong(at, error.message, error.remedy)

    def target(self, name: str | None, at: KeyPath, what: str, fits: Callable[["_Type"], bool]) -> None:
        """Note a name that can't take what a step puts there; `what` says which type would."""
        if name is None or self.result is None:
            return
        if name in ENVELOPE or name in computed_fields(self.result.avro):
            why = "eventmill fills" if name in ENVELOPE else "is computed by its `from`"
            self.reading.wrong(at, f"{self.result.file}: `{name}` is a field that {why}", "Take another name")
            return
        field = record_fields(self.result.avro).get(name)
        if field is not None and not fits(_Type(field["type"], named_types(self.result.avro))):
            self.reading.wrong(at, f"{self.result.file}: the field `{name}` must be {what}")

    def store(self, name: str, at: KeyPath) -> None:
        """Note a store that is not declared."""
        if name not in self.stores:
            remedy = suggestion(name, self.stores) or listed("There are", self.stores) or "Declare it under `stores`"
            self.reading.wrong(at, f"there is no store `{name}`", remedy)


def load_python(entry: PythonEntry, name: str, at: KeyPath, around: Around) -> PythonStep:
    """Return the step that `entry` at `at` stands for; notes models and stores that are not declared."""
    for index, model in enumerate(entry.models):
        check_model(model, around.models, (*at, "models", index), around.reading)
    for index, store in enumerate(entry.stores):
        around.store(store, (*at, "stores", index))
    return PythonStep(name, entry.function, entry.when, tuple(entry.models), tuple(entry.stores))


class _Type:
    """A field's type, null apart."""

    def __init__(self, avro_type: AvroType, names: Mapping[str, Any]) -> None:
        self._names = names
        self._type = definition(without_null(definition(avro_type, names))[0], names)

    @property
    def kind(self) -> str:
        return kind(self._type)

    @property
    def items(self) -> str | None:
        if not isinstance(self._type, Mapping) or self.kind != "array":
            return None
        return _Type(self._type["items"], self._names).kind


def load_local(
    entry: ClassifyEntry | EmbedEntry | InferEntry | RetrieveEntry, name: str, at: KeyPath, around: Around
) -> StepSpec | None:
    """Return the step that `entry` at `at` stands for; None where it can't be told. Notes what is wrong with it."""
    match entry:
        case ClassifyEntry():
            return _classify(entry, name, at, around)
        case EmbedEntry():
            return _embed(entry, name, at, around)
        case InferEntry():
            return _infer(entry, name, at, around)
        case RetrieveEntry():
            return _retrieve(entry, name, at, around)


def _classify(entry: ClassifyEntry, name: str, at: KeyPath, around: Around) -> StepSpec:
    check_model(entry.model, around.models, (*at, "model"), around.reading)
    around.compile(TextTemplate, entry.text, "`text`", (*at, "text"))
    around.target(entry.into, (*at, "into"), "a string or an enum, for a label", lambda it: it.kind in _TEXTS)
    around.target(
        entry.confidence, (*at, "confidence"), "a float or double, for a confidence", lambda it: it.kind in _FLOATS
    )
    return ClassifyStep(name, entry.model, entry.text, entry.into, entry.confidence, entry.threshold, entry.when)


def _embed(entry: EmbedEntry, name: str, at: KeyPath, around: Around) -> StepSpec | None:
    reading = around.reading
    if entry.model is not None:
        check_model(entry.model, around.models, (*at, "model"), reading)
    if entry.store is not None:
        around.store(entry.store, (*at, "store"))
    of_store = around.stores.get(entry.store or "")
    if entry.model is not None and of_store is not None and entry.model != of_store:
        reading.wrong(
            (*at, "model"), f"the store `{entry.store}` has vectors of `{of_store}`, not of `{entry.model}`",
            "Take the store's model, or leave `model` out",
        )
    if entry.store is None and entry.into is None:
        reading.wrong_key(at, "the vectors go nowhere", "Give a `store`, or `into`")
    if entry.store is None and entry.model is None:
        reading.wrong_key(at, "an `embed` step without `store` needs a `model`")
    if entry.chunk_tokens is not None and entry.overlap >= entry.chunk_tokens:
        reading.wrong((*at, "overlap"), "`overlap` must be smaller than `chunk_tokens`")
    around.compile(TextTemplate, entry.text, "`text`", (*at, "text"))
    around.target(entry.into, (*at, "into"), "a list of float or double, for a vector", lambda it: it.items in _FLOATS)
    model = entry.model or of_store
    if model is None:
        return None
    return EmbedStep(
        name, model, entry.text, entry.store, entry.chunk_tokens, entry.overlap, entry.into, entry.when
    )


def _infer(entry: InferEntry, name: str, at: KeyPath, around: Around) -> StepSpec:
    check_model(entry.model, around.models, (*at, "model"), around.reading)
    for one, text in entry.inputs.items():
        around.compile(Expression, text, f"input `{one}`", (*at, "inputs", one))
    for one, into in entry.outputs.items():
        around.target(into, (*at, "outputs", one), "of a type that a model gives", lambda it: it.kind != "map")
    return InferStep(name, entry.model, dict(entry.inputs), dict(entry.outputs), entry.when)


def _retrieve(entry: RetrieveEntry, name: str, at: KeyPath, around: Around) -> StepSpec:
    around.store(entry.store, (*at, "store"))
    around.compile(TextTemplate, entry.text, "`text`", (*at, "text"))
    around.target(
        entry.into, (*at, "into"), "a list of records or of strings, for passages",
        lambda it: it.items in {"record", "string"},
    )
    if entry.tenant == "own" and not around.has_tenant:
        around.reading.wrong(
            (*at, "tenant"), "the stage's events have no tenant", "Name its field under `event`, or say `tenant: any`"
        )
    any_tenant = entry.tenant == "any" or (entry.tenant is None and not around.has_tenant)
    return RetrieveStep(
        name, entry.store, entry.text, entry.into, entry.limit, entry.min_similarity, any_tenant, entry.when
    )
