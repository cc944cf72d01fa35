"""Vectors as pgvector's `halfvec` has them on the wire: a whole batch is encoded at once.

Format: pgvector 0.8, src/halfvec.c, halfvec_send: int16 dimensions, int16 unused (0), then IEEE 754 half floats, all
big-endian.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eventmill_schemas.errors import UnstorableVector

MAX_DIMENSIONS = 4000
"""Of a halfvec that can have an index."""

Vectors = npt.NDArray[np.float32]


def unit_vectors(vectors: Sequence[Any] | npt.NDArray[Any], dimensions: int) -> Vectors:
    """Return `vectors` (n, dimensions) as float32 of length 1, so that their inner product is the cosine.

    Raises UnstorableVector, saying which is to blame: other dimensions, NaN, infinity, or a zero vector, which has no
    direction that anything could be similar to.
    """
    for number, vector in enumerate(vectors):
        if np.shape(vector) != (dimensions,):
            shape = "x".join(str(size) for size in np.shape(vector)) or "no"
            raise UnstorableVector(
                f"vector {number} has {shape} dimensions, the store has {dimensions}",
                remedy="A store takes the vectors of its own model only",
            )
    found = np.asarray(vectors, dtype=np.float64).reshape(len(vectors), dimensions)
    finite = np.isfinite(found).all(axis=1)
    if not finite.all():
        raise UnstorableVector(f"vector {int(np.argmin(finite))} holds NaN or infinity")
    largest = np.abs(found).max(axis=1, keepdims=True, initial=0.0)
    if not largest.all():
        raise UnstorableVector(f"vector {int(np.argmin(largest))} is all zeros: it has no direction")
    scaled = found / largest   # squares of very small or large numbers would leave the range
    units: Vectors = (scaled / np.linalg.norm(scaled, axis=1, keepdims=True)).astype(np.float32)
    return units


def halfvecs(vectors: Vectors) -> list[bytes]:
    """Encode `vectors` (n, dimensions): the bytes of one halfvec each."""
    count, dimensions = vectors.shape
    layout = np.dtype([("dimensions", ">i2"), ("unused", ">i2"), ("values", ">f2", (dimensions,))])
    batch = np.zeros(count, layout)
    batch["dimensions"] = dimensions
    batch["values"] = vectors
    encoded, size = batch.tobytes(), layout.itemsize
    return [encoded[start : start + size] for start in range(0, count * size, size)]
