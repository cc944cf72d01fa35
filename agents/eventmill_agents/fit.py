"""Whether a model is one for a step: told from its card, before the first event."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from eventmill_schemas.avro_types import definition, named_types, record_fields, without_null
from eventmill_schemas.local_models import ModelCard
from eventmill_schemas.pipeline import (
    ClassifyStep,
    EmbedStep,
    InferStep,
    Pipeline,
    PythonStep,
    ResultSchema,
    RetrieveStep,
    Stage,
    StepSpec,
)


class Misfit(NamedTuple):
    """What a step wants of a model that it has not; `key`: where in the step."""

    key: str
    message: str
    remedy: str


def needed_models(pipeline: Pipeline, stage: Stage) -> tuple[tuple[str, ...], bool]:
    """Return the local models that a stage uses, with those of its stores, and whether it uses stores."""
    models: dict[str, None] = {}
    stores = False
    for step in stage.steps:
        match step:
            case ClassifyStep() | InferStep():
                models[step.model] = None
            case EmbedStep():
                models[step.model] = None
                stores = stores or step.store is not None
            case RetrieveStep():
                models[pipeline.stores[step.store].model] = None
                stores = True
            case PythonStep():
                models.update(dict.fromkeys(step.models))
                models.update(dict.fromkeys(pipeline.stores[store].model for store in step.stores))
                stores = stores or bool(step.stores)
    return tuple(models), stores


def misfits(step: StepSpec, card: ModelCard, result: ResultSchema) -> Iterator[Misfit]:
    """Yield what `step` wants of the model on `card` that it has not. Steps without a model want nothing."""
    match step:
        case ClassifyStep():
            yield from _of_labels(step, card, result)
        case EmbedStep():
            yield from _of_vectors(step, card)
        case InferStep():
            yield from _of_tensors(step, card)


def _of_labels(step: ClassifyStep, card: ModelCard, result: ResultSchema) -> Iterator[Misfit]:
    if not card.labels:
        message = f"the model {card.label} gives no labels"
        yield Misfit("model", message, "Build one with `eventmill models build --labels`")
        return
    if card.max_tokens is None:
        yield Misfit("model", f"the model {card.label} takes no texts", "Use it by a step `infer`")
    symbols = _symbols(result.avro, step.into)
    strange = [label for label in card.labels if symbols is not None and label not in symbols]
    if strange:
        listed = ", ".join(f"`{label}`" for label in strange[:5]) + (" ..." if len(strange) > 5 else "")
        yield Misfit(
            "into",
            f"{result.file}: the enum of `{step.into}` has not the labels {listed} of the model {card.label}",
            "Add them to the enum, or build the model with its symbols as labels",
        )


def _of_vectors(step: EmbedStep, card: ModelCard) -> Iterator[Misfit]:
    if card.vector_space is None or card.max_tokens is None:
        message = f"the model {card.label} makes no vectors of texts"
        yield Misfit("model", message, "Take a text encoder, such as `eventmill models build` makes")
    elif step.chunk_tokens is not None and step.chunk_tokens > card.max_tokens:
        message = f"the model {card.label} takes {card.max_tokens} tokens, and chunks would have {step.chunk_tokens}"
        yield Misfit("chunk_tokens", message, f"Say {card.max_tokens} at most")


def _of_tensors(step: InferStep, card: ModelCard) -> Iterator[Misfit]:
    for key, given, there in (("inputs", step.inputs, card.inputs), ("outputs", step.outputs, card.outputs)):
        for name in given:
            if name not in there:
                message = f"the model {card.label} has no {key[:-1]} `{name}`"
                yield Misfit(key, message, f"It has: {', '.join(f'`{one}`' for one in there)}")
    for name in card.inputs:
        if name not in step.inputs:
            yield Misfit("inputs", f"the model {card.label} needs the input `{name}`", "Give it an expression")


def _symbols(avro: Mapping[str, Any], name: str) -> list[str] | None:
    """Return the symbols of the field `name`, None where it is no enum."""
    field = record_fields(avro).get(name)
    if field is None:
        return None
    names = named_types(avro)
    found = definition(without_null(definition(field["type"], names))[0], names)
    return list(found["symbols"]) if isinstance(found, Mapping) and found["type"] == "enum" else None
