"""The local models and vector stores of a stage, opened for a worker."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from eventmill_agents.fit import misfits, needed_models
from eventmill_agents.local_calls import LocalParts
from eventmill_agents.ports import VectorStores
from eventmill_schemas.errors import UsageError
from eventmill_schemas.local_models import ModelCard
from eventmill_schemas.pipeline import ClassifyStep, EmbedStep, InferStep, Pipeline, Stage

if TYPE_CHECKING:   # brings ONNX Runtime: only stages with local models load it
    from eventmill_connectors.onnx.local_models import LoadedWatch


async def open_local(
    pipeline: Pipeline,
    stage: Stage,
    watch: "LoadedWatch",
    opened: AsyncExitStack,
    warn: Callable[[str], None],
) -> LocalParts | None:
    """Load the models that a stage uses, and open its stores; None where it uses neither.

    What is opened is closed with `opened`. Raises UsageError (a model without price, or of another kind than a step
    needs), ModelUnusable, SetupError, PostgresUnreachable.
    """
    names, uses_stores = needed_models(pipeline, stage)
    if not names:
        return None
    _check_prices(pipeline, names)
    from eventmill_connectors.onnx.local_models import load  # noqa: PLC0415 - see above

    models = await load([pipeline.models[name] for name in names], watch)
    opened.callback(models.close)
    _check_steps(stage, models.card)
    return LocalParts(
        models,
        await _stores(pipeline, opened, warn) if uses_stores else None,
        {name: one.price_per_hour for name, one in pipeline.models.items() if one.price_per_hour is not None},
        {name: one.model for name, one in pipeline.stores.items()},
    )


async def _stores(pipeline: Pipeline, opened: AsyncExitStack, warn: Callable[[str], None]) -> VectorStores:
    from eventmill import vectors  # noqa: PLC0415 - brings the Postgres driver
    from eventmill_connectors.postgres.stores import open_stores  # noqa: PLC0415

    stores, notices = await open_stores(vectors.open_database(pipeline), vectors.wanted_spaces(pipeline))
    opened.push_async_callback(stores.close)
    for notice in notices:
        warn(notice)
    return stores


def _check_prices(pipeline: Pipeline, names: Sequence[str]) -> None:
    for name in names:
        if not pipeline.allow_unpriced and pipeline.models[name].price_per_hour is None:
            raise UsageError(
                f"no price is known for the local model {name!r}",
                remedy="Give it a `price_per_hour`, or set `allow_unpriced: true` to report its seconds without amount",
            )


def _check_steps(stage: Stage, card: Callable[[str], ModelCard]) -> None:
    for step in stage.steps:
        if isinstance(step, ClassifyStep | EmbedStep | InferStep):
            for misfit in misfits(step, card(step.model), stage.result):
                raise UsageError(f"step {step.name!r}: {misfit.message}", remedy=misfit.remedy)
