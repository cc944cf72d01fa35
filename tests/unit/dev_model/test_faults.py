"""Latencies and errors follow their distributions, and nothing but seed, text and attempt."""

import math
import statistics
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill.dev.model.faults import ErrorRates, Fates, Latency, Outcome, marked_outcome
from eventmill_schemas.errors import UsageError

DIGESTS = [sha256(str(number).encode()).digest() for number in range(20_000)]


def drawn(latency: str = "fixed:0", errors: str = "", seed: int = 1) -> list[tuple[Outcome, float]]:
    """Draw the fates of all DIGESTS."""
    fates = Fates(seed, Latency.parse(latency), ErrorRates.parse(errors))
    return [tuple(fates.decide(digest, 1, None)) for digest in DIGESTS]


def test_a_run_can_be_repeated_and_another_seed_is_another_run() -> None:
    """The same seed, text and attempt have the same fate; each of them makes a difference."""
    rates = "429=0.3,500=0.3"
    assert drawn("uniform:0:1", rates) == drawn("uniform:0:1", rates)
    assert drawn("uniform:0:1", rates) != drawn("uniform:0:1", rates, seed=2)
    fates = Fates(1, Latency.parse("uniform:0:1"), ErrorRates.parse(rates))
    assert [fates.decide(one, 1, None) for one in DIGESTS[:50]] != [fates.decide(one, 2, None) for one in DIGESTS[:50]]


def test_errors_come_as_often_as_they_are_asked_for() -> None:
    """Within four standard deviations of 20,000 draws."""
    outcomes = [outcome for outcome, _ in drawn(errors="429=0.02, 500=0.1,timeout=0.3,refuse=0.05")]
    asked = {Outcome.RATE_LIMIT: 0.02, Outcome.ERROR: 0.1, Outcome.TIMEOUT: 0.3, Outcome.REFUSAL: 0.05}
    for outcome, rate in asked.items():
        margin = 4 * (rate * (1 - rate) / len(outcomes)) ** 0.5
        assert outcomes.count(outcome) / len(outcomes) == pytest.approx(rate, abs=margin)
    assert set(drawn()) == {(Outcome.OK, 0.0)}
    assert {outcome for outcome, _ in drawn(errors="503=1")} == {Outcome.UNAVAILABLE}


def test_latencies_follow_their_distribution() -> None:
    """Bounds, mean, median and the share of slow calls."""
    assert {seconds for _, seconds in drawn("fixed:1.5")} == {1.5}
    uniform = [seconds for _, seconds in drawn("uniform:0.5:1.5")]
    assert 0.5 <= min(uniform) <= max(uniform) < 1.5
    assert statistics.mean(uniform) == pytest.approx(1, abs=0.02)
    normal = [seconds for _, seconds in drawn("lognormal:0.2:0.5")]
    assert statistics.median(normal) == pytest.approx(0.2, rel=0.05)
    assert statistics.stdev(math.log(seconds) for seconds in normal) == pytest.approx(0.5, rel=0.05)
    slow = [seconds for _, seconds in drawn("lognormal:0.2:0.5:0.01:5")]
    assert slow.count(5.0) / len(slow) == pytest.approx(0.01, abs=0.004)
    assert {seconds for _, seconds in drawn("lognormal:0.2:0")} == {0.2}


@pytest.mark.parametrize(
    "text",
    ["", "fixed", "fixed:", "fixed:-1", "fixed:1:2", "fixed:nan", "uniform:1", "uniform:2:1", "lognormal:1",
     "lognormal:1:2:3", "lognormal:0.2:0.5:2:5", "normal:1:2", "1"],
)  # fmt: skip
def test_what_is_no_distribution_is_refused(text: str) -> None:
    """The message shows how one is written."""
    with pytest.raises(UsageError, match=r"no distribution.*uniform:LOW:HIGH"):
        Latency.parse(text)


@pytest.mark.parametrize("text", ["429", "429=", "=0.1", "429=2", "429=-1", "429=x", "418=0.1", "ok=0.1", "nope=0.1"])
def test_what_is_no_error_rate_is_refused(text: str) -> None:
    """The message shows the names."""
    with pytest.raises(UsageError, match=r"not NAME=PROBABILITY.*truncated"):
        ErrorRates.parse(text)


def test_more_errors_than_calls_are_refused() -> None:
    """Probabilities that add up to more than 1 are a mistake."""
    with pytest.raises(UsageError, match="more than 1"):
        ErrorRates.parse("429=0.6,500=0.6")
    assert ErrorRates.parse("").rates == {}


@given(st.sampled_from(sorted(Outcome)), st.text(max_size=20), st.text(max_size=20))
def test_a_marker_in_the_text_forces_the_outcome(outcome: Outcome, before: str, after: str) -> None:
    """Every name of an outcome is a marker's name; refuse and truncate are ones as well."""
    assert marked_outcome(f"{before} [[stand-in:{outcome}]] {after}") is outcome
    assert marked_outcome("[[stand-in:refuse]]") is Outcome.REFUSAL
    assert marked_outcome("[[stand-in:truncate]]") is Outcome.TRUNCATED
    assert marked_outcome("[[stand-in:nonsense]] [[stand-in]] stand-in:429") is None


def test_a_forced_rate_limit_passes_and_a_forced_error_stays() -> None:
    """What a busy server answers is gone at the second attempt, so that a retry can be shown to work."""
    fates = Fates()
    for outcome in (Outcome.RATE_LIMIT, Outcome.UNAVAILABLE, Outcome.OVERLOADED):
        assert [fates.decide(DIGESTS[0], attempt, outcome).outcome for attempt in (1, 2)] == [outcome, Outcome.OK]
    for outcome in (Outcome.ERROR, Outcome.REFUSAL, Outcome.TRUNCATED, Outcome.INVALID, Outcome.BAD_REQUEST):
        assert [fates.decide(DIGESTS[0], attempt, outcome).outcome for attempt in (1, 2, 3)] == [outcome] * 3
