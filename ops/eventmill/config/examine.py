"""What can be told about a pipeline without the network and beyond its files: functions, prices, keys."""

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass

from eventmill.config.advice import Advice, advise
from eventmill.config.load import Loaded
from eventmill.config.local_examination import examine_local
from eventmill.config.problems import Problems
from eventmill_agents.enrich import Enricher
from eventmill_agents.steps.python import StepFunction, load_functions
from eventmill_connectors.chat.clients import ChatClients
from eventmill_connectors.kafka.settings import check_client
from eventmill_connectors.pricing import PriceList
from eventmill_schemas.errors import PipelineFileError, UsageError
from eventmill_schemas.pipeline import ModelRef, PythonStep, Stage


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found out. `unpriced`: (provider, model) of the models whose costs will not be known."""

    warnings: tuple[Advice, ...]
    unpriced: frozenset[tuple[str, str]]


def examine(loaded: Loaded, environ: Mapping[str, str]) -> Examination:
    """Look at everything that a worker would meet at its start, short of Kafka and the registry.

    Imports the modules of `python` steps; what they print goes to stderr. Raises PipelineFileErrors with all mistakes.
    """
    problems = Problems()
    warnings = advise(loaded)
    _check_client(loaded, problems, warnings)
    unpriced = _check_models(loaded, environ, problems, warnings)
    if loaded.pipeline.models:
        examine_local(loaded, problems, warnings)
    for stage in loaded.pipeline.stages:
        _check_stage(stage, loaded, environ, problems)
    if problems:
        raise problems.all()
    return Examination(tuple(warnings), frozenset(unpriced))


def _check_client(loaded: Loaded, problems: Problems, warnings: list[Advice]) -> None:
    pipeline, document = loaded
    try:
        check_client(pipeline.kafka)
    except UsageError as error:
        line = document.key_line(("kafka", "client"))
        if ".location" in error.message:   # a file: there may be one where the workers run
            warnings.append(Advice(document.file, line, f"no worker can start here: {error.message}"))
            return
        problems.add(error.message, file=document.file, line=line, remedy=error.remedy)


def _check_models(
    loaded: Loaded, environ: Mapping[str, str], problems: Problems, warnings: list[Advice]
) -> set[tuple[str, str]]:
    """Check price and key of every model of a route; return the models without a known price."""
    pipeline, document = loaded
    prices = PriceList(pipeline.prices)
    clients = ChatClients(environ=environ)
    unpriced = set()
    for route, models in pipeline.routes.items():
        for index, model in enumerate(models):
            line = document.line(("routes", route, index, "model"))
            if (without := _no_price(prices, model)) is not None:
                unpriced.add((model.provider, model.model))
                if pipeline.allow_unpriced:
                    warnings.append(Advice(document.file, line, f"{without.message}: its costs will be unknown"))
                else:
                    problems.add(without.message, file=document.file, line=line, remedy=without.remedy)
            try:
                clients.check([model])
            except UsageError as error:
                warnings.append(Advice(document.file, line, f"no worker can start here: {error}"))
    return unpriced


def _no_price(prices: PriceList, model: ModelRef) -> UsageError | None:
    try:
        if prices.known(model.provider, model.model):
            return None
    except UsageError as error:   # known, and no exact amount
        return error
    return UsageError(
        f"the price of `{model.model}` is not known",
        remedy="Give it under `prices`, or accept unknown costs by `allow_unpriced: true`",
    )


def _check_stage(stage: Stage, loaded: Loaded, environ: Mapping[str, str], problems: Problems) -> None:
    pipeline, document = loaded
    at = ("stages", stage.name)
    functions: dict[str, StepFunction] = {}
    complete = True
    for index, step in enumerate(stage.steps):
        if isinstance(step, PythonStep):
            try:
                with redirect_stdout(sys.stderr):
                    functions |= load_functions(pipeline.folder, [step])
            except UsageError as error:
                complete = False
                line = document.line((*at, "steps", index, "python"))
                problems.add(error.message, file=document.file, line=line, remedy=error.remedy)
    if not complete:
        return
    try:
        Enricher(pipeline, stage, ChatClients(environ=environ), PriceList(pipeline.prices), functions)
    except PipelineFileError as error:
        problems.include(error)
    except UsageError as error:
        problems.add(error.message, file=document.file, line=document.key_line(at), remedy=error.remedy)
