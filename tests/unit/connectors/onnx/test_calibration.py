"""Temperature, calibration error and coverage, against figures counted by hand and against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventmill_connectors.onnx.calibration import (
    AtThreshold,
    expected_calibration_error,
    fit_temperature,
    log_loss,
    measure,
)
from eventmill_connectors.onnx.head import softmax

judged = st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.5000001, 0.8, 0.95, 1.0]), st.booleans()), min_size=1)


def drawn(temperature: float, count: int = 4000):
    """Return logits and classes drawn from them: the likelihood of the classes is that of `temperature`."""
    random = np.random.default_rng(7)
    logits = random.normal(size=(count, 4)) * 3
    shares = softmax(logits / temperature).cumsum(axis=1)
    return logits, (random.random((count, 1)) > shares).sum(axis=1).clip(max=3)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_that_made_the_labels_is_found(temperature):
    """Of labels drawn under a temperature, that temperature is fitted, whether it sharpens or flattens."""
    logits, classes = drawn(temperature)
    assert fit_temperature(logits, classes) == pytest.approx(temperature, rel=0.06)


def test_no_temperature_near_the_fitted_one_is_likelier():
    """It is the minimum of the loss that is found; with 4,000 texts the smoothing is too small to see."""
    logits, classes = drawn(2.0)
    found = fit_temperature(logits, classes)
    for factor in (0.9, 1.1):
        assert log_loss(logits / found, classes) < log_loss(logits / (found * factor), classes)


def test_few_texts_that_are_all_right_do_not_make_certain():
    """Perfect separation of ten texts leaves a doubt of about one in twelve, not none."""
    logits = np.tile([1.0, 0.0], (10, 1))
    temperature = fit_temperature(logits, np.zeros(10, dtype=np.intp))
    assert softmax(logits / temperature).max() == pytest.approx(11 / 12, abs=1e-6)


def test_logits_that_say_nothing_have_a_temperature_all_the_same():
    """Equal logits are equally likely under any temperature: a finite one is given."""
    assert 0 < fit_temperature(np.zeros((5, 3)), np.zeros(5, dtype=np.intp)) < np.inf


def test_calibration_error_as_counted_by_hand():
    """Two bins: 4 texts say 0.9 and half are right, 1 says 0.3 and is wrong: (4 * 0.4 + 1 * 0.3) / 5."""
    confidences = np.array([0.9, 0.9, 0.9, 0.9, 0.3])
    right = np.array([True, True, False, False, False])
    assert expected_calibration_error(confidences, right) == pytest.approx((4 * 0.4 + 0.3) / 5)


def test_calibration_error_averages_within_bins_only():
    """Too sure and too modest cancel out in one bin, and don't in two."""
    right = np.array([True, False])
    assert expected_calibration_error(np.array([0.51, 0.52]), right) == pytest.approx(0.015)
    assert expected_calibration_error(np.array([0.4, 0.6]), right) == pytest.approx(0.6)


def test_honest_confidences_have_no_calibration_error():
    """Ten texts that say 0.7, seven of them right."""
    assert expected_calibration_error(np.full(10, 0.7), np.arange(10) < 7) == pytest.approx(0)


def test_thresholds_include_their_own_value():
    """Coverage and accuracy at a threshold count texts that are just as sure."""
    measures = measure(np.array([0.9, 0.9, 0.8, 0.4]), np.array([True, False, True, False]), (0.9, 0.5, 1.0))
    assert measures.at_thresholds == (
        AtThreshold(0.9, 0.5, 0.5), AtThreshold(0.5, 0.75, 2 / 3), AtThreshold(1.0, 0.0, None),
    )
    assert (measures.accuracy, measures.texts) == (0.5, 4)


def test_precise_is_nineteen_of_twenty():
    """95 % are enough, and one in nineteen wrong is too many."""
    right = np.array([False] + [True] * 19)
    assert measure(np.full(20, 0.7), right).at_precision == AtThreshold(0.7, 1.0, 0.95)
    assert measure(np.full(19, 0.7), right[:19]).at_precision is None


@given(judged)
@settings(max_examples=60)
def test_the_precise_threshold_is_the_lowest_there_is(texts):
    """Of all confidences as thresholds none lower has 95 % right, and it has itself."""
    confidences, right = np.array([c for c, _ in texts]), np.array([ok for _, ok in texts])
    precise = [t for t in set(confidences.tolist()) if right[confidences >= t].mean() >= 0.95]
    found = measure(confidences, right).at_precision
    if found is None:
        assert not precise
    else:
        assert found.threshold == min(precise)
        assert found.coverage == (confidences >= found.threshold).mean()
        assert found.accuracy == right[confidences >= found.threshold].mean()
