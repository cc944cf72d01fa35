"""The local models of a worker, loaded and ready. Satisfies eventmill_agents.ports.LocalModels.

Importing this brings onnxruntime, numpy and the tokenizer: import it where a stage has local models, and not before.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from eventmill_connectors.onnx.artifact import open_artifact
from eventmill_connectors.onnx.batcher import Batcher, Sizes, Watch
from eventmill_connectors.onnx.cards import card
from eventmill_connectors.onnx.encoder import TextEncoder
from eventmill_connectors.onnx.live import LiveModel
from eventmill_connectors.onnx.runs import Runs
from eventmill_connectors.onnx.session import CUDA, Device
from eventmill_connectors.onnx.splitter import Splitter
from eventmill_schemas.errors import ModelUnusable, UsageError
from eventmill_schemas.local_models import Encoded, Inferred, ModelCard, Waiting
from eventmill_schemas.pipeline import LocalModel

_CPU_BATCH, _CUDA_BATCH = 512, 16_384   # tokens with padding; more is no quicker on a CPU
_BATCHES_WAITING = 32                   # what may wait: seconds of work on a CPU


class LoadedWatch(Watch, Protocol):
    """Who counts what models do, and is told which there are."""

    def loaded(self, model: ModelCard, provider: str) -> None:
        """Note a model and the execution provider that really runs it."""


class OnnxModels:
    """Local models by their names in the pipeline. Used on one event loop."""

    def __init__(self, models: Iterable["OnnxModel"]) -> None:
        self._models = {model.card.name: model for model in models}

    def card(self, model: str) -> ModelCard:
        """Return what the model is. Raises UsageError for one that is not loaded."""
        return self._of(model).card

    async def encode(self, model: str, texts: Sequence[str], waiting: Waiting) -> Sequence[Encoded]:
        """Compute texts; see `LocalModels.encode`."""
        return await self._of(model).text_model().batcher.encode(texts, waiting)

    async def split(self, model: str, text: str, max_tokens: int | None, overlap: int) -> Sequence[str]:
        """Cut a text; see `LocalModels.split`."""
        texts = self._of(model).text_model()
        limit = texts.splitter.limit(max_tokens)
        if texts.splitter.short(text, limit):
            return [whole] if (whole := text.strip()) else []
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(texts.cutting, texts.splitter.split, text, limit, overlap)

    async def infer(self, model: str, inputs: Mapping[str, Any], waiting: Waiting) -> Inferred:
        """Run the model once; see `LocalModels.infer`."""
        return await self._of(model).runs.infer(inputs, waiting)

    def close(self) -> None:
        """Compute nothing more than what is being computed."""
        for model in self._models.values():
            model.close()

    def _of(self, model: str) -> "OnnxModel":
        if model not in self._models:
            raise UsageError(
                f"the model {model!r} is not loaded",
                remedy=f"Name it under `models` of the python step; loaded: {', '.join(self._models) or 'none'}",
            )
        return self._models[model]


class TextModel:
    """The parts of a model that takes texts."""

    def __init__(self, name: str, model: LiveModel, workers: int, watch: Watch) -> None:
        tokens = _CUDA_BATCH if model.provider == CUDA else _CPU_BATCH
        batch = tokens if model.artifact.manifest.batch_invariant else 1   # else one text at a time
        sizes = Sizes(workers, batch, _BATCHES_WAITING * tokens)
        self.batcher = Batcher(name, TextEncoder(model), sizes, watch)
        self.splitter = Splitter(model.artifact)
        # The loop's own threads may all be held by plain python steps that wait for their chunks.
        self.cutting = ThreadPoolExecutor(workers, thread_name_prefix=f"split-{name}")

    def close(self) -> None:
        """Compute and cut nothing more than what is under way."""
        self.batcher.close()
        self.cutting.shutdown(wait=False, cancel_futures=True)


class OnnxModel:
    """One loaded model. Raises ModelUnusable, naming the model: see `LiveModel`. Blocks while it loads."""

    def __init__(self, spec: LocalModel, watch: LoadedWatch) -> None:
        device = Device(spec.device.value, spec.threads, spec.require_gpu)
        try:
            live = LiveModel(open_artifact(Path(spec.path)), device)
        except ModelUnusable as error:
            raise ModelUnusable(f"model {spec.name!r}: {error.message}", remedy=error.remedy) from error
        on_gpu = live.provider == CUDA
        workers = 1 if on_gpu else spec.threads   # a GPU computes one batch after the other
        self.card = card(spec.name, live.artifact.manifest, "cuda" if on_gpu else "cpu")
        self.runs = Runs(spec.name, live, workers, watch)
        self._texts = TextModel(spec.name, live, workers, watch) if live.artifact.manifest.takes_text else None
        watch.loaded(self.card, live.provider)

    def text_model(self) -> TextModel:
        """Return the parts for texts. Raises UsageError for a model that takes none."""
        if self._texts is None:
            raise UsageError(
                f"the model {self.card.name!r} takes no texts: its inputs are {', '.join(self.card.inputs)}",
                remedy="Use it by a step `infer`",
            )
        return self._texts

    def close(self) -> None:
        """Compute nothing more."""
        self.runs.close()
        if self._texts is not None:
            self._texts.close()


async def load(specs: Iterable[LocalModel], watch: LoadedWatch) -> OnnxModels:
    """Load models, off the event loop; each passes its gate first. Raises ModelUnusable, naming the model."""
    loaded = [await asyncio.to_thread(OnnxModel, spec, watch) for spec in specs]
    return OnnxModels(loaded)
