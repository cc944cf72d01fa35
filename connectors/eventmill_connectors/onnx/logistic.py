"""A linear head: multinomial logistic regression by torch (extra `train`), which is imported when it is used."""

import importlib
import importlib.util
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventmill_connectors.onnx.head import Floats
from eventmill_schemas.errors import SetupError

_ITERATIONS = 100   # on 10,000 texts more did not change the accuracy on those left out


def is_available() -> bool:
    """Whether torch is installed; it is not imported."""
    return importlib.util.find_spec("torch") is not None


def need_torch() -> None:
    """Raise SetupError where torch is not installed."""
    if not is_available():
        raise SetupError(
            "a linear head is trained by torch, which is not installed",
            remedy="Install it: `pip install 'eventmill[train]'`; or take class means: `--method means`",
        )


def logistic_regression(
    vectors: Floats, classes: NDArray[np.intp], count: int, *, weight_decay: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weights (H, count) and bias (count,): minimise mean cross-entropy + `weight_decay` * the weights' squares.

    Zeros at the start, L-BFGS, one thread, no randomness: the same vectors (N, H) give the same head.
    Raises SetupError where torch is not installed, or can't be loaded.
    """
    torch = _torch()
    inputs = torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32))
    targets = torch.from_numpy(np.ascontiguousarray(classes, dtype=np.int64))
    weights = torch.zeros(inputs.shape[1], count, requires_grad=True)
    bias = torch.zeros(count, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Any:
        optimiser.zero_grad()
        entropy = torch.nn.functional.cross_entropy(inputs @ weights + bias, targets)
        value = entropy + weight_decay * weights.square().sum()
        value.backward()
        return value

    threads = torch.get_num_threads()
    torch.set_num_threads(1)   # the order of additions, and so the last bits, would depend on their number
    try:
        optimiser.step(loss)
    finally:
        torch.set_num_threads(threads)
    return weights.detach().double().numpy(), bias.detach().double().numpy()


def _torch() -> Any:
    need_torch()
    try:
        return importlib.import_module("torch")
    except (ImportError, OSError) as error:   # a library of CUDA that is missing, for one
        raise SetupError(f"torch is installed and can't be loaded: {error}", remedy="Install it again") from error
