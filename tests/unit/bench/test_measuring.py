"""The arithmetic of the benchmarks: the steady part of a run, and CPU time between two moments."""

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill.bench.results import steady
from eventmill.bench.usage import Usage


@given(rate=st.floats(1, 10_000), events=st.integers(20, 500), order=st.randoms(use_true_random=False))
def test_even_results_have_their_rate(rate: float, events: int, order: object) -> None:
    """Whatever their number is, and in whatever order partitions gave them."""
    times = [1_000 + number / rate for number in range(events)]
    order.shuffle(times)   # type: ignore[attr-defined]  # hypothesis gives a Random
    assert steady(times).rate == pytest.approx(rate, rel=1e-3)


@given(slow_start=st.floats(0, 100), slow_end=st.floats(0, 100))
def test_start_and_end_do_not_count(slow_start: float, slow_end: float) -> None:
    """A worker that starts late and a key that ends late change nothing: the part between has its own rate."""
    even = [float(number) for number in range(100)]
    early = [time - slow_start for time in even[:10]]
    late = [time + slow_end for time in even[81:]]
    assert steady([*early, *even[10:81], *late]).rate == pytest.approx(1.0)


def test_cpu_time_is_that_of_the_stretch() -> None:
    """Between two moments a process has used what its own clock says; half-way, what a line through them says."""
    usage = Usage(os.getpid())
    usage.sample()
    start, used = time.time(), time.process_time()
    while time.process_time() - used < 0.5:
        pass
    end, used = time.time(), time.process_time() - used
    usage.sample()
    assert usage.cpu_seconds(start, end) == pytest.approx(used, abs=0.1)
    middle = (start + end) / 2
    halves = usage.cpu_seconds(start, middle), usage.cpu_seconds(middle, end)
    assert sum(halves) == pytest.approx(usage.cpu_seconds(start, end))
    assert halves[0] == pytest.approx(halves[1], abs=0.05)
    assert 10 < usage.peak_mib < 10_000
