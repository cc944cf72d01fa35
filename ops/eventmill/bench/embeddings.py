"""Row N11: texts per second through the batcher, beside the loop that one writes first, on the same model.

The naive loop takes texts as they come, 32 at a time, pads them to the longest of the 32, and runs the same loaded file
with as many threads. sentence-transformers, the goal's measure, needs torch, which eventmill does not install:
`make parity` measures beside it (tests/parity/test_speed.py).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from tokenizers import Tokenizer

from eventmill.bench.embedding_size import EmbeddingSize
from eventmill.bench.rows import Row
from eventmill.bench.texts import Texts, texts
from eventmill_connectors.onnx.artifact import Artifact, open_artifact
from eventmill_connectors.onnx.build import EncoderRequest, build
from eventmill_connectors.onnx.local_models import OnnxModels, load
from eventmill_connectors.onnx.manifest import EMBEDDING
from eventmill_connectors.onnx.session import Device, OnnxSession
from eventmill_connectors.onnx.sources import installed_minilm
from eventmill_connectors.onnx.tokens import load_tokenizer, text_inputs
from eventmill_schemas.errors import ModelUnusable
from eventmill_schemas.local_models import ModelCard
from eventmill_schemas.pipeline import LocalModel

THREADS = 2
NAIVE_BATCH = 32
WAITING = 256     # events that ask at the same time
_LAG_GOAL = 10.0  # ms
_MODEL = "minilm"


@dataclass(frozen=True, slots=True)
class _Rates:
    """Texts per second of one mix, per round."""

    ours: list[float]
    naive: list[float]

    @property
    def ratio(self) -> float:
        """How many times quicker ours is: the median over the rounds."""
        return median(a / b for a, b in zip(self.ours, self.naive, strict=True))


def rows(folder: Path, size: EmbeddingSize, say: Callable[[str], None]) -> list[Row]:
    """Measure; MiniLM is built in `folder` from the installed weights, if it is not there."""
    artifact = minilm(folder / "models", say)
    tokenizer = load_tokenizer(artifact)
    given = texts(tokenizer, size.alike, size.skewed)
    naive = _Naive(artifact, tokenizer)
    say(f"embedding {size.alike} and {size.skewed} texts beside a naive loop; rounds: {size.rounds}")
    return asyncio.run(_measure(artifact, naive, given, size))


async def _measure(artifact: Artifact, naive: "_Naive", given: Texts, size: EmbeddingSize) -> list[Row]:
    models = await loaded(artifact)
    try:
        found = []
        for what, mix in (("of one length (10-30 tokens)", given.alike), ("of skewed lengths", given.skewed)):
            rates = _Rates([], [])
            for _ in range(size.rounds):
                rates.naive.append(len(mix) / await asyncio.to_thread(naive.seconds, mix))
                rates.ours.append(len(mix) / await seconds(models, mix))
            found.append(_rate_row(what, rates))
        return [*found, await _bits_row(models, given.skewed), await _lag_row(models, given, size.watched)]
    finally:
        models.close()


async def loaded(artifact: Artifact) -> OnnxModels:
    """Load a model as a worker does, for THREADS threads. Raises ModelUnusable."""
    return await load([LocalModel(_MODEL, str(artifact.folder), threads=THREADS)], _Unwatched())


async def seconds(models: OnnxModels, mix: Sequence[str]) -> float:
    """Embed a mix as events do, one text each, WAITING at a time; return the seconds it took."""
    turns = asyncio.Semaphore(WAITING)

    async def one(text: str) -> None:
        async with turns:
            await models.encode(_MODEL, [text], _wait)

    began = time.monotonic()
    await asyncio.gather(*(one(text) for text in mix))
    return time.monotonic() - began


class _Naive:
    """The loop that one writes first."""

    def __init__(self, artifact: Artifact, tokenizer: Tokenizer) -> None:
        self._manifest = artifact.manifest
        self._tokenizer = tokenizer
        self._session = OnnxSession(artifact, Device(threads=THREADS))

    def seconds(self, mix: Sequence[str]) -> float:
        """Embed a mix."""
        batches = [mix[at : at + NAIVE_BATCH] for at in range(0, len(mix), NAIVE_BATCH)]
        began = time.monotonic()
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self._embed, batches))
        return time.monotonic() - began

    def _embed(self, batch: Sequence[str]) -> None:
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(batch))]
        self._session.run(text_inputs(self._manifest, rows, max(map(len, rows))))[EMBEDDING]


def _rate_row(what: str, rates: _Rates) -> Row:
    ours, naive = median(rates.ours), median(rates.naive)
    return Row(
        "N11",
        f"embedding texts {what}, {THREADS} threads",
        "faster than a naive loop",
        f"{rates.ratio:.2f}x ({ours:.0f}/s; batches of {NAIVE_BATCH}, padded to the longest {naive:.0f}/s)",
        rates.ratio,
        rates.ratio > 1,
        {"eventmill_per_s": rates.ours, "naive_per_s": rates.naive},
    )


async def _bits_row(models: OnnxModels, mix: Sequence[str]) -> Row:
    """Embed each text alone, one after the other, and all of them together."""
    together = await asyncio.gather(*(models.encode(_MODEL, [text], _wait) for text in mix))
    same = 0
    for text, (batched,) in zip(mix, together, strict=True):
        (alone,) = await models.encode(_MODEL, [text], _wait)
        same += alone.vector is not None and np.array_equal(alone.vector, batched.vector)   # type: ignore[arg-type]  # both have one
    return Row(
        "N11",
        "vectors with the same bits alone and batched",
        "all",
        f"{same} of {len(mix)}",
        same / len(mix),
        same == len(mix),
        {"texts": len(mix), "same": same},
    )


async def _lag_row(models: OnnxModels, given: Texts, count: int) -> Row:
    """Let many texts wait at once, and see how late the loop's timers are."""
    mix = [given.alike[at % len(given.alike)] for at in range(count)]
    loop, delays, ended = asyncio.get_running_loop(), [], asyncio.Event()

    async def look() -> None:
        while not ended.is_set():
            before = loop.time()
            await asyncio.sleep(0.001)
            delays.append(1000 * (loop.time() - before - 0.001))

    looking = asyncio.create_task(look())
    await asyncio.gather(*(models.encode(_MODEL, [text], _wait) for text in mix))
    ended.set()
    await looking
    p99 = sorted(delays)[int(0.99 * len(delays))]
    return Row(
        "N11",
        f"delay of the event loop while {count:,} texts wait",
        f"p99 < {_LAG_GOAL:g} ms",
        f"p50 {median(delays):.1f} ms, p99 {p99:.1f} ms, worst {max(delays):.1f} ms",
        p99,
        p99 < _LAG_GOAL,
        {"p50_ms": median(delays), "p99_ms": p99, "worst_ms": max(delays)},
    )


def minilm(folder: Path, say: Callable[[str], None]) -> Artifact:
    """Return MiniLM in `folder`, built from the installed weights if it is not there. Raises ModelUnusable."""
    try:
        return open_artifact(folder / _MODEL)
    except ModelUnusable:
        say("$ eventmill models build minilm")
        return build(installed_minilm(), EncoderRequest(_MODEL, folder)).artifact


class _Unwatched:
    """Satisfies eventmill_connectors.onnx.local_models.LoadedWatch."""

    def loaded(self, model: ModelCard, provider: str) -> None:
        """Note nothing."""

    def computed(self, model: str, texts: int, tokens: int, seconds: float) -> None:
        """Note nothing."""

    def queued(self, model: str, amount: int) -> None:
        """Note nothing."""


async def _wait(until: Awaitable[None]) -> None:
    await until
