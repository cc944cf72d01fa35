"""The local models and vector stores of a stage that is tried: models compute as in a worker, stores are only read."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from eventmill_agents.local_calls import LocalParts
from eventmill_agents.ports import LocalModels, VectorStores
from eventmill_schemas.errors import UsageError
from eventmill_schemas.local_models import Chunk, ModelCard, Owner, Passage, Query
from eventmill_schemas.pipeline import (
    ClassifyStep,
    EmbedStep,
    InferStep,
    Pipeline,
    PythonStep,
    RetrieveStep,
    Stage,
)


def local_parts(pipeline: Pipeline, models: LocalModels | None, stores: VectorStores | None) -> LocalParts:
    """Return `models` and `stores` with the prices and the store's models that the pipeline declares."""
    return LocalParts(
        models,
        stores,
        {name: one.price_per_hour for name, one in pipeline.models.items() if one.price_per_hour is not None},
        {name: one.model for name, one in pipeline.stores.items()},
    )


async def open_local(
    pipeline: Pipeline, stage: Stage, opened: AsyncExitStack, on_notice: Callable[[str], None]
) -> LocalParts | None:
    """Load the models that a stage needs and open the stores that it looks into; None where it needs neither.

    What is opened is closed with `opened`. Raises ModelUnusable, SetupError, PostgresUnreachable.
    """
    names, reads = _needed(pipeline, stage)
    if not names and not reads:
        return None
    from eventmill_connectors.onnx.local_models import load  # noqa: PLC0415 - brings ONNX Runtime

    models = await load([pipeline.models[name] for name in names], _Loading(on_notice))
    opened.callback(models.close)
    stores: VectorStores | None = None
    if reads:
        from eventmill import vectors  # noqa: PLC0415 - brings the Postgres driver
        from eventmill_connectors.postgres.stores import open_stores  # noqa: PLC0415

        found, _ = await open_stores(vectors.open_database(pipeline), vectors.wanted_spaces(pipeline))
        opened.push_async_callback(found.close)
        stores = found
    return local_parts(pipeline, models, UnwrittenStores(stores, on_notice))


class UnwrittenStores:
    """Stores that are looked into and never written. Satisfies eventmill_agents.ports.VectorStores.

    `on_notice` is told what is left out.
    """

    def __init__(self, stores: VectorStores | None, on_notice: Callable[[str], None]) -> None:
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
        """Search what is there. Raises UsageError where no store was opened, because no step searches."""
        if self._stores is None:
            raise UsageError(f"the store {store!r} is not open", remedy="Search by a step `retrieve`")
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


def _needed(pipeline: Pipeline, stage: Stage) -> tuple[list[str], bool]:
    """Return the models that a stage uses, and whether it looks into a store. Python steps may use all there are."""
    models: dict[str, None] = {}
    reads = False
    for step in stage.steps:
        match step:
            case ClassifyStep() | InferStep() | EmbedStep():
                models[step.model] = None
            case RetrieveStep():
                models[pipeline.stores[step.store].model] = None
                reads = True
            case PythonStep():
                models.update(dict.fromkeys(pipeline.models))
                reads = reads or bool(pipeline.stores)
    return list(models), reads
