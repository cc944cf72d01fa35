"""A text is found for the patterns that schemas use, and none is invented for others."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill.dev.model.pattern import matching

LITERALS = st.sampled_from(["a", "7", r"\.", "[a-c]", "[^a]", r"\d", r"\W", r"\s", ".", r"[\w-]", "(?:xy)"])
REPEATS = st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{2,}", "*?"])
PATTERNS = st.recursive(
    LITERALS,
    lambda inner: st.one_of(
        st.tuples(inner, REPEATS).map(lambda two: f"(?:{two[0]}){two[1]}"),
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda some: f"({'|'.join(some)})"),
    ),
    max_leaves=8,
)


@given(PATTERNS, st.booleans())
def test_a_matching_text_is_found(pattern: str, whole: bool) -> None:
    """For everything without look-around and back references, anchored or not."""
    wanted = f"^{pattern}$" if whole else pattern
    found = matching(wanted)
    assert found is not None
    assert re.search(wanted, found)


@given(st.integers(0, 40), st.integers(0, 40))
def test_lengths_are_kept(shortest: int, more: int) -> None:
    """A text of a pattern that may be any length is as long as it must be."""
    found = matching("^[a-z]*$", shortest, shortest + more)
    assert found is not None
    assert shortest <= len(found) <= shortest + more


@pytest.mark.parametrize(
    ("pattern", "shortest", "longest"),
    [
        ("^a$", 2, None),
        ("^a{5}$", 0, 4),
        ("(", 0, None),
        (r"^(a)b\1c$", 50, None),
        ("(?=x)y", 0, None),
        ("a{1000000000000}", 0, 3),
    ],
)
def test_none_is_invented(pattern: str, shortest: int, longest: int | None) -> None:
    """No text, a broken pattern, or one that is not followed: None."""
    assert matching(pattern, shortest, longest) is None
