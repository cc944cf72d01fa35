"""The value of a head: its arithmetic, and what it refuses to be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventmill_connectors.onnx.head import Head, softmax


def head(**changed):
    """Return a head of three labels on vectors of two dimensions."""
    fields = {
        "weights": np.array([[1, 0, -1], [0, 1, -1]], dtype=np.float32),
        "bias": np.array([0, 0, 0.5], dtype=np.float32),
        "temperature": 0.5,
        "labels": ("x", "y", "neither"),
    }
    return Head(**fields | changed)


def test_logits_are_the_scaled_distance_to_each_label():
    """Logits are (vector @ weights + bias) / temperature."""
    logits = head().logits(np.array([[1, 0], [0, 2]], dtype=np.float32))
    assert logits.tolist() == [[2, 0, -1], [0, 4, -3]]


def test_the_likeliest_label_comes_with_its_probability():
    """`classify` gives the index of the largest logit, and the softmax there."""
    found, confidences = head().classify(np.array([[1, 0], [0, 2], [-1, -1]], dtype=np.float32))
    assert found.tolist() == [0, 1, 2]
    assert confidences == pytest.approx([np.exp(2) / (np.exp(2) + 1 + np.exp(-1)), 0.981, 0.999], abs=1e-3)


@given(st.lists(st.lists(st.floats(-1e300, 1e300), min_size=3, max_size=3), min_size=1, max_size=5))
@settings(max_examples=40)
def test_probabilities_are_finite_and_sum_to_one(rows):
    """No logits, however large, make the softmax overflow."""
    found = softmax(np.array(rows))
    assert np.isfinite(found).all()
    assert found.sum(axis=1) == pytest.approx(np.ones(len(rows)))


@pytest.mark.parametrize("changed", [
    {"labels": ("x", "y")},
    {"labels": ("x", "y", "x")},
    {"bias": np.zeros(2, dtype=np.float32)},
    {"weights": np.zeros((2, 3))},
    {"weights": np.full((2, 3), np.nan, dtype=np.float32)},
    {"bias": np.array([0, 0, np.inf], dtype=np.float32)},
    {"temperature": 0.0},
    {"temperature": float("nan")},
    {"weights": np.zeros((2, 1), dtype=np.float32), "bias": np.zeros(1, dtype=np.float32), "labels": ("x",)},
], ids=["labels-missing", "label-twice", "bias-short", "float64", "nan", "infinite", "temperature-0",
        "temperature-nan", "one-label"])
def test_parts_that_do_not_fit_are_refused(changed):
    """A head that would compute nonsense can't be made."""
    with pytest.raises(ValueError, match="head"):
        head(**changed)
