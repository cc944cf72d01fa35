"""A model that runs: one session of ONNX Runtime, called from several threads, on the device that was asked for."""

import contextlib
import ctypes
import importlib
import io
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

from eventmill_connectors.onnx.artifact import Artifact
from eventmill_connectors.onnx.manifest import TensorSpec
from eventmill_connectors.onnx.parity import Array
from eventmill_schemas.errors import ModelFailed, ModelUnusable, OutOfMemory

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

# numpy's names for ONNX Runtime's types, where they differ. bfloat16 and others have none.
_DTYPES = {"float": "float32", "double": "float64", "string": "object"}

_FATAL = 4   # of ONNX Runtime's log: what it has to say we say ourselves, once and in words
_NO_MEMORY = re.compile(r"out of memory|bad_alloc|[Ff]ailed to allocate|CUDA failure 2\b|cudaErrorMemoryAllocation")


@dataclass(frozen=True, slots=True)
class Device:
    """Where a model runs.

    `threads` is how many callers compute at once, each on one core (CPU). `require_gpu` refuses a machine where CUDA
    can't be used; without it such a machine's CPU is used. `memory_limit` bounds the GPU memory that ONNX Runtime
    takes for tensors, in bytes; None is no limit. The GPU is the first that CUDA_VISIBLE_DEVICES leaves visible.
    """

    kind: Literal["cpu", "cuda"] = "cpu"
    threads: int = 2
    require_gpu: bool = True
    memory_limit: int | None = None


