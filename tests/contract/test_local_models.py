"""Local models and their double keep the same promises."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from eventmill_connectors.onnx.build import EncoderRequest, build
from eventmill_connectors.onnx.local_models import load
from eventmill_connectors.onnx.sources import read_encoder
from eventmill_connectors.testing import WordModels
from eventmill_schemas.errors import UsageError
from eventmill_schemas.local_models import ModelCard
from eventmill_schemas.pipeline import LocalModel
from numpy_bert import write_encoder

TEXTS = ["one", "two words", "", "a text of some more words than the others have"]


class Unwatched:
    """Nobody counts."""

    def loaded(self, model: ModelCard, provider: str) -> None:
        """Note nothing."""

    def computed(self, model: str, texts: int, tokens: int, seconds: float) -> None:
        """Note nothing."""

    def queued(self, model: str, amount: int) -> None:
        """Note nothing."""


async def wait(until: Awaitable[None]) -> None:
    """Wait."""
    await until


Opened = Callable[[], Awaitable[Any]]


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a small encoder with random weights."""
    folder = tmp_path_factory.mktemp("encoder") / "tiny"
    write_encoder(folder)
    return build(read_encoder(folder), EncoderRequest("words", tmp_path_factory.mktemp("models"))).artifact.folder


@pytest.fixture(params=["real", "double"])
def opened(request: pytest.FixtureRequest, artefact: Path) -> Opened:
    """Give what opens models with one called `words`."""

    async def real() -> Any:
        return await load([LocalModel("words", str(artefact))], Unwatched())

    async def double() -> Any:
        return WordModels("words")

    return real if request.param == "real" else double


async def test_vectors_come_in_order_and_are_normalised(opened: Opened) -> None:
    """Each text has its own vector, of the card's length, with its tokens and its share of the time."""
    models = await opened()
    card = models.card("words")
    found = await models.encode("words", TEXTS, wait)
    again = [(await models.encode("words", [text], wait))[0] for text in TEXTS]
    for one, same in zip(found, again, strict=True):
        assert one.vector.shape == (card.dimensions,)
        assert one.vector.dtype == "float32"
        assert one.vector @ one.vector == pytest.approx(1, abs=1e-5)
        assert (one.vector == same.vector).all()
        assert one.tokens == same.tokens >= 2
        assert isinstance(one.seconds, Decimal)
        assert one.seconds > 0
        assert (one.label, one.confidence) == (None, None)
    assert await models.encode("words", [], wait) == []


async def test_chunks_have_every_word_and_fit(opened: Opened) -> None:
    """A short text is one chunk, a blank one none; chunks of a long one have all its words, in order."""
    models = await opened()
    assert await models.split("words", " short ", None, 0) == ["short"]
    assert await models.split("words", " \n ", None, 0) == []
    words = [f"w{n % 10}" for n in range(200)]
    chunks = await models.split("words", " ".join(words), 20, 0)
    assert len(chunks) > 5
    assert " ".join(chunks).split() == words
    for encoded in await models.encode("words", chunks, wait):
        assert encoded.tokens <= 20


async def test_a_model_that_is_not_there_is_named(opened: Opened) -> None:
    """By every method; the message says which there are."""
    models = await opened()
    for ask in (
        lambda: models.encode("other", ["x"], wait),
        lambda: models.split("other", "x", None, 0),
        lambda: models.infer("other", {}, wait),
        lambda: asyncio.to_thread(models.card, "other"),
    ):
        with pytest.raises(UsageError, match="words"):
            await ask()
