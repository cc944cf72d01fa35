"""What can be told about local models and stores on this machine: whether the models are there, and fit their steps."""

from pathlib import Path

from eventmill.config.advice import Advice
from eventmill.config.load import Loaded
from eventmill.config.problems import Problems
from eventmill_agents.fit import misfits
from eventmill_connectors.onnx.artifact import open_artifact
from eventmill_connectors.onnx.cards import card
from eventmill_schemas.errors import ModelUnusable
from eventmill_schemas.local_models import ModelCard
from eventmill_schemas.pipeline import ClassifyStep, EmbedStep, InferStep, LocalModel


def examine_local(loaded: Loaded, problems: Problems, warnings: list[Advice]) -> None:
    """Check price, folder and kind of every local model. Nothing is loaded.

    A model or database that is not there is a warning: it may be where the workers run. What is there and can't be used
    is a mistake.
    """
    pipeline, document = loaded
    cards: dict[str, ModelCard] = {}
    for name, model in pipeline.models.items():
        _check_price(loaded, model, problems, warnings)
        found = _card(loaded, model, problems, warnings)
        if found is not None:
            cards[name] = found
    for name, store in pipeline.stores.items():
        if store.model in cards and cards[store.model].vector_space is None:
            message = f"the model {cards[store.model].label} makes no vectors for the store `{name}`"
            problems.add(message, file=document.file, line=document.line(("stores", name, "model")))
    if pipeline.stores and not pipeline.postgres:
        without = "no worker can start here: `postgres` is empty, and stores are kept there"
        warnings.append(Advice(document.file, document.line(("postgres",)), without))
    for stage in pipeline.stages:
        for index, step in enumerate(stage.steps):
            if isinstance(step, ClassifyStep | EmbedStep | InferStep) and step.model in cards:
                at = ("stages", stage.name, "steps", index)
                kind = next(iter(document.at(at)))
                for misfit in misfits(step, cards[step.model], stage.result):
                    line = document.line((*at, kind, misfit.key))
                    problems.add(misfit.message, file=document.file, line=line, remedy=misfit.remedy)


def _check_price(loaded: Loaded, model: LocalModel, problems: Problems, warnings: list[Advice]) -> None:
    if model.price_per_hour is not None:
        return
    line = loaded.document.key_line(("models", model.name))
    message = f"no price is known for the local model `{model.name}`"
    if loaded.pipeline.allow_unpriced:
        warnings.append(Advice(loaded.document.file, line, f"{message}: its costs will be unknown"))
    else:
        remedy = "Give it a `price_per_hour`, or accept unknown costs by `allow_unpriced: true`"
        problems.add(message, file=loaded.document.file, line=line, remedy=remedy)


def _card(loaded: Loaded, model: LocalModel, problems: Problems, warnings: list[Advice]) -> ModelCard | None:
    document = loaded.document
    line = document.line(("models", model.name, "onnx"))
    path = Path(model.path)
    try:
        return card(model.name, open_artifact(path).manifest, model.device)
    except ModelUnusable as error:
        if path.exists():
            problems.add(error.message, file=document.file, line=line, remedy=error.remedy)
        else:
            warnings.append(Advice(document.file, line, f"no worker can start here: {error}"))
        return None
