"""A short text that a regular expression matches. Pure."""

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

# Python's parser of regular expressions; it has no public name since `sre_parse` is deprecated.
_parser: Any = import_module("re._parser")

_PRINTABLE = [chr(code) for code in range(32, 127)]
_PREFERRED = "a0A _-.@/"
_CATEGORIES = {"CATEGORY_DIGIT": "0", "CATEGORY_SPACE": " ", "CATEGORY_WORD": "a"}
_NOT_CATEGORIES = {"CATEGORY_NOT_DIGIT": r"\D", "CATEGORY_NOT_SPACE": r"\S", "CATEGORY_NOT_WORD": r"\W"}
_MORE = (0, 1, 2, 4, 8, 16, 32, 64)   # repetitions beyond the least, tried until the text is long enough


def matching(pattern: str, shortest: int = 0, longest: int | None = None) -> str | None:
    """Return a text of `shortest` to `longest` characters in which `pattern` is found; None if none was found.

    Look-around assertions and back references are not followed, but what is returned always matches.
    """
    try:
        expression, tree = re.compile(pattern), _parser.parse(pattern)
    except (re.error, RecursionError, OverflowError):
        return None
    for more in _MORE:
        text = "".join(_written(tree, more))
        for candidate in (text, text + "a" * (shortest - len(text))):
            fits = shortest <= len(candidate) and (longest is None or len(candidate) <= longest)
            if fits and expression.search(candidate):
                return candidate
    return None


def _written(tree: Any, more: int) -> Iterator[str]:
    for code, value in tree:
        match str(code):
            case "LITERAL":
                yield chr(value)
            case "NOT_LITERAL":
                yield _first(lambda sign, taken=value: ord(sign) != taken)
            case "ANY":
                yield "a"
            case "IN":
                yield _one_of(value)
            case "BRANCH":
                yield from _written(value[1][0], more)
            case "SUBPATTERN":
                yield from _written(value[3], more)
            case "ATOMIC_GROUP":
                yield from _written(value, more)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                least, most, repeated = value
                for _ in range(min(least + more, int(most))):
                    yield from _written(repeated, more if least == most else 0)
            case _:   # anchors write nothing; assertions and back references are left to the final check
                pass


def _one_of(choices: Any) -> str:
    """Return one character of a class like [^a-z_]."""
    codes = [(str(code), value) for code, value in choices]
    if codes and codes[0][0] == "NEGATE":
        return _first(lambda sign: not any(_is(sign, code, value) for code, value in codes[1:]))
    code, value = codes[0]
    if code == "LITERAL":
        return chr(value)
    if code == "RANGE":
        return chr(value[0])
    return _first(lambda sign: _is(sign, code, value))


def _is(sign: str, code: str, value: Any) -> bool:
    if code == "LITERAL":
        return ord(sign) == int(value)
    if code == "RANGE":
        return bool(value[0] <= ord(sign) <= value[1])
    name = str(value)
    if name in _CATEGORIES:
        return re.match({"0": r"\d", " ": r"\s", "a": r"\w"}[_CATEGORIES[name]], sign) is not None
    return re.match(_NOT_CATEGORIES[name], sign) is not None


def _first(fits: Any) -> str:
    return next((sign for sign in (*_PREFERRED, *_PRINTABLE) if fits(sign)), "")
