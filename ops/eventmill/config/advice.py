"""What is legal in a pipeline and probably not meant."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from eventmill.config.load import Loaded
from eventmill.config.problems import suggestion
from eventmill_schemas.pipeline import CompleteStep, ModelRef, Pipeline, PriceOverride, PythonStep, Stage
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
    models = [model for models in pipeline.routes.values() for model in models]
    for index, price in enumerate(pipeline.prices):
        if not any(_is_priced_by(model, price) for model in models):
            line = document.key_line(("prices", index))
            yield Advice(document.file, line, f"no route has the model `{price.model}`, which has a price here")


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
    steps = [step for step in stage.steps if isinstance(step, CompleteStep)]
    if len(steps) < len(stage.steps) or any(step.fields is None for step in steps):
        return
    named = {field for step in steps for field in step.fields or ()}
    for field in answer_fields(stage.result.avro):
        if field not in named:   # it has a default, or the pipeline would not have been loaded
            yield Advice(stage.result.file, None, f"no step fills `{field}`: it always has its default")
