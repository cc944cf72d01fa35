"""How near outputs are to what they should be, and how near is near enough."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from eventmill_connectors.onnx.manifest import CONFIDENCE, EMBEDDING, LABEL, LOGITS
from eventmill_connectors.onnx.parity import Array


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far outputs may be from the frozen ones.

    Vectors: cosine similarity at least `cosine`, each component within `vector`. Other numbers: within
    `absolute + relative * |expected|`. `batch`: how far apart the same record alone and in a batch may be, on a GPU.
    """

    cosine: float
    vector: float
    relative: float
    absolute: float
    batch: float


# Vectors have length 1. 1e-5 is 100 times what fp32 was seen to differ by between runtimes.
_TOLERANCES = {
    "fp32": Tolerance(cosine=0.99999, vector=1e-5, relative=1e-4, absolute=1e-4, batch=1e-5),
    "fp16": Tolerance(cosine=0.9995, vector=5e-3, relative=1e-2, absolute=1e-2, batch=5e-3),
}
_OTHER = Tolerance(cosine=0.995, vector=2e-2, relative=5e-2, absolute=5e-2, batch=2e-2)   # of quantised models


@dataclass(frozen=True, slots=True)
class Nearness:
    """The largest difference of a component, and the smallest cosine similarity of a vector.

    With an embedding both are of that and nothing else; without, `cosine_min` is None.
    """

    max_abs: float
    cosine_min: float | None


def tolerance_of(precision: str) -> Tolerance:
    """Return what a model of this precision may be off."""
    return _TOLERANCES.get(precision, _OTHER)


def compare(expected: Mapping[str, Array], found: Mapping[str, Array], tolerance: Tolerance) -> Nearness:
    """Compare outputs by name with what they should be; what is not expected is not looked at.

    Raises ValueError, which names the first output that is too far off, or has another shape.
    """
    distances: dict[str, float] = {}
    cosine = None
    for name, wanted in expected.items():
        values = found[name]
        if values.shape != wanted.shape:
            raise ValueError(f"{name} has the shape {values.shape}, not {wanted.shape}")
        distances[name] = distance(values, wanted)
        if name == EMBEDDING:
            cosine = float(_cosines(values, wanted).min())
            if not (cosine >= tolerance.cosine and distances[name] <= tolerance.vector):
                raise ValueError(f"{name} is up to {distances[name]:.2g} off, with a cosine similarity of {cosine:.6f}")
        elif name == LABEL and LOGITS in expected:
            _compare_labels(values, expected[LOGITS], tolerance)
        elif not np.issubdtype(wanted.dtype, np.number):
            if distances[name]:
                raise ValueError(f"{name} has other values")
        elif np.any(_gaps(values, wanted) > _limits(name, expected, tolerance)):
            raise ValueError(f"{name} is up to {distances[name]:.2g} off")
    return Nearness(distances[EMBEDDING] if EMBEDDING in distances else max(distances.values(), default=0.0), cosine)


def distance(found: Array, expected: Array) -> float:
    """Return the largest difference between two arrays of one shape; infinite where they can't be compared."""
    if not np.issubdtype(expected.dtype, np.number):
        return 0.0 if np.array_equal(found, expected) else np.inf
    return float(_gaps(found, expected).max(initial=0.0))


def _compare_labels(labels: Array, logits: Array, tolerance: Tolerance) -> None:
    # Of two classes that are as near as makes no difference either may win.
    best = logits.max(axis=1)
    chosen = np.take_along_axis(logits, labels.astype(np.int64)[:, None], axis=1)[:, 0]
    if np.any(best - chosen > 2 * _allowed(best, tolerance)):
        raise ValueError(f"{LABEL} has other values")


def _limits(name: str, expected: Mapping[str, Array], tolerance: Tolerance) -> Array:
    if name == CONFIDENCE and LOGITS in expected:
        # Logits that are each off by e move the largest of their probabilities by e/2 at most.
        return np.asarray(tolerance.absolute + _allowed(expected[LOGITS], tolerance).max(axis=1) / 2)
    return _allowed(expected[name], tolerance)


def _allowed(expected: Array, tolerance: Tolerance) -> Array:
    finite = np.nan_to_num(np.abs(expected.astype(np.float64)), posinf=0.0)
    return np.asarray(tolerance.absolute + tolerance.relative * finite)


def _gaps(found: Array, expected: Array) -> Array:
    # Equal infinities and NaNs are no gap; one that is alone is an infinite one.
    a, b = found.astype(np.float64), expected.astype(np.float64)
    with np.errstate(invalid="ignore"):
        gaps = np.abs(a - b)
    gaps[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    return np.where(np.isnan(gaps), np.inf, gaps)


def _cosines(found: Array, expected: Array) -> Array:
    a, b = found.astype(np.float64), expected.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray(np.nan_to_num(np.einsum("ij,ij->i", a, b) / np.maximum(lengths, 1e-30), nan=-1.0))
