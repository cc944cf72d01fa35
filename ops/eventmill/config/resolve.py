"""From the shape of the file to the values of eventmill_schemas.pipeline: what its values mean together."""

from collections.abc import Collection

from eventmill.config.model import ModelEntry, PipelineFile, PriceEntry, StageSection
from eventmill.config.problems import suggestion
from eventmill.config.reading import Reading
from eventmill.config.results import answer_names, load_result
from eventmill.config.steps import load_steps
from eventmill.config.wiring import Wires, wire
from eventmill.config.yaml_nodes import KeyPath
from eventmill_agents.condition import Expression
from eventmill_agents.scope import EVENT, META
from eventmill_schemas.errors import PipelineFileError, UsageError
from eventmill_schemas.pipeline import (
    Format,
    Kafka,
    ModelRef,
    Order,
    Pipeline,
    PriceOverride,
    ResultSchema,
    Stage,
)


def resolve(model: PipelineFile, stages: Collection[str], routes: Collection[str], reading: Reading) -> Pipeline:
    """Return the pipeline that `model` stands for; notes in `reading` whatever is wrong with it.

    `stages` and `routes` are the names in the file, also of those that `model` lacks because they are wrong.
    """
    wires = wire(model, stages, reading)
    _check_prices(model, reading)
    made = [_stage(name, section, wires[name], routes, reading) for name, section in model.stages.items()]
    return Pipeline(
        name=model.pipeline,
        folder=str(reading.folder),
        kafka=Kafka(model.kafka.bootstrap, model.kafka.registry, dict(model.kafka.client)),
        stages=tuple(stage for stage in made if stage is not None),
        routes={name: tuple(_model(entry) for entry in entries) for name, entries in model.routes.items()},
        prices=tuple(_price(entry) for entry in model.prices),
        allow_unpriced=model.allow_unpriced,
    )


def _model(entry: ModelEntry) -> ModelRef:
    return ModelRef(entry.provider, entry.model, entry.base_url, entry.timeout)


def _price(entry: PriceEntry) -> PriceOverride:
    return PriceOverride(entry.provider, entry.model, entry.input, entry.output, entry.cache_read)


def _check_prices(model: PipelineFile, reading: Reading) -> None:
    seen: set[tuple[str, str]] = set()
    for index, entry in enumerate(model.prices):
        if (entry.provider, entry.model) in seen:
            reading.wrong_key(("prices", index), f"`{entry.model}` has two prices")
        seen.add((entry.provider, entry.model))


def _stage(
    name: str, section: StageSection, wires: Wires, routes: Collection[str], reading: Reading
) -> Stage | None:
    at = ("stages", name)
    if section.window is not None and section.window < section.in_flight:
        reading.wrong(
            (*at, "window"), f"`window` ({section.window}) is smaller than `in_flight` ({section.in_flight})",
            "A window holds the events in flight and those that wait: leave it out for 8 times `in_flight`",
        )
    if section.when is not None:
        try:
            Expression(section.when, label="`when`", names=(EVENT, META))
        except UsageError as error:
            reading.wrong((*at, "when"), error.message, error.remedy)
    result = _result(section.result, (*at, "result"), reading)
    steps = load_steps(section.steps, (*at, "steps"), routes, reading)
    if result is None:
        return None
    _check_fields(section, at, result, reading)
    return Stage(
        name=name,
        inputs=wires.inputs,
        format=Format(section.format),
        id_field=wires.id_field,
        tenant_field=wires.tenant_field,
        when=section.when,
        steps=steps,
        result=result,
        in_flight=section.in_flight,
        window=section.window,
        window_bytes=section.window_bytes,
        order=Order(section.order),
        attempts=section.attempts,
        call_deadline=section.call_deadline,
        topics={kind: topic for kind, topic in section.topics.model_dump().items() if topic is not None},
        partitions=section.partitions,
        upstream=wires.upstream,
    )


def _result(name: str, at: KeyPath, reading: Reading) -> ResultSchema | None:
    found = reading.find(name, at)
    if found is None:
        return None
    try:
        return load_result(found.path, found.file)
    except PipelineFileError as error:
        reading.problems.include(error)
        return None


def _check_fields(section: StageSection, at: KeyPath, result: ResultSchema, reading: Reading) -> None:
    """Note `fields` that a model can't fill, and two steps that would both fill all that is left."""
    known = answer_names(result)
    takers = 0
    for index, step in enumerate(section.steps):
        if step.complete is None:
            continue
        here = (*at, "steps", index, "complete")
        takers += step.complete.fields is None
        if step.complete.fields is None and takers > 1:
            reading.wrong(here, "a second `complete` step without `fields` fills the same", "Say which each fills")
        for number, field in enumerate(step.complete.fields or ()):
            if field not in known:
                reading.wrong(
                    (*here, "fields", number), f"`{field}` is no field that a model fills in {result.file}",
                    suggestion(field, known),
                )
