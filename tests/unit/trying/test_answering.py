"""Who will answer is said before anything is asked."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from eventmill.config import load
from eventmill.dev.model.server import StandIn
from eventmill.trying.answering import answering, at_stand_in
from eventmill_schemas.errors import UsageError
from eventmill_schemas.pipeline import Pipeline
from http_peer import Peer

EXAMPLE = Path(__file__).parents[3] / "examples/intents/pipeline.yaml"
KEY = {"OPENAI_API_KEY": "k"}


@pytest.fixture
def pipeline() -> Pipeline:
    """Give a pipeline with one stage that asks a model."""
    return load(EXAMPLE, {})


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    """Give a server of this machine that is no stand-in."""
    server = Peer()
    await server.start()
    yield server
    await server.stop()


async def test_the_stand_in_is_known_by_what_it_says(pipeline: Pipeline, peer: Peer) -> None:
    """Only a server that marks its answers as a stand-in's is one; any other on this machine may cost money."""
    stage = pipeline.stages[0]
    peer.answer(b"{}")
    async with StandIn() as stand_in:
        for url, expected, words in (
            (stand_in.base_url, True, "no model answers"),
            (peer.base_url, False, "calls cost money"),
            ("http://127.0.0.1:9/v1", False, "calls cost money"),
        ):
            environ = {**KEY, "OPENAI_BASE_URL": url}
            (found,) = await asyncio.to_thread(answering, pipeline, stage, environ)
            assert (found.is_stand_in, found.address) == (expected, url)
            assert words in found.line()
            assert url in found.line()


def test_a_model_that_can_not_be_asked_is_told_before(pipeline: Pipeline) -> None:
    """No key for the public address: the variable is named. With one, it is said that calls cost money."""
    stage = pipeline.stages[0]
    with pytest.raises(UsageError, match="OPENAI_API_KEY"):
        answering(pipeline, stage, {})
    (found,) = answering(pipeline, stage, KEY)
    assert "https://api.openai.com" in found.line()
    assert "calls cost money" in found.line()


def test_every_model_can_be_put_at_a_stand_in(pipeline: Pipeline) -> None:
    """Also one whose address is in the pipeline file."""
    elsewhere = {
        name: tuple(replace(model, base_url="http://10.0.0.1/v1") for model in models)
        for name, models in pipeline.routes.items()
    }
    moved = at_stand_in(replace(pipeline, routes=elsewhere))
    assert {model.base_url for models in moved.routes.values() for model in models} == {None}
    assert moved.stages == pipeline.stages
