"""A model that is in use: its session, opened anew where it has failed on everything."""

import threading
from collections.abc import Mapping, Sequence

from eventmill_connectors.onnx.artifact import Artifact
from eventmill_connectors.onnx.gate import check
from eventmill_connectors.onnx.manifest import TensorSpec
from eventmill_connectors.onnx.parity import Array
from eventmill_connectors.onnx.session import Device, OnnxSession
from eventmill_schemas.errors import ModelFailed, ModelUnusable


class LiveModel:
    """Runs an artefact that has passed its gate, on `device`. Used by several threads.

    Raises ModelUnusable: the file can't be loaded, the device can't be used, or the gate has refused it.
    """

    def __init__(self, artifact: Artifact, device: Device) -> None:
        self.artifact = artifact
        self._device = device
        self._lock = threading.Lock()
        self._lost = False
        self._session = self._open()

    @property
    def provider(self) -> str:
        """The execution provider that really runs it."""
        return self._session.provider

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """The inputs of the loaded file."""
        return self._session.inputs

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Compute all outputs for one batch; blocks. Raises ModelFailed, OutOfMemory."""
        if self._lost:
            with self._lock:
                if self._lost:
                    self._reopen()
        return self._session.run(inputs)

    def probe(self, inputs: Mapping[str, Array]) -> None:
        """Run what always passes; where it does not, the next run gets a new session. Raises ModelFailed."""
        try:
            self._session.run(inputs)
        except ModelFailed:
            self._lost = True
            raise

    def _open(self) -> OnnxSession:
        session = OnnxSession(self.artifact, self._device)
        check(self.artifact, session)
        return session

    def _reopen(self) -> None:
        try:
            self._session = self._open()
        except ModelUnusable as error:
            raise ModelFailed(error.message) from error
        self._lost = False
