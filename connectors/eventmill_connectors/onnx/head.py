"""A linear classifier on an encoder's vectors: what training yields and the model's graph takes in."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A label and how sure it is, for vectors of one vector space.

    `weights` (H, C) and `bias` (C,), float32: one column for each of the C `labels`, H dimensions of a vector.
    `temperature`: what logits are divided by before the softmax, so that confidences are frequencies.
    Raises ValueError where the parts don't fit each other.
    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    temperature: float
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        count = len(self.labels)
        if self.weights.ndim != 2 or self.weights.shape[1] != count or self.bias.shape != (count,):
            shapes = f"weights {self.weights.shape}, bias {self.bias.shape}"
            raise ValueError(f"a head for {count} labels can't have {shapes}")
        if self.weights.dtype != np.float32 or self.bias.dtype != np.float32:
            raise ValueError(f"a head has float32 weights and bias, not {self.weights.dtype} and {self.bias.dtype}")
        if count < 2 or len(set(self.labels)) != count:
            raise ValueError("a head has at least two labels, each once")
        if not (np.isfinite(self.weights).all() and np.isfinite(self.bias).all()):
            raise ValueError("a head's weights and bias are finite numbers")
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"a head's temperature is a number above 0, not {self.temperature}")

    @property
    def dimensions(self) -> int:
        """How many dimensions the vectors have."""
        return int(self.weights.shape[0])

    def logits(self, vectors: Floats) -> NDArray[np.float64]:
        """Return the logits (N, C) of vectors (N, H), temperature applied."""
        return (vectors.astype(np.float64) @ self.weights + self.bias) / self.temperature

    def classify(self, vectors: Floats) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Return for vectors (N, H) the index of the likeliest label (N,) and its confidence in 0..1 (N,)."""
        probabilities = softmax(self.logits(vectors))
        return probabilities.argmax(axis=1), probabilities.max(axis=1)


def softmax(logits: Floats) -> NDArray[np.float64]:
    """Return probabilities of rows of logits (N, C); each row sums to 1."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
