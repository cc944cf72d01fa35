"""`${VAR}` and `${VAR:-default}` in the values of the pipeline file.

The forms are those of Docker Compose and the POSIX shell (XCU 2.6.2, Parameter Expansion) that a file needs:
`${VAR}` is the variable's value, `${VAR:-default}` the default where it is unset or empty, `$${` a literal `${`.
A default may hold further `${...}`. A `$` that is not followed by `{` stands for itself.
"""

import re
from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_NESTING = 10   # defaults within defaults; more is a mistake, and recursion must end somewhere


class Interpolated(str):
    """Text in which variables were replaced.

    `written` is how it stands in the file; only that is fit for messages, as the value may be a secret.
    """

    __slots__ = ("written",)
    written: str

    def __new__(cls, value: str, written: str) -> "Interpolated":
        """Keep both."""
        text = super().__new__(cls, value)
        text.written = written
        return text

    def __repr__(self) -> str:
        return repr(self.written)


def interpolate(text: str, environ: Mapping[str, str]) -> str:
    """Replace the variables in `text`; the result is Interpolated where there was one.

    Raises ValueError with a message for the user: a form that is not known, or variables that are not set.
    """
    if "${" not in text:
        return text
    missing: list[str] = []
    value, end, replaced = _expand(text, 0, environ, missing, depth=0)
    assert end == len(text)  # noqa: S101 - the outermost call reads to the end: holds for every text
    if missing:
        names = " and ".join(f"`{name}`" for name in dict.fromkeys(missing))
        verb = "is" if len(set(missing)) == 1 else "are"
        raise ValueError(
            f"the environment variable {names} {verb} not set, and there is no default as in ${{VAR:-default}}"
        )
    return Interpolated(value, text) if replaced else value


def _expand(
    text: str, start: int, environ: Mapping[str, str], missing: list[str], depth: int
) -> tuple[str, int, bool]:
    """Expand from `start` to the end, or within a default to its `}`.

    Returns the value, the position of the end, and whether a variable was replaced.
    """
    if depth > _MAX_NESTING:
        raise ValueError(f"`${{...}}` is nested more than {_MAX_NESTING} deep")
    parts: list[str] = []
    at, replaced = start, False
    while at < len(text):
        if text.startswith("$${", at):
            parts.append("${")
            at += 3
        elif text.startswith("${", at):
            value, at = _variable(text, at, environ, missing, depth)
            parts.append(value)
            replaced = True
        elif text[at] == "}" and depth:
            return "".join(parts), at, replaced
        else:
            parts.append(text[at])
            at += 1
    if depth:
        raise ValueError("a `${` has no closing `}`")
    return "".join(parts), at, replaced


def _variable(text: str, at: int, environ: Mapping[str, str], missing: list[str], depth: int) -> tuple[str, int]:
    """Read the `${...}` that begins at `at`; return its value and the position behind it."""
    name = _NAME.match(text, at + 2)
    if name is None:
        raise ValueError("`${` is not followed by the name of a variable; write `$${` for a literal `${`")
    set_to = environ.get(name.group())
    end = name.end()
    if text.startswith("}", end):
        if set_to is None:
            missing.append(name.group())
        return set_to or "", end + 1
    if not text.startswith(":-", end):
        raise ValueError(
            f"`${{{name.group()}` is followed by neither `}}` nor `:-`: only ${{VAR}} and ${{VAR:-default}} are known"
        )
    needed = missing if not set_to else []   # a default that is not used may name what is not set
    default, end, _ = _expand(text, end + 2, environ, needed, depth + 1)
    return set_to or default, end + 1
