"""Trying a stage leaves vector stores as they are."""

import json
from contextlib import AsyncExitStack
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from eventmill.config import load
from eventmill.trying.local import UnwrittenStores, models_used, open_local, stores_used
from eventmill_connectors.testing import VectorsInMemory, word_vector
from eventmill_schemas.errors import UsageError
from eventmill_schemas.events import Source
from eventmill_schemas.local_models import Chunk, Owner, Query

PIPELINE = """
pipeline: shop
postgres: "postgresql://nobody@127.0.0.1:9/none"
models: {words: {onnx: nothing/here, price_per_hour: 0.36}}
stores: {notes: {model: words}}
stages:
  none: {input: notes, result: r.avsc}
  by_store:
    input: notes
    result: r.avsc
    steps: [retrieve: {store: notes, text: "{{ event.body }}", into: passages}]
"""
OWNER = Owner("e1", None, Source("notes", 0, 1))
CHUNK = Chunk("a lamp", word_vector(["lamp"], 16))


async def test_stores_are_searched_and_never_written() -> None:
    """What was stored before is found; what is tried is said and not stored, and nothing counts as unchanged."""
    behind, said = VectorsInMemory("notes"), list[str]()
    await behind.upsert("notes", OWNER, [CHUNK])
    stores = UnwrittenStores(behind, said.append)
    assert [passage.text for passage in await stores.search("notes", Query(CHUNK.vector))] == ["a lamp"]
    newer = Owner("e1", None, Source("notes", 0, 2))
    assert not await stores.unchanged("notes", newer, ["a lamp"])
    await stores.upsert("notes", newer, [])
    assert behind.stored["notes"]["e1"] == (OWNER, (CHUNK,))
    assert said == ["e1: 0 chunks not written to store notes"]


async def test_models_are_loaded_when_they_are_used(tmp_path: Path) -> None:
    """A pipeline without models needs nothing; a model that a step names is looked for at once, others when asked."""
    result = {"type": "record", "name": "R", "fields": [{"name": "a", "type": ["null", "string"], "default": None}]}
    (tmp_path / "r.avsc").write_text(json.dumps(result))
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    pipeline = load(tmp_path / "pipeline.yaml", {})
    assert (models_used(pipeline, pipeline.stage("by_store")), stores_used(pipeline.stage("by_store"))) == (
        ["words"], ["notes"],
    )
    async with AsyncExitStack() as opened:
        assert open_local(replace(pipeline, models={}), pipeline.stage("none"), opened, print) is None
        unused = open_local(pipeline, pipeline.stage("none"), opened, print)
        assert unused is not None
        assert (unused.prices, unused.store_models) == ({"words": Decimal("0.36")}, {"notes": "words"})
        with pytest.raises(UsageError, match="nothing/here"):
            open_local(pipeline, pipeline.stage("by_store"), opened, print)
        assert unused.models is not None
        with pytest.raises(UsageError, match="no model 'other'"):
            unused.models.card("other")
