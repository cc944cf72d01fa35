"""Training of classification heads: from texts and their labels to a calibrated `Head` and a report on it.

Every figure of the report, and the temperature, come from cross-validation: each text is judged by a head that was
fitted without it. The head that is returned is fitted on all texts.
"""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eventmill_connectors.onnx.calibration import Measures, fit_temperature, log_loss, measure
from eventmill_connectors.onnx.centroids import class_means
from eventmill_connectors.onnx.folds import stratified_folds
from eventmill_connectors.onnx.head import Floats, Head, softmax
from eventmill_connectors.onnx.logistic import is_available, logistic_regression, need_torch
from eventmill_schemas.errors import ModelUnusable, UsageError

Method = Literal["means", "linear"]

ENOUGH_FOR_LINEAR = 20
"""Texts of the middle label from which on a linear head is the better one."""

_NO_TORCH = (
    "there are enough texts for a linear head, which is often more accurate, but torch is not installed: "
    "`pip install 'eventmill[train]'`"
)

_Fit = Callable[[Floats, NDArray[np.intp], int], tuple[NDArray[np.float64], NDArray[np.float64]]]
_WEIGHT_DECAYS = (1e-4, 1e-5, 1e-6)   # the fewer texts a dimension, the stronger


@dataclass(frozen=True, slots=True)
class _Trial:
    """One way to fit a head, and how it does on texts that it was not fitted on: `logits` (N, C), as they come."""

    fit: _Fit
    weight_decay: float | None
    logits: NDArray[np.float64]
    temperature: float
    loss: float


@dataclass(frozen=True, slots=True)
class LabelReport:
    """How one label fared: its texts, the part of them that was found, the part right of those that were given it.

    `precision` is None where no text was given the label.
    """

    label: str
    texts: int
    recall: float
    precision: float | None


@dataclass(frozen=True, slots=True)
class HeadReport:
    """What is known about a head from texts that it was not fitted on.

    `ece_raw` is the calibration error before the temperature. `weight_decay` is that of a linear head: of a few, the
    one under which texts left out were likeliest. `labels` are in the order of the head's. `notes` say
    what a user should know about the texts or the choice of the method.
    """

    method: Method
    seed: int
    folds: int
    temperature: float
    weight_decay: float | None
    ece_raw: float
    measures: Measures
    labels: tuple[LabelReport, ...]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the report as values of JSON, for a model's manifest."""
        return dataclasses.asdict(self)


def train_head(
    texts: Sequence[str],
    labels: Sequence[str],
    embed: Callable[[Sequence[str]], Floats],
    method: Literal["auto", "means", "linear"] = "auto",
    seed: int = 0,
) -> tuple[Head, HeadReport]:
    """Train a head that gives a text's vector one of `labels`, and measure it by cross-validation.

    `texts` and `labels` are of one length; a text that is there twice with the same label counts once. `embed` gives
    the vectors (N, H) of N texts and is called once. `auto` takes class means below 20 texts per label, else a
    linear head if torch is installed. The same input gives the same head; `seed` parts the texts into folds. Labels
    are in alphabetical order.
    Raises UsageError for fewer than two labels or a label with a single text; ModelUnusable for vectors not finite;
    SetupError where `linear` is asked for and torch is not installed.
    """
    texts, labels, notes = _distinct(texts, labels)
    names, classes = _classes(labels)
    chosen, why = _choose(method, classes)
    vectors = _vectors(texts, embed)
    folds = stratified_folds(classes, seed)
    best = min((_try(fit, decay, vectors, classes, folds) for fit, decay in _ways(chosen)), key=lambda one: one.loss)
    weights, bias = best.fit(vectors, classes, len(names))
    head = Head(weights.astype(np.float32), bias.astype(np.float32), best.temperature, names)
    report = HeadReport(
        method=chosen,
        seed=seed,
        folds=int(folds.max()) + 1,
        temperature=best.temperature,
        weight_decay=best.weight_decay,
        ece_raw=_measured(best.logits, classes).ece,
        measures=_measured(best.logits / best.temperature, classes),
        labels=_by_label(names, best.logits.argmax(axis=1), classes),
        notes=(*notes, *why),
    )
    return head, report


def measure_head(head: Head, vectors: Floats, labels: Sequence[str]) -> Measures:
    """Measure a head on vectors (N, H) whose right labels are known; a label that the head lacks is never right."""
    found, confidences = head.classify(vectors)
    index = {name: at for at, name in enumerate(head.labels)}
    return measure(confidences, found == np.array([index.get(label, -1) for label in labels]))


