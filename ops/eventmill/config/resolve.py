"""From the shape of the file to the values of eventmill_schemas.pipeline: what its values mean together."""

from collections.abc import Collection
from typing import NamedTuple

from eventmill.config.expressions import check_condition
from eventmill.config.local_models import load_models, load_stores
from eventmill.config.model import ModelEntry, PipelineFile, PriceEntry, StageSection
from eventmill.config.problems import listed, suggestion
from eventmill.config.reading import Reading
from eventmill.config.results import load_result
from eventmill.config.steps import StepsOf, load_steps
from eventmill.config.wiring import Wires, wire
from eventmill.config.yaml_nodes import KeyPath
from eventmill_agents.filling import left_over
from eventmill_schemas.errors import PipelineFileError, UsageError
from eventmill_schemas.json_schema import json_schema
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
from eventmill_schemas.result_schema import answer_fields


class Declared(NamedTuple):
    """The names in the file, also of what the model of it lacks because it is wrong."""

    stages: Collection[str]
    routes: Collection[str]
    models: Collection[str]
    stores: Collection[str]


def resolve(model: PipelineFile, declared: Declared, reading: Reading) -> Pipeline:
    """Return the pipeline that `model` stands for; notes in `reading` whatever is wrong with it."""
    wires = wire(model, declared.stages, reading)
    _check_prices(model, reading)
    models = load_models(model, reading)
    stores = load_stores(model, declared.models, reading)
    store_models = {name: stores[name].model if name in stores else None for name in declared.stores}
    made = []
    for name, section in model.stages.items():
        result = _result(section, name, reading)
        steps = StepsOf(
            section.steps,
            ("stages", name, "steps"),
            declared.routes,
            declared.models,
            store_models,
            wires[name].tenant_field is not None,
            result,
        )
        made.append(_stage(name, section, wires[name], steps, reading))
    return Pipeline(
        name=model.pipeline,
        folder=str(reading.folder),
        kafka=Kafka(model.kafka.bootstrap, model.kafka.registry, dict(model.kafka.client)),
        stages=tuple(stage for stage in made if stage is not None),
        routes={name: tuple(_model(entry) for entry in entries) for name, entries in model.routes.items()},
        prices=tuple(_price(entry) for entry in model.prices),
        allow_unpriced=model.allow_unpriced,
        models=models,
        stores=stores,
        postgres=model.postgres,
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


def _stage(name: str, section: StageSection, wires: Wires, given: StepsOf, reading: Reading) -> Stage | None:
    at = ("stages", name)
    if section.window is not None and section.window < section.in_flight:
        reading.wrong(
            (*at, "window"), f"`window` ({section.window}) is smaller than `in_flight` ({section.in_flight})",
            "A window holds the events in flight and those that wait: leave it out for 8 times `in_flight`",
        )
    if section.when is not None:
        try:
            check_condition(section.when, "`when`")
        except UsageError as error:
            reading.wrong((*at, "when"), error.message, error.remedy)
    result = given.result
    steps = load_steps(given, reading)
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


def _result(section: StageSection, stage: str, reading: Reading) -> ResultSchema | None:
    found = reading.find(section.result, ("stages", stage, "result"))
    if found is None:
        return None
    targets = {name for step in section.steps for name in step.entry.filling.targets}
    try:
        return load_result(found.path, found.file, sorted(targets), reading.problems)
    except PipelineFileError as error:
        reading.problems.include(error)
        return None


def _check_fields(section: StageSection, at: KeyPath, result: ResultSchema, reading: Reading) -> None:
    """Note what a model can't fill, steps that would fill the same, and fields that nobody fills."""
    answers = answer_fields(result.avro)
    asking = [
        ((*at, "steps", index, "complete"), step.complete.fields)
        for index, step in enumerate(section.steps)
        if step.complete is not None
    ]
    fillings = [step.entry.filling for step in section.steps]
    rest = left_over(fillings, answers)
    without_fields = [here for here, fields in asking if fields is None]
    for here in without_fields[1:]:
        reading.wrong_key(
            here, "a second `complete` step without `fields` fills the same", "Say with `fields` which step fills which"
        )
    for here, fields in asking:
        unknown = [(number, field) for number, field in enumerate(fields or ()) if field not in answers]
        for number, field in unknown:
            remedy = suggestion(field, answers) or listed("There are", answers)
            reading.wrong((*here, "fields", number), f"{result.file} has no field `{field}` for steps to fill", remedy)
        if not unknown:
            _check_answerable(result, rest if fields is None else fields, here, reading)
    if without_fields or any(step.python for step in section.steps):
        return
    defaults = {field["name"] for field in result.avro["fields"] if "default" in field}
    perhaps = {field for one in fillings for field in one.perhaps}
    if missing := [field for field in rest if field not in defaults | perhaps]:
        reading.wrong_key(
            at,
            f"{result.file}: no step fills {', '.join(f'`{field}`' for field in missing)}",
            "Add a step that does, or give the field a `from` or a default",
        )


def _check_answerable(result: ResultSchema, fields: Collection[str], at: KeyPath, reading: Reading) -> None:
    try:
        json_schema(result.avro, fields, result.file)
    except PipelineFileError as error:
        reading.wrong_key(at, f"{result.file}: {error.message}", error.remedy)