class OnnxSession:
    """A loaded model. `run` may be called from any number of threads at once, and releases the GIL.

    `provider` is the execution provider that runs it, as ONNX Runtime reports it after loading: asked for CUDA, it
    falls back to the CPU without an error. `operators` counts the nodes by provider, as they were assigned. `inputs`
    and `outputs` are those of the loaded file.
    """

    def __init__(self, artifact: Artifact, device: Device, *, optimised: bool = True) -> None:
        """Load the model. `optimised=False` leaves the graph as it is in the file, to compare with.

        Raises ModelUnusable: the file can't be loaded, or the device can't be used.
        """
        self.device = device
        runtime = _runtime()
        self._session, reason = _open(runtime, artifact, device, optimised)
        self.provider: str = self._session.get_providers()[0]
        if device.kind == "cuda" and device.require_gpu and self.provider != CUDA:
            raise ModelUnusable(
                f"{artifact} can't run on a GPU here: {reason}",
                remedy="Give the process a GPU and its libraries (pip install 'onnxruntime-gpu[cuda,cudnn]'), "
                "or write `device: cpu`, or `require_gpu: false`",
            )
        self.inputs = tuple(_spec(argument) for argument in self._session.get_inputs())
        self.outputs = tuple(_spec(argument) for argument in self._session.get_outputs())
        self._names = [spec.name for spec in self.outputs]
        self.operators = _operators(self._session)
        self._runtime = runtime
        self._run_options = runtime.RunOptions()
        self._run_options.log_severity_level = _FATAL
        self._run = self._run_bound if self.provider == CUDA else self._run_plain
        self._failures = _failures(runtime)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Compute all outputs for one batch; blocks the calling thread.

        Raises OutOfMemory (a smaller batch may pass), ModelFailed (names, dtypes or shapes that the model does not
        take, or a failure of the runtime).
        """
        try:
            return self._run(inputs)
        except self._failures as error:
            raise _failure(error) from error

    def operator_counts(self) -> dict[str, int]:
        """Return how many nodes of each operator there are, over all providers."""
        total: Counter[str] = Counter()
        for nodes in self.operators.values():
            total.update(nodes)
        return dict(sorted(total.items()))

    def _run_plain(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        values = self._session.run(self._names, dict(inputs), self._run_options)
        return dict(zip(self._names, values, strict=True))

    def _run_bound(self, inputs: Mapping[str, Array], device: str = "cuda") -> dict[str, Array]:
        # One copy to the device per input, and outputs that come back once, when all of them are there.
        binding = self._session.io_binding()
        for name, array in inputs.items():
            value = self._runtime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), device, 0)
            binding.bind_ortvalue_input(name, value)
        for name in self._names:
            binding.bind_output(name, device, 0)
        self._session.run_with_iobinding(binding, self._run_options)
        return dict(zip(self._names, binding.copy_outputs_to_cpu(), strict=True))


def _runtime() -> ModuleType:
    # By name: the library has no types, and comes as one of two distributions.
    runtime = importlib.import_module("onnxruntime")
    runtime.set_default_logger_severity(_FATAL)
    return runtime


def _open(runtime: ModuleType, artifact: Artifact, device: Device, optimised: bool) -> tuple[Any, str]:
    """Return the session, and why it is not on the GPU if that was asked for."""
    options = runtime.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    level = runtime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    # Threads that wait for work would spin on cores that the event loop and other callers need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if device.kind == "cpu":
        return _loaded(runtime, artifact, options, [CPU]), ""
    reason = ""
    with contextlib.redirect_stdout(io.StringIO()):   # it prints what it misses, and so does `_missing` say
        runtime.preload_dlls()
    try:
        session = _loaded(runtime, artifact, options, [(CUDA, _cuda_options(device)), CPU])
    except ModelUnusable as error:
        reason = error.message
        session = _loaded(runtime, artifact, options, [CPU])
    return session, reason or _missing(runtime)


def _loaded(runtime: ModuleType, artifact: Artifact, options: Any, providers: list[Any]) -> Any:
    try:
        return runtime.InferenceSession(str(artifact.model), options, providers=providers, enable_fallback=0)
    except _failures(runtime) as error:
        raise ModelUnusable(f"{artifact} can't be loaded: {_first_line(error)}") from error


def _cuda_options(device: Device) -> dict[str, str]:
    # https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html
    options = {
        "device_id": "0",
        "arena_extend_strategy": "kSameAsRequested",   # doubling takes memory that is never used
        "do_copy_in_default_stream": "1",
        "use_tf32": "0",   # 10 bits of mantissa are not fp32
    }
    if device.memory_limit is not None:
        options["gpu_mem_limit"] = str(device.memory_limit)
    return options


def _missing(runtime: ModuleType) -> str:
    """Return why there is no CUDA. ONNX Runtime tells it to its log only; call this after it has tried."""
    if CUDA not in runtime.get_available_providers():
        return "this ONNX Runtime is built without CUDA (the package onnxruntime instead of onnxruntime-gpu?)"
    library = Path(str(runtime.__file__)).parent / "capi" / "libonnxruntime_providers_cuda.so"
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return str(error)
    return "no NVIDIA GPU, or its driver is too old"


def _spec(argument: Any) -> TensorSpec:
    element = re.fullmatch(r"tensor\((\w+)\)", argument.type)
    if element is None:
        raise ModelUnusable(f"{argument.name} is a {argument.type}, and only tensors can be computed here")
    dtype = _DTYPES.get(element[1], element[1])
    shape = tuple(size if isinstance(size, int) else str(size or "") for size in argument.shape)
    return TensorSpec(argument.name, dtype, shape)


def _operators(session: Any) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for subgraph in session.get_provider_graph_assignment_info():
        nodes = counts.setdefault(subgraph.ep_name, Counter())
        nodes.update(operator_name(node.domain, node.op_type) for node in subgraph.get_nodes())
    return {provider: dict(sorted(nodes.items())) for provider, nodes in sorted(counts.items())}


def operator_name(domain: str, operator: str) -> str:
    """Return how an operator is called in manifests and reports: with its domain, unless that is ONNX's own."""
    return operator if domain in ("", "ai.onnx") else f"{domain}.{operator}"


def _failures(runtime: ModuleType) -> tuple[type[BaseException], ...]:
    state = runtime.capi.onnxruntime_pybind11_state
    own = [one for one in vars(state).values() if isinstance(one, type) and issubclass(one, Exception)]
    return (*own, RuntimeError, ValueError, TypeError, MemoryError)


def _failure(error: BaseException) -> ModelFailed:
    text = _first_line(error)
    if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
        return OutOfMemory(f"not enough memory for a batch: {text}")
    return ModelFailed(text)


def _first_line(error: BaseException) -> str:
    # ONNX Runtime begins with its own name, the number and the name of the error.
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    line = re.sub(r"^\[ONNXRuntimeError\] : \d+ : (\w+ : )?(Load model from \S+ failed:)?", "", line)
    return re.sub(r"/onnxruntime_src/\S+ ", "", line)[:500]