def _ways(method: Method) -> list[tuple[_Fit, float | None]]:
    if method == "means":
        return [(class_means, None)]
    return [(partial(logistic_regression, weight_decay=decay), decay) for decay in _WEIGHT_DECAYS]


def _try(
    fit: _Fit, weight_decay: float | None, vectors: Floats, classes: NDArray[np.intp], folds: NDArray[np.intp]
) -> _Trial:
    count = int(classes.max()) + 1
    logits = np.empty((len(classes), count))
    for fold in range(int(folds.max()) + 1):
        outside = folds == fold
        weights, bias = fit(vectors[~outside], classes[~outside], count)
        logits[outside] = vectors[outside] @ weights + bias
    temperature = fit_temperature(logits, classes)
    return _Trial(fit, weight_decay, logits, temperature, log_loss(logits / temperature, classes))


def _distinct(texts: Sequence[str], labels: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    pairs = list(dict.fromkeys(zip(texts, labels, strict=True)))
    notes = []
    if repeated := len(texts) - len(pairs):
        notes.append(f"{repeated} texts are there more than once with the same label: each counts once")
    times = Counter(text for text, _ in pairs)
    if ambiguous := sum(count > 1 for count in times.values()):
        notes.append(f"{ambiguous} texts have more than one label: at most one of them can be right")
    spellings = defaultdict(list)
    for label in sorted(set(labels)):
        spellings[label.casefold()].append(label)
    notes += [f"{_listed(same)} are different labels" for same in spellings.values() if len(same) > 1]
    return [text for text, _ in pairs], [label for _, label in pairs], notes


def _classes(labels: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    counts = Counter(labels)
    if len(counts) < 2:
        raise UsageError(
            f"a classifier needs at least two labels, and the texts have {len(counts)}"
            + "".join(f": {label!r}" for label in counts)
        )
    if single := sorted(label for label, count in counts.items() if count == 1):
        raise UsageError(
            f"there is only one text for {_listed(single)}",
            remedy="Give at least two different ones, better twenty: one must be left to test the head on",
        )
    names = tuple(sorted(counts))
    index = {name: at for at, name in enumerate(names)}
    return names, np.array([index[label] for label in labels], dtype=np.intp)


def _choose(method: Literal["auto", "means", "linear"], classes: NDArray[np.intp]) -> tuple[Method, list[str]]:
    if method == "linear":
        need_torch()   # said before texts are embedded, which may take minutes
    if method != "auto":
        return method, []
    if median(np.bincount(classes).tolist()) < ENOUGH_FOR_LINEAR:
        return "means", []
    return ("linear", []) if is_available() else ("means", [_NO_TORCH])


def _vectors(texts: Sequence[str], embed: Callable[[Sequence[str]], Floats]) -> NDArray[np.float64]:
    vectors = np.asarray(embed(texts), dtype=np.float64)
    if vectors.ndim != 2 or len(vectors) != len(texts):
        raise ModelUnusable(f"the model gives an array of shape {vectors.shape} for {len(texts)} texts")
    usable = np.isfinite(vectors).all(axis=1)
    if not usable.all():
        text = texts[int(np.argmin(usable))]
        raise ModelUnusable(f"the model gives no finite vector for the text {_shortened(text)!r}")
    return vectors


def _measured(logits: NDArray[np.float64], classes: NDArray[np.intp]) -> Measures:
    return measure(softmax(logits).max(axis=1), logits.argmax(axis=1) == classes)


def _by_label(
    names: Sequence[str], found: NDArray[np.intp], classes: NDArray[np.intp]
) -> tuple[LabelReport, ...]:
    count = len(names)
    texts, given = np.bincount(classes, minlength=count), np.bincount(found, minlength=count)
    right = np.bincount(classes[found == classes], minlength=count)
    return tuple(
        LabelReport(name, int(all_), float(ok / all_), float(ok / got) if got else None)
        for name, all_, ok, got in zip(names, texts, right, given, strict=True)
    )


def _listed(names: Sequence[str], at_most: int = 5) -> str:
    shown = ", ".join(repr(name) for name in names[:at_most])
    more = len(names) - at_most
    return f"{shown} and {more} more" if more > 0 else shown


def _shortened(text: str, width: int = 60) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
