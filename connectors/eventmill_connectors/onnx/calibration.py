"""How sure a classifier may say that it is, and how right it is where it says so.

Everything here takes logits or confidences of texts that the classifier was not fitted on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventmill_connectors.onnx.head import softmax

ECE_BINS = 15
THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
PRECISION = 0.95

_COLDNESS = (1e-3, 1e5)   # bounds of 1/temperature
_HALVINGS = 60

Numbers = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class AtThreshold:
    """What happens to texts whose confidence is at least `threshold`.

    `coverage`: their part of all texts, 0..1. `accuracy`: the part of them that is right; None if there are none.
    """

    threshold: float
    coverage: float
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Measures:
    """How right and how honest confidences are, over `texts` texts.

    `ece`: expected calibration error, 0 (says 90 % and is right in 90 %) to 1.
    `at_precision`: the lowest threshold above which at least 95 % are right; None: there is none.
    """

    texts: int
    accuracy: float
    ece: float
    at_thresholds: tuple[AtThreshold, ...]
    at_precision: AtThreshold | None


def fit_temperature(logits: Numbers, classes: Indices) -> float:
    """Return the temperature under which `logits` (N, C) are likeliest, given the right `classes` (N,).

    Temperature scaling of Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2. The targets are
    smoothed as in Platt 1999, "Probabilistic Outputs for Support Vector Machines": of N texts that are all right,
    one more is taken to be wrong, else few texts would make a head certain of everything.
    """
    count, width = logits.shape
    doubt = 1 / (count + 2)
    shifted = logits - logits.max(axis=1, keepdims=True)
    right = shifted[np.arange(count), classes]
    wanted = float(((1 - doubt) * right + doubt * (shifted.sum(axis=1) - right) / (width - 1)).sum())

    def slope(inverse: float) -> float:
        """Return the derivative of the loss by 1/temperature: it only rises, because the loss is convex."""
        return float((softmax(inverse * shifted) * shifted).sum()) - wanted

    low, high = _COLDNESS
    for _ in range(_HALVINGS):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 1 / middle


def log_loss(logits: Numbers, classes: Indices) -> float:
    """Return the mean negative log-likelihood in nats of the right `classes` (N,) under `logits` (N, C)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return float((np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(classes)), classes]).mean())


def expected_calibration_error(confidences: Numbers, right: NDArray[np.bool_], bins: int = ECE_BINS) -> float:
    """Return the mean distance of confidence and accuracy over equal-width bins, weighted by their texts, 0..1.

    Naeini et al. 2015, "Obtaining Well Calibrated Probabilities Using Bayesian Binning"; 15 bins as in Guo et al. 2017.
    """
    edge = np.clip(np.ceil(confidences * bins).astype(int) - 1, 0, bins - 1)   # bins are (0, 1/15], (1/15, 2/15], ...
    surplus = np.bincount(edge, weights=confidences - right, minlength=bins)
    return float(np.abs(surplus).sum() / len(confidences))


def measure(
    confidences: Numbers, right: NDArray[np.bool_], thresholds: Sequence[float] = THRESHOLDS
) -> Measures:
    """Measure confidences (N,) against whether the labels were right (N,), N at least 1."""
    return Measures(
        texts=len(right),
        accuracy=float(right.mean()),
        ece=expected_calibration_error(confidences, right),
        at_thresholds=tuple(_at(threshold, confidences, right) for threshold in thresholds),
        at_precision=_at_precision(confidences, right, PRECISION),
    )


def _at(threshold: float, confidences: Numbers, right: NDArray[np.bool_]) -> AtThreshold:
    sure = confidences >= threshold
    accuracy = float(right[sure].mean()) if sure.any() else None
    return AtThreshold(float(threshold), float(sure.mean()), accuracy)


def _at_precision(confidences: Numbers, right: NDArray[np.bool_], precision: float) -> AtThreshold | None:
    order = np.argsort(-confidences, kind="stable")
    ranked = confidences[order]
    precise = np.cumsum(right[order]) >= precision * np.arange(1, len(right) + 1)
    # A threshold can't part texts of one confidence.
    last_of_its_confidence = np.append(ranked[1:] != ranked[:-1], True)
    fitting = np.flatnonzero(precise & last_of_its_confidence)
    return _at(float(ranked[fitting[-1]]), confidences, right) if fitting.size else None
