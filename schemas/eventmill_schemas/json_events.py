"""Events whose values are JSON: RFC 8259 read strictly, so that two readers can't see two different events.

The standard library's decoder is used because it keeps integers of any size exact and shows repeated names; faster
ones round the first and hide the second.
"""

import itertools
import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from eventmill_schemas.errors import Undecodable
from eventmill_schemas.storable_text import each_text, well_formed_text

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s"{}\[\],:]+', re.DOTALL)


def decode(value: bytes) -> dict[str, Any]:
    """Return the fields of one event.

    Integers stay exact, other numbers become floats. A lone surrogate in an escape becomes U+FFFD. Raises Undecodable,
    with the position, for what is not JSON (NaN, infinities and a byte order mark among them), a repeated name, a
    number that no float can hold, and a value that is not an object.
    """
    if value[:1] == b"\x00":
        raise Undecodable(
            "the value is not JSON: it begins with 0x00, as framed Avro does",
            remedy="Set `format: avro` for this stage",
        )
    if value.startswith(b"\xef\xbb\xbf"):
        raise _undecodable("it begins with a byte order mark")
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise _undecodable(f"byte 0x{value[error.start]:02x} at {error.start} is not UTF-8") from None
    try:
        fields = _DECODER.decode(text)
        if _SURROGATE.search(value) is not None:
            fields = each_text(well_formed_text, fields)
    except json.JSONDecodeError as error:
        raise _undecodable(error.msg[:1].lower() + error.msg[1:], text, error.pos) from None
    except _Refused as refused:
        raise _undecodable(str(refused), text, refused.position(text)) from None
    except RecursionError:
        raise _undecodable("it is nested too deep") from None
    except ValueError as error:   # Python refuses the quadratic work for an integer of more than 4,300 digits
        raise _undecodable(str(error).partition(";")[0]) from None
    if not isinstance(fields, dict):
        raise _undecodable(f"it is {_JSON_NAMES[type(fields)]}, an event is an object")
    return fields


class _Refused(Exception):
    """JSON that the decoder would take and we don't."""

    def __init__(self, problem: str, token: str, *, name: bool = False) -> None:
        super().__init__(problem)
        self._token = token
        self._name = name

    def position(self, text: str) -> int | None:
        """Find the token: the decoder's hooks don't say where they are."""
        places = _repeated_names(text) if self._name else _tokens(text)
        return next((place for place, token in places if token == self._token), None)


def _repeated_names(text: str) -> Iterator[tuple[int, str]]:
    """Yield every name that an object has already, with its position."""
    objects: list[set[str]] = []
    for token, following in itertools.pairwise(_TOKEN.finditer(text)):
        match token[0]:
            case "{" | "[":
                objects.append(set())
            case "}" | "]":
                objects.pop()
            case _ if following[0] == ":":
                name = json.loads(token[0])
                if name in objects[-1]:
                    yield token.start(), name
                objects[-1].add(name)


def _tokens(text: str) -> Iterator[tuple[int, str]]:
    for token in _TOKEN.finditer(text):
        yield token.start(), token[0]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _Refused(f"the name {name[:60]!r} is there twice", name, name=True)
            seen.add(name)
    return fields


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise _Refused(f"the number {digits[:60]} is too large", digits)
    return number


def _constant(name: str) -> NoReturn:
    raise _Refused(f"{name} is not JSON", name)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_constant=_constant)
_JSON_NAMES = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}


def _undecodable(problem: str, text: str = "", position: int | None = None) -> Undecodable:
    place = ""
    if position is not None:
        line = text.count("\n", 0, position) + 1
        place = f" (line {line}, column {position - text.rfind(chr(10), 0, position)})"
    return Undecodable(f"the value is not a JSON event: {problem}{place}")
