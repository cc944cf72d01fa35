"""The local models and vector stores of a stage that is tried: models compute as in a worker, stores are only read.

Both are opened when they are first used, because a python step may use any of them and mostly uses none.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from eventmill_agents.local_calls import LocalParts
from eventmill_agents.ports import LocalModels, VectorStores
from eventmill_schemas.errors import UsageError
from eventmill_schemas.local_models import Chunk, Encoded, Inferred, ModelCard, Owner, Passage, Query, Waiting
from eventmill_schemas.pipeline import ClassifyStep, EmbedStep, InferStep, Pipeline, RetrieveStep, Stage

if TYPE_CHECKING:   # brings ONNX Runtime
    from eventmill_connectors.onnx.local_models import OnnxModels


def local_parts(pipeline: Pipeline, models: LocalModels | None, stores: VectorStores | None) -> LocalParts:
    """Return `models` and `stores` with the prices and the stores' models that the pipeline declares."""
    return LocalParts(
        models,
        stores,
        {name: one.price_per_hour for name, one in pipeline.models.items() if one.price_per_hour is not None},
        {name: one.model for name, one in pipeline.stores.items()},
    )


def models_used(pipeline: Pipeline, stage: Stage) -> list[str]:
    """Return the local models that the stage's steps name, themselves or by a store."""
    used: dict[str, None] = {}
    for step in stage.steps:
        if isinstance(step, ClassifyStep | InferStep | EmbedStep):
            used[step.model] = None
        elif isinstance(step, RetrieveStep):
            used[pipeline.stores[step.store].model] = None
    return list(used)


def stores_used(stage: Stage) -> list[str]:
    """Return the vector stores that the stage's steps name."""
    named = [step.store for step in stage.steps if isinstance(step, EmbedStep | RetrieveStep)]
    return list(dict.fromkeys(name for name in named if name is not None))


def open_local(
    pipeline: Pipeline, stage: Stage, opened: AsyncExitStack, on_notice: Callable[[str], None]
) -> LocalParts | None:
    """Return the stage's models, loaded, and its stores; None where the pipeline declares neither.

    What is opened, now or later, is closed with `opened`. Raises ModelUnusable.
    """
    if not pipeline.models:
        return None
    models = ModelsOnDemand(pipeline, opened, on_notice)
    for name in models_used(pipeline, stage):
        models.card(name)
    return local_parts(pipeline, models, UnwrittenStores(StoresOnDemand(pipeline, opened), on_notice))


class ModelsOnDemand:
    """The local models of a pipeline, each loaded when it is first used.

    Satisfies eventmill_agents.ports.LocalModels.
    """

    def __init__(self, pipeline: Pipeline, opened: AsyncExitStack, on_notice: Callable[[str], None]) -> None:
        self._pipeline = pipeline
        self._opened = opened
        self._watch = _Loading(on_notice)
        self._loaded: dict[str, OnnxModels] = {}

    def card(self, model: str) -> ModelCard:
        """Return what the model is. Raises UsageError where there is none, or it can't be used."""
        return self._of(model).card(model)

    async def encode(self, model: str, texts: Sequence[str], waiting: Waiting) -> Sequence[Encoded]:
        """Compute texts; see `LocalModels.encode`."""
        return await self._of(model).encode(model, texts, waiting)

    async def split(self, model: str, text: str, max_tokens: int | None, overlap: int) -> Sequence[str]:
        """Cut a text; see `LocalModels.split`."""
        return await self._of(model).split(model, text, max_tokens, overlap)

    async def infer(self, model: str, inputs: Mapping[str, Any], waiting: Waiting) -> Inferred:
        """Run the model once; see `LocalModels.infer`."""
        return await self._of(model).infer(model, inputs, waiting)

    def _of(self, name: str) -> "OnnxModels":
        if name not in self._loaded:
            from eventmill_connectors.onnx.local_models import OnnxModel, OnnxModels  # noqa: PLC0415 - ONNX Runtime

            spec = self._pipeline.models.get(name)
            if spec is None:
                known = ", ".join(self._pipeline.models)
                raise UsageError(f"the pipeline has no model {name!r}", remedy=f"Its models: {known}")
            self._loaded[name] = OnnxModels([OnnxModel(spec, self._watch)])
            self._opened.callback(self._loaded[name].close)
        return self._loaded[name]


class StoresOnDemand:
    """The stores of a pipeline in Postgres, which is connected to when one is first searched."""

    def __init__(self, pipeline: Pipeline, opened: AsyncExitStack) -> None:
        self._pipeline = pipeline
        self._opened = opened
        self._opening = asyncio.Lock()
        self._stores: VectorStores | None = None

    async def search(self, store: str, query: Query) -> Sequence[Passage]:
        """Search. Raises SetupError where `eventmill apply` has something to do first, PostgresUnreachable."""
        async with self._opening:   # several events come at the same time
            if self._stores is None:
                self._stores = await self._open()
        return await self._stores.search(store, query)

    async def _open(self) -> VectorStores:
        from eventmill import vectors  # noqa: PLC0415 - brings the Postgres driver
        from eventmill_connectors.postgres.stores import open_stores  # noqa: PLC0415

        database = vectors.open_database(self._pipeline)
        stores, _ = await open_stores(database, vectors.wanted_spaces(self._pipeline))
        self._opened.push_async_callback(stores.close)
        return stores


class UnwrittenStores:
    """Stores that are looked into and never written. Satisfies eventmill_agents.ports.VectorStores.

    `on_notice` is told what is left out.
    """

    def __init__(self, stores: VectorStores | StoresOnDemand, on_notice: Callable[[str], None]) -> None:
        self._stores = stores
        self._on_notice = on_notice

    async def unchanged(self, store: str, owner: Owner, texts: Sequence[str]) -> bool:
        """Say no, so that what a new event takes is seen; nothing is moved on."""
        return False

    async def upsert(self, store: str, owner: Owner, chunks: Sequence[Chunk]) -> None:
        """Leave the store as it is."""
        count = "1 chunk" if len(chunks) == 1 else f"{len(chunks)} chunks"
        self._on_notice(f"{owner.event_id}: {count} not written to store {store}")

    async def search(self, store: str, query: Query) -> Sequence[Passage]:
        """Search what is there."""
        return await self._stores.search(store, query)


class _Loading:
    """Says which models are loaded. Satisfies eventmill_connectors.onnx.local_models.LoadedWatch."""

    def __init__(self, on_notice: Callable[[str], None]) -> None:
        self._on_notice = on_notice

    def loaded(self, model: ModelCard, provider: str) -> None:
        self._on_notice(f"{model.label}: on this machine, by {provider}")

    def computed(self, model: str, texts: int, tokens: int, seconds: float) -> None:
        """Count nothing: the cost events say what was computed."""

    def queued(self, model: str, amount: int) -> None:
        """Note nothing: a few events do not wait for each other."""
