"""Token counts are taken over exactly, or not at all."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill_connectors.chat.usage import MOST_TOKENS, chat_completions_usage
from eventmill_schemas.chat import Usage

GOOD = {"prompt_tokens": 100, "completion_tokens": 40, "total_tokens": 140}
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def true_counts(draw: st.DrawFn) -> tuple[dict[str, Any], Usage]:
    """Draw counts that can be true, as a server reports them and as they are meant."""
    prompt, completion = draw(st.integers(0, 10**6)), draw(st.integers(0, 10**6))
    cached = draw(st.integers(0, prompt))
    written = draw(st.integers(0, prompt - cached))
    reasoning = draw(st.integers(0, completion))
    reported: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": completion}
    if draw(st.booleans()):
        reported["total_tokens"] = prompt + completion
    if cached or written or draw(st.booleans()):
        reported["prompt_tokens_details"] = {"cached_tokens": cached, "cache_write_tokens": written, "audio_tokens": 0}
    if reasoning or draw(st.booleans()):
        reported["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return reported, Usage(prompt, completion, cached, reasoning, written)


@given(true_counts())
def test_true_counts_are_taken_over(counts: tuple[dict[str, Any], Usage]) -> None:
    """Every part keeps its number; parts stay parts of their whole."""
    reported, meant = counts
    assert chat_completions_usage(reported) == meant


@pytest.mark.parametrize("value", [None, -1, "100", 100.0, True, 10**12, [], {}, float("nan")])
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens"])
def test_case_29_a_count_that_is_no_count_refuses_the_whole(name: str, value: object) -> None:
    """Null, negative, text, float, boolean and 10^12 leave no usage to bill by."""
    assert chat_completions_usage({**GOOD, name: value}) is None


def test_case_29_missing_usage_is_none_and_zero_is_a_count() -> None:
    """Nothing reported is not zero, and zero reported is not nothing."""
    for missing in (None, [], "x", 3, {}, {"prompt_tokens": 1}):
        assert chat_completions_usage(missing) is None
    assert chat_completions_usage({"prompt_tokens": 0, "completion_tokens": 0}) == Usage(0, 0)


def test_case_29_a_total_that_is_not_the_sum() -> None:
    """Somebody counts something that we don't know: no amount is claimed."""
    assert chat_completions_usage({**GOOD, "total_tokens": 141}) is None
    assert chat_completions_usage({**GOOD, "total_tokens": None}) == Usage(100, 40)


@pytest.mark.parametrize(
    "details",
    [
        {"prompt_tokens_details": {"cached_tokens": 101}},
        {"prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 60}},
        {"prompt_tokens_details": {"cached_tokens": -1}},
        {"prompt_tokens_details": {"cached_tokens": "7"}},
        {"prompt_tokens_details": 7},
        {"completion_tokens_details": {"reasoning_tokens": 41}},
    ],
)
def test_case_30_parts_larger_than_their_whole(details: dict[str, Any]) -> None:
    """More cached than prompt tokens would make a negative price: the counts are refused."""
    assert chat_completions_usage({**GOOD, **details}) is None


@given(st.dictionaries(st.sampled_from([*GOOD, "prompt_tokens_details", "completion_tokens_details"]), JSON))
def test_whatever_is_reported_usage_is_sane(reported: dict[str, Any]) -> None:
    """No report raises, and what is taken over has no negative number and no part beyond its whole."""
    usage = chat_completions_usage(reported)
    if usage is not None:
        assert 0 <= usage.cache_read_tokens + usage.cache_write_tokens <= usage.input_tokens <= MOST_TOKENS
        assert 0 <= usage.reasoning_tokens <= usage.output_tokens <= MOST_TOKENS
