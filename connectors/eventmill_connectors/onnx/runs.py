"""Runs of any model, one event at a time, in threads."""

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import numpy as np

from eventmill_connectors.onnx.batcher import Watch
from eventmill_connectors.onnx.live import LiveModel
from eventmill_connectors.onnx.parity import Array, read_parity
from eventmill_connectors.onnx.room import Room
from eventmill_connectors.onnx.tensors import plain, tensors
from eventmill_schemas.errors import InferenceFailed, LocalModelAway, ModelFailed
from eventmill_schemas.local_models import SECONDS_PLACES, Inferred, Waiting

_QUEUE = 64   # runs that may wait, per worker


class Runs:
    """Runs one model for whoever asks. Used on one event loop."""

    def __init__(self, name: str, model: LiveModel, workers: int, watch: Watch) -> None:
        self._name = name
        self._model = model
        self._watch = watch
        self._room = Room(_QUEUE * workers)
        self._frozen = _frozen_inputs(model)   # kept: the artefact's folder may be removed while its model runs
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix=f"model-{name}")

    async def infer(self, inputs: Mapping[str, Any], waiting: Waiting) -> Inferred:
        """Run the model once; see `LocalModels.infer`."""
        await self._room.enter(1, waiting)
        self._watch.queued(self._name, self._room.used)
        try:
            loop = asyncio.get_running_loop()
            outputs, nanoseconds = await loop.run_in_executor(self._pool, self._run, inputs)
        finally:
            self._room.leave(1)
            self._watch.queued(self._name, self._room.used)
        self._watch.computed(self._name, 1, 0, nanoseconds / 1e9)
        picoseconds = nanoseconds * 10 ** (SECONDS_PLACES - 9)
        return Inferred(outputs, Decimal(picoseconds).scaleb(-SECONDS_PLACES))

    def close(self) -> None:
        """Run nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, inputs: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        """Run, in a thread; also return the nanoseconds it took."""
        arrays, batch = tensors(self._model.inputs, inputs)
        began = time.perf_counter_ns()
        try:
            outputs = self._model.run(arrays)
        except ModelFailed as error:
            outputs = self._again(arrays, error)
        took = time.perf_counter_ns() - began
        return plain(outputs, batch=batch), took

    def _again(self, arrays: dict[str, Array], error: ModelFailed) -> dict[str, Array]:
        """Run what has failed once more, if the frozen inputs, which the gate had computed, pass; see `parts`."""
        try:
            self._model.probe(self._frozen)
        except ModelFailed as broken:
            raise LocalModelAway(f"the model {self._name!r} computes nothing any more: {broken.message}") from broken
        try:
            return self._model.run(arrays)
        except ModelFailed:
            message = f"the model {self._name!r} can't compute these inputs: {error.message}"
            raise InferenceFailed(message) from error


def _frozen_inputs(model: LiveModel) -> dict[str, Array]:
    frozen = read_parity(model.artifact.parity).inputs
    blank = np.zeros_like(next(iter(frozen.values())))   # token types, which are not frozen
    return {spec.name: frozen.get(spec.name, blank).astype(spec.dtype) for spec in model.inputs}
