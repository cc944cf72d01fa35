"""A head from class means: a text gets the label whose texts it is most like. Good from a few texts per label on."""

import numpy as np
from numpy.typing import NDArray

from eventmill_connectors.onnx.head import Floats


def class_means(
    vectors: Floats, classes: NDArray[np.intp], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weights (H, count) and bias (count,): the logits of a unit vector are its cosines to the class means.

    Prototypes of Snell et al. 2017, "Prototypical Networks for Few-shot Learning", with cosine similarity.
    Every class 0..count-1 has at least one of the vectors (N, H). A mean without a direction is a column of zeros.
    """
    sums = np.zeros((count, vectors.shape[1]))
    np.add.at(sums, classes, vectors)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    return (sums / np.where(norms > 0, norms, 1)).T, np.zeros(count)
