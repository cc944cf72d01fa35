"""The vector stores of a pipeline: the vector spaces of their models, a database with a place for each, a search.

Import it where a pipeline has stores, and not before: it brings the driver and numpy.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from eventmill_connectors.onnx.artifact import Artifact, open_artifact
from eventmill_connectors.onnx.bulk import embedder
from eventmill_connectors.onnx.session import Device, OnnxSession
from eventmill_connectors.onnx.tokens import load_tokenizer
from eventmill_connectors.postgres.apply import execute, look
from eventmill_connectors.postgres.changes import Change, Wanted
from eventmill_connectors.postgres.extension import Extension, find_extension
from eventmill_connectors.postgres.pool import Database
from eventmill_connectors.postgres.setup import DatabasePlan, plan
from eventmill_connectors.postgres.stores import open_stores
from eventmill_schemas.errors import ModelUnusable, SetupError, UsageError
from eventmill_schemas.local_models import Passage, Query, VectorSpace
from eventmill_schemas.pipeline import Pipeline, VectorStore


def wanted_spaces(pipeline: Pipeline) -> tuple[Wanted, ...]:
    """Return each store with the vector space of its model's live version.

    Raises ModelUnusable where a model is not there or damaged; UsageError where it makes no vectors.
    """
    used = {store.model for store in pipeline.stores.values()}
    artifacts = {model: _artifact(pipeline, model) for model in used}
    return tuple(Wanted(store, _space_of(artifacts[store.model], store)) for store in pipeline.stores.values())


def open_database(pipeline: Pipeline) -> Database:
    """Return the pipeline's database, not connected yet. Raises SetupError where it has none, or a wrong address."""
    if not pipeline.postgres:
        raise SetupError(
            f"the stores {', '.join(pipeline.stores)} are kept in Postgres, and `postgres` is empty",
            remedy="Set DATABASE_URL, or whatever `postgres` of the pipeline file reads",
        )
    return Database(pipeline.postgres)


class StoreSetup:
    """The database side of `eventmill apply`."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._wanted = wanted_spaces(pipeline)
        self._database = open_database(pipeline)
        self.place = self._database.place   # the address, without its password

    async def extension(self) -> Extension:
        """Return what there is of pgvector. Raises PostgresUnreachable."""
        async with self._database.transaction(readonly=True) as connection:
            return await find_extension(connection)

    async def plan(self) -> DatabasePlan:
        """Return what is to be done. Raises SetupError, PostgresUnreachable."""
        return plan(self._wanted, await look(self._database))

    async def execute(self, found: DatabasePlan) -> AsyncIterator[Change]:
        """Do it; yield each change when it is made. Raises SetupError, PostgresUnreachable."""
        async for change in execute(found.changes, self._database):
            yield change

    async def close(self) -> None:
        """Close the connections."""
        await self._database.close()


def text_encoder(artifact: Artifact) -> Callable[[Sequence[str]], Any]:
    """Return what makes vectors (N, dimensions) of N texts, on the CPU. Raises ModelUnusable."""
    session = OnnxSession(artifact, Device())
    return embedder(artifact.manifest, load_tokenizer(artifact), session)


async def search(pipeline: Pipeline, name: str, text: str, ask: Callable[[Any], Query]) -> Sequence[Passage]:
    """Return the passages of the store `name` that are near to `text`; `ask` makes the query of its vector.

    Raises UsageError where there is no such store; ModelUnusable, SetupError, PostgresUnreachable.
    """
    store = pipeline.stores.get(name)
    if store is None:
        raise UsageError(
            f"the pipeline has no store {name!r}", remedy=f"Its stores: {', '.join(pipeline.stores) or 'none'}"
        )
    artifact = _artifact(pipeline, store.model)
    wanted = Wanted(store, _space_of(artifact, store))
    database = open_database(pipeline)
    try:
        stores, _ = await open_stores(database, [wanted])
        return await stores.search(name, ask(text_encoder(artifact)([text])[0]))
    finally:
        await database.close()


def _artifact(pipeline: Pipeline, model: str) -> Artifact:
    try:
        return open_artifact(Path(pipeline.models[model].path))
    except ModelUnusable as error:
        raise ModelUnusable(f"model {model!r}: {error.message}", remedy=error.remedy) from error


def _space_of(artifact: Artifact, store: VectorStore) -> VectorSpace:
    manifest = artifact.manifest
    if manifest.vector_space is None or manifest.dimensions is None:
        raise UsageError(
            f"store {store.name}: the model {store.model} ({artifact}) makes no vectors",
            remedy="Take a text encoder, such as `eventmill models build` makes",
        )
    return VectorSpace(manifest.vector_space, manifest.dimensions)
