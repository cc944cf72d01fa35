"""`${VAR}` in values."""

from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill.config.interpolate import Interpolated, interpolate

NAMES = ("HOST", "PORT", "_X1", "EMPTY")


@dataclass(frozen=True)
class Variable:
    """`${name}` or `${name:-default}`."""

    name: str
    default: "tuple[str | Variable, ...] | None" = None

    def written(self) -> str:
        """Return how it stands in a file."""
        if self.default is None:
            return f"${{{self.name}}}"
        return f"${{{self.name}:-{written(self.default)}}}"

    def value(self, environ: dict[str, str]) -> str:
        """Return what it stands for; KeyError where that is not known."""
        if self.default is None:
            return environ[self.name]
        return environ.get(self.name) or value(self.default, environ)


Parts = tuple[str | Variable, ...]


def written(parts: Parts) -> str:
    """Return how the parts stand in a file; literal `${` is escaped."""
    return "".join(part.replace("${", "$${") if isinstance(part, str) else part.written() for part in parts)


def value(parts: Parts, environ: dict[str, str]) -> str:
    """Return what the parts stand for."""
    return "".join(part if isinstance(part, str) else part.value(environ) for part in parts)


# Within a default a brace can't be written; a `$` at the end of a literal would join with what comes behind it.
literals = st.text("ab:-} {$", max_size=5).filter(lambda text: not text.endswith("$"))
inner_literals = st.text("ab:- ", max_size=5)
inner = st.recursive(
    st.builds(Variable, st.sampled_from(NAMES)),
    lambda deeper: st.builds(
        Variable, st.sampled_from(NAMES), st.lists(inner_literals | deeper, max_size=3).map(tuple)
    ),
    max_leaves=4,
)
environments = st.dictionaries(st.sampled_from(NAMES), st.text("xyz${}", max_size=4))


@given(st.lists(literals | inner, max_size=5).map(tuple), environments)
def test_every_mixture_of_text_and_variables_is_expanded(parts: Parts, environ: dict[str, str]) -> None:
    """Text, variables and defaults in any nesting give what they stand for, or name what is not set."""
    try:
        expected = value(parts, environ)
    except KeyError:
        with pytest.raises(ValueError, match="not set"):
            interpolate(written(parts), environ)
    else:
        assert interpolate(written(parts), environ) == expected


@given(st.text())
def test_escaped_text_comes_back_as_it_was(text: str) -> None:
    """`$${` stands for `${`, and no other character means anything."""
    back = interpolate(text.replace("${", "$${"), {})
    assert back == text
    assert not isinstance(back, Interpolated)


@given(st.text("${}:-aA_1", max_size=12), environments)
def test_no_text_ends_in_another_error(text: str, environ: dict[str, str]) -> None:
    """Whatever is written, there is a text or a ValueError, nothing else; without `${` it is the text itself."""
    with suppress(ValueError):
        found = interpolate(text, environ)
        assert found == text or "${" in text


def test_a_value_that_looks_like_a_variable_is_not_expanded_again() -> None:
    """What a variable holds is data."""
    assert interpolate("${A}", {"A": "${B}"}) == "${B}"


def test_all_missing_variables_are_named_at_once() -> None:
    """A user sets all of them in one go; a default that is not needed may name what is not set."""
    with pytest.raises(ValueError, match=r"the environment variable `A` and `B` are not set"):
        interpolate("${A} ${B} ${A} ${C:-${D}}", {"C": "c"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${A", "neither `}` nor `:-`"),
        ("${A:-b", "no closing `}`"),
        ("${A:?must}", "neither `}` nor `:-`"),
        ("${A-b}", "neither `}` nor `:-`"),
        ("${}", "not followed by the name"),
        ("${1A}", "not followed by the name"),
        ("${A:-" * 20 + "}" * 20, "nested more than 10 deep"),
    ],
)
def test_unknown_forms_are_refused(text: str, message: str) -> None:
    """A form of other tools is not taken for text."""
    with pytest.raises(ValueError, match=message):
        interpolate(text, {"A": ""})


def test_the_value_is_not_in_the_repr() -> None:
    """A password from the environment does not get into a log by way of a repr."""
    text = interpolate("${PASSWORD}", {"PASSWORD": "hush"})
    assert text == "hush"
    assert "hush" not in repr(text)
    assert isinstance(text, Interpolated)
    assert text.written == "${PASSWORD}"
