"""The Jinja environment of conditions, `from` expressions and prompts.

Who writes an expression is trusted, what an event carries is not. So nothing here reaches files, modules or Python's
insides, and what builds a large value from a small one (repeating, powers, widths, replacing, ranges) has a limit: no
event can make a worker run out of memory. Everything is deterministic (no random, no clock), so that a replayed event
is asked the same.

Differences from plain Jinja:
- `a.b` on a mapping is always its field, never a method: an order with a field `items` works. `event | items` gives
  the pairs.
- A missing field is an error when it is used; `is defined` and `default(...)` work as usual.
- Of a text only the methods in `TEXT_METHODS` are there, of bytes `decode` and `hex`, of a number none.
- Filters: those in `_JINJA_FILTERS`, and `format`, `indent`, `replace`, `round`, `tojson`. Functions: none, in
  templates `range` and `namespace`.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from jinja2 import StrictUndefined, Undefined, UndefinedError
from jinja2.filters import FILTERS
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from eventmill_agents.scope import META_FIELDS, Meta
from eventmill_agents.text import json_text

MAX_LENGTH: Final = 1_000_000   # of a text or list that an operator or filter may build from a shorter one
MAX_BITS: Final = 4_096         # of a product or power of whole numbers
MAX_PLACES: Final = 100         # of `round`, and of `indent`'s width

TEXT_METHODS: Final = frozenset(
    {
        *("capitalize", "casefold", "lower", "swapcase", "title", "upper"),
        *("count", "endswith", "find", "index", "rfind", "rindex", "startswith"),
        *("isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "isidentifier", "islower", "isnumeric"),
        *("isprintable", "isspace", "istitle", "isupper"),
        *("lstrip", "removeprefix", "removesuffix", "replace", "rstrip", "strip"),
        *("partition", "rpartition", "rsplit", "split", "splitlines"),
    }
)
_BYTES_METHODS: Final = frozenset({"decode", "hex"})
_CLOCKS: Final = frozenset({"now", "today", "utcnow"})   # class methods that every datetime carries

_JINJA_FILTERS: Final = (
    *("abs", "float", "int", "max", "min", "sum"),
    *("capitalize", "lower", "string", "striptags", "title", "trim", "truncate", "upper", "urlencode"),
    *("wordcount", "wordwrap"),
    *("count", "dictsort", "first", "groupby", "items", "join", "last", "length", "list", "reverse", "sort", "unique"),
    *("map", "reject", "rejectattr", "select", "selectattr"),
    *("d", "default"),
)

_WIDE_FORMAT: Final = re.compile(r"%[^%a-zA-Z]*(?:\*|\d{4})")


class FieldMissing(UndefinedError):
    """A field that is not there was used."""


class Sandbox(ImmutableSandboxedEnvironment):
    """An environment without loader, globals and expensive operations."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self, **options: Any) -> None:
        super().__init__(undefined=StrictUndefined, autoescape=False, **options)
        self.globals.clear()
        filters: dict[str, Callable[..., Any]] = {name: FILTERS[name] for name in _JINJA_FILTERS}
        filters |= {"format": _format, "indent": _indent, "replace": _replace, "round": _round, "tojson": json_text}
        self.filters = filters

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`obj.attribute`: the field of a mapping, else an allowed attribute."""
        if type(obj) is Meta:
            return getattr(obj, attribute) if attribute in META_FIELDS else self._missing(obj, attribute)
        if isinstance(obj, Mapping):
            return obj[attribute] if attribute in obj else self._missing(obj, attribute)
        if isinstance(obj, str) and attribute == "replace":
            return partial(_replace, obj)
        found = super().getattr(obj, attribute)
        return self._missing(obj, attribute) if isinstance(found, Undefined) else found

    def getitem(self, obj: Any, argument: Any) -> Any:
        """`obj[argument]`: an item, never an attribute."""
        try:
            return obj[argument]
        except (TypeError, LookupError):
            return self._missing(obj, argument)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Tell whether `obj.attr` may be used: of texts, bytes and numbers only what is listed above."""
        if isinstance(obj, str):
            return attr in TEXT_METHODS
        if isinstance(obj, bytes):
            return attr in _BYTES_METHODS
        if obj is None or isinstance(obj, int | float) or attr in _CLOCKS:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        """Offer no `str.format`: the filter `format` has limits."""

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Refuse what would take memory or time without bound, then compute."""
        if operator == "*":
            _check_product(left, right)
        elif operator == "**":
            _check_power(left, right)
        elif isinstance(left, str | bytes):
            _check_format(left)
        return super().call_binop(context, operator, left, right)

    def _missing(self, obj: Any, name: Any) -> Undefined:
        place = "" if isinstance(obj, Mapping) else " in null" if obj is None else f" in a {type(obj).__name__}"
        return self.undefined(f"there is no field {name!r}{place}", obj=obj, name=name, exc=FieldMissing)


def _check_length(length: int) -> None:
    if length > MAX_LENGTH:
        raise OverflowError(f"it would build a value of {length:,} parts; the limit is {MAX_LENGTH:,}")


def _check_product(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())
    elif isinstance(left, int) and hasattr(right, "__len__"):
        _check_length(left * len(right))
    elif isinstance(right, int) and hasattr(left, "__len__"):
        _check_length(right * len(left))


def _check_power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int) and right > 0:
        _check_bits(left.bit_length() * right)


def _check_bits(bits: int) -> None:
    if bits > MAX_BITS:
        raise OverflowError(f"it would compute a number of more than {MAX_BITS:,} bits")


def _check_format(pattern: str | bytes) -> None:
    if _WIDE_FORMAT.search(pattern if isinstance(pattern, str) else pattern.decode("latin-1")):
        raise OverflowError("a format may be at most 999 characters wide")


def _format(value: Any, *args: Any, **kwargs: Any) -> str:
    """printf-style formatting: `"%.2f" | format(event.price)`."""
    pattern = str(value)
    _check_format(pattern)
    return str(pattern % (kwargs or args))


def _replace(text: Any, old: str, new: str, count: int = -1) -> str:
    """Replace `old` by `new`, at most `count` times; the result is bounded."""
    whole, old, new = str(text), str(old), str(new)
    hits = whole.count(old)
    _check_length((hits if count < 0 else min(hits, count)) * len(new))
    return whole.replace(old, new, count)


def _indent(text: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    """Indent every line; `first` and `blank` as in Jinja."""
    _check_places(len(width) if isinstance(width, str) else width)
    return str(FILTERS["indent"](str(text), width, first, blank))


def _round(value: Any, precision: int = 0, method: str = "common") -> Any:
    """Round to `precision` decimal places, by `common`, `ceil` or `floor`."""
    _check_places(precision)
    return FILTERS["round"](value, precision, method)


def _check_places(places: int) -> None:
    if abs(places) > MAX_PLACES:
        raise OverflowError(f"{places} places are asked for; the limit is {MAX_PLACES}")
