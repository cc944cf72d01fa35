"""What is legal in a pipeline and probably not meant."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from eventmill.config.load import Loaded
from eventmill.config.problems import suggestion
from eventmill_agents.filling import Filling, filling
from eventmill_schemas.pipeline import (
    ClassifyStep,
    CompleteStep,
    EmbedStep,
    InferStep,
    ModelRef,
    Pipeline,
    PriceOverride,
    PythonStep,
    RetrieveStep,
    Stage,
)
from eventmill_schemas.result_schema import answer_fields
from eventmill_schemas.warehouse import warehouse_warnings

_DATED = re.compile(r"(-\d{4}-\d{2}-\d{2})?")


@dataclass(frozen=True, slots=True)
class Advice:
    """One warning, and where to look; `line` None: the whole file."""

    file: str
    line: int | None
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.message}"


def advise(loaded: Loaded) -> list[Advice]:
    """Return the warnings about a pipeline, from its files alone."""
    found = [*_unused(loaded)]
    for stage in loaded.pipeline.stages:
        found += _about_stage(stage, loaded)
        found += [Advice(stage.result.file, None, warning) for warning in warehouse_warnings(stage.result.avro)]
    return list(dict.fromkeys(found))


def _unused(loaded: Loaded) -> Iterator[Advice]:
    pipeline, document = loaded
    asked = {step.route for stage in pipeline.stages for step in stage.steps if isinstance(step, CompleteStep)}
    for route in pipeline.routes:
        if route not in asked and not _has_python(pipeline):   # a function may ask any route
            yield Advice(document.file, document.key_line(("routes", route)), f"no step asks the route `{route}`")
    yield from _unused_local(loaded)
    models = [model for models in pipeline.routes.values() for model in models]
    for index, price in enumerate(pipeline.prices):
        if not any(_is_priced_by(model, price) for model in models):
            line = document.key_line(("prices", index))
            yield Advice(document.file, line, f"no route has the model `{price.model}`, which has a price here")


def _unused_local(loaded: Loaded) -> Iterator[Advice]:
    """Warn of stores and local models that no step uses."""
    pipeline, document = loaded
    steps = [step for stage in pipeline.stages for step in stage.steps]
    used_stores = {step.store for step in steps if isinstance(step, EmbedStep | RetrieveStep)}
    used = {step.model for step in steps if isinstance(step, ClassifyStep | EmbedStep | InferStep)}
    for step in steps:
        if isinstance(step, PythonStep):
            used_stores.update(step.stores)
            used.update(step.models)
    used |= {store.model for store in pipeline.stores.values()}
    for section, names, wanted in (("stores", pipeline.stores, used_stores), ("models", pipeline.models, used)):
        for name in names:
            if name not in wanted:
                line = document.key_line((section, name))
                yield Advice(document.file, line, f"no step uses the {section[:-1]} `{name}`")


def _is_priced_by(model: ModelRef, price: PriceOverride) -> bool:
    """Whether the price holds for the model: it is that of the model itself or of what it is a dated version of."""
    version = model.model.removeprefix(price.model) if model.model.startswith(price.model) else None
    return model.provider == price.provider and version is not None and _DATED.fullmatch(version) is not None


def _has_python(pipeline: Pipeline) -> bool:
    return any(isinstance(step, PythonStep) for stage in pipeline.stages for step in stage.steps)


def _about_stage(stage: Stage, loaded: Loaded) -> Iterator[Advice]:
    pipeline, document = loaded
    at = ("stages", stage.name)
    for topic in stage.inputs:
        hint = suggestion(topic, [other.name for other in pipeline.stages])
        if hint is not None:
            line = document.line((*at, "input"))
            yield Advice(document.file, line, f"`{topic}` is no stage, so it is read as a topic. {hint}")
    fillings = [filling(step) for step in stage.steps]
    if any(one.anything or (one.asks and one.fields is None) for one in fillings):
        return
    named = {field for one in fillings for field in (*(one.fields or ()), *one.targets)}
    for field in answer_fields(stage.result.avro):
        if field not in named:   # it has a default, or the pipeline would not have been loaded
            yield Advice(stage.result.file, None, f"no step fills `{field}`: it always has its default")
    yield from _left_open(stage, fillings)


def _left_open(stage: Stage, fillings: Sequence[Filling]) -> Iterator[Advice]:
    """Warn of labels that may be missing, and of fields that then nobody fills."""
    defaults = {field["name"] for field in stage.result.avro["fields"] if "default" in field}
    answers = answer_fields(stage.result.avro)
    for index, step in enumerate(stage.steps):
        if not isinstance(step, ClassifyStep) or step.threshold is None or step.into not in answers:
            continue
        later = {field for one in fillings[index + 1 :] for field in (*(one.fields or ()), *one.targets)}
        if step.into not in later | defaults:
            message = f"`{step.into}` stays open where `{step.name}` is not sure, and no later step fills it"
            yield Advice(stage.result.file, None, f"{message}: such events become dead letters")
