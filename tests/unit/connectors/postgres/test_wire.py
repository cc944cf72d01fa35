"""Vectors on the wire are those of pgvector's own package; what has no direction is refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pgvector import HalfVector

from eventmill_connectors.postgres.wire import halfvecs, unit_vectors
from eventmill_schemas.errors import UnstorableVector

numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
batches = st.integers(1, 9).flatmap(
    lambda dimensions: st.lists(
        st.lists(numbers, min_size=dimensions, max_size=dimensions).filter(any), min_size=1, max_size=6
    )
)


@settings(max_examples=40)
@given(batches)
def test_the_bytes_are_those_of_pgvectors_package(batch: list[list[float]]) -> None:
    """Each vector of a batch is encoded as pgvector's package encodes it alone."""
    units = unit_vectors(batch, len(batch[0]))
    assert halfvecs(units) == [HalfVector(unit).to_binary() for unit in units]


@settings(max_examples=40)
@given(batches, st.sampled_from([1e-30, 1e-3, 1.0, 7.0, 1e30]))
def test_units_have_length_one_and_the_direction_given(batch: list[list[float]], scale: float) -> None:
    """Whatever the magnitudes, also those whose squares no float holds: length 1 and the same direction."""
    units = unit_vectors(batch, len(batch[0]))
    assert units.dtype == np.float32
    assert np.linalg.norm(units, axis=1) == pytest.approx(np.ones(len(batch)), abs=1e-6)
    for unit, given_vector in zip(units, batch, strict=True):
        exact = np.asarray(given_vector, np.longdouble)
        assert unit == pytest.approx((exact / np.sqrt((exact**2).sum())).astype(np.float64), abs=1e-6)
    scaled = [[scale * number for number in vector] for vector in batch]
    if all(any(vector) for vector in scaled):
        assert unit_vectors(scaled, len(batch[0])) == pytest.approx(units, abs=1e-6)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ([1.0, 2.0], "vector 2 has 2 dimensions, the store has 3"),
        ([[1.0], [2.0], [3.0]], "vector 2 has 3x1 dimensions, the store has 3"),
        (1.0, "vector 2 has no dimensions, the store has 3"),
        ([1.0, float("nan"), 2.0], "vector 2 holds NaN or infinity"),
        ([1.0, float("-inf"), 2.0], "vector 2 holds NaN or infinity"),
        ([0.0, -0.0, 0.0], "vector 2 is all zeros"),
    ],
)
def test_what_is_no_vector_is_refused_by_its_number(bad: Any, reason: str) -> None:
    """Among good ones, the vector that is to blame is named, with what is wrong with it."""
    good = [1.0, 2.0, 3.0]
    with pytest.raises(UnstorableVector) as caught:
        unit_vectors([good, good, bad, good], 3)
    assert str(caught.value).startswith(reason)


def test_no_vectors_at_all() -> None:
    """An event without chunks has nothing to encode."""
    assert halfvecs(unit_vectors([], 3)) == []
