"""Parting of labelled texts for cross-validation."""

import numpy as np
from numpy.typing import NDArray

FOLDS = 5


def stratified_folds(classes: NDArray[np.intp], seed: int) -> NDArray[np.intp]:
    """Return the fold 0, 1, ... of each text, given the class 0, 1, ... of each (N,): five folds, fewer of few texts.

    Every class is spread evenly, so that a class of two or more texts is never in one fold alone.
    """
    order = np.random.default_rng(seed).permutation(len(classes))
    folds = np.empty(len(classes), dtype=np.intp)
    first = 0
    for index in range(int(classes.max()) + 1):
        members = order[classes[order] == index]
        folds[members] = (first + np.arange(len(members))) % FOLDS
        first += len(members)   # so that small classes don't all begin with the same fold
    return np.unique(folds, return_inverse=True)[1].astype(np.intp)
