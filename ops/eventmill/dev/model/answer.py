"""Fills any JSON Schema of the strict subset from a text: the stand-in's answer. Pure and deterministic.

A property is filled by what its name and description say that it is (a summary, a category, a date, ...), always from
the text: a reply that reached the wrong event can be told by looking at it.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import lru_cache
from typing import Any

from eventmill.dev.model.numbers import number_within
from eventmill.dev.model.pattern import matching
from eventmill.dev.model.reading import Reading, first_words
from eventmill.dev.model.strings import ACTION_NAMES, DATE_NAMES, LANGUAGE_NAMES, REPLY_NAMES, string_for
from eventmill.dev.model.vocabulary import NEUTRAL

_DEEP = 4        # levels below which only the shortest branch is taken, so that a schema that contains itself ends
_BOTTOMLESS = 60
_ITEMS = 3       # items of an array that does not say how many
_TOO_HIGH = 99   # levels of a branch that never ends

Schema = Mapping[str, Any]


class UnanswerableSchema(Exception):
    """The schema uses something outside of the strict subset; the message names it."""


def answer(schema: Schema, reading: Reading) -> Any:
    """Return an instance of `schema` about `reading`. Raises UnanswerableSchema."""
    return _Filler(schema).fill(schema, "", reading, 0)


class _Filler:
    def __init__(self, root: Schema) -> None:
        self._root = root

    def fill(self, schema: Schema, name: str, reading: Reading, depth: int) -> Any:
        if depth > _BOTTOMLESS:
            raise UnanswerableSchema("it contains itself without end")
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return _choice(schema, name, reading)
        if branches := schema.get("anyOf") or schema.get("oneOf"):
            return self.fill(self._branch(branches, name, reading, depth), name, reading, depth)
        kinds = _kinds(schema)
        real = [kind for kind in kinds if kind != "null"]
        if not real or (real != kinds and (depth >= _DEEP or _nothing_to_say(schema, name, reading))):
            return None
        kind = real[0]
        if kind == "object":
            return self._object(schema, reading, depth)
        return self._array(schema, name, reading, depth) if kind == "array" else _scalar(kind, schema, name, reading)

    def _object(self, schema: Schema, reading: Reading, depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        wanted = set(schema.get("required", ())) if depth >= _DEEP else properties
        return {name: self.fill(one, name, reading, depth + 1) for name, one in properties.items() if name in wanted}

    def _array(self, schema: Schema, name: str, reading: Reading, depth: int) -> list[Any]:
        least, most = schema.get("minItems", 0), schema.get("maxItems", math.inf)
        items = schema.get("items", {})
        if items is False:
            return []
        about = _readings_for(name, reading)
        count = int(least if depth >= _DEEP else max(least, min(most, len(about) if depth < 2 else 1)))
        about += [replace(reading, number=number) for number in range(len(about), count)]
        return [self.fill(items, name, one, depth + 1) for one in about[:count]]

    def _branch(self, branches: Sequence[Schema], name: str, reading: Reading, depth: int) -> Schema:
        if depth >= _DEEP:
            return min(branches, key=lambda branch: self._height(branch, frozenset()))
        null = [branch for branch in branches if _kinds(self._resolved(branch)) == ["null"]]
        real = [branch for branch in branches if branch not in null and self._height(branch, frozenset()) < _TOO_HIGH]
        if not real or (null and _nothing_to_say(self._resolved(real[0]), name, reading)):
            return null[0] if null else branches[0]
        return real[0]

    def _height(self, schema: Schema, seen: frozenset[str]) -> int:
        """Return how many levels the smallest instance of a schema has; _TOO_HIGH where there is none."""
        reference = schema.get("$ref")
        if reference in seen or len(seen) > 50:
            return _TOO_HIGH
        seen = seen | {reference} if reference else seen
        schema = self._resolved(schema)
        if branches := schema.get("anyOf") or schema.get("oneOf"):
            return min(self._height(branch, seen) for branch in branches)
        kinds = _kinds(schema)
        if "null" in kinds or "enum" in schema or "const" in schema:
            return 0
        if "object" in kinds:
            required = [schema.get("properties", {}).get(name, {}) for name in schema.get("required", ())]
            return min(_TOO_HIGH, 1 + max((self._height(one, seen) for one in required), default=0))
        if "array" in kinds and schema.get("minItems", 0) > 0:
            return min(_TOO_HIGH, 1 + self._height(schema.get("items", {}), seen))
        return 0

    def _resolved(self, schema: Schema) -> Schema:
        for _ in range(50):
            reference = schema.get("$ref")
            if reference is None:
                return schema
            schema = {**self._target(reference), **{key: value for key, value in schema.items() if key != "$ref"}}
        raise UnanswerableSchema("a $ref leads to itself")

    def _target(self, reference: str) -> Schema:
        if not reference.startswith("#"):
            raise UnanswerableSchema(f"$ref {reference!r} leads out of the schema")
        found: Any = self._root
        for part in reference.lstrip("#").strip("/").split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            found = found.get(key) if isinstance(found, Mapping) and key else found
        if not isinstance(found, Mapping):
            raise UnanswerableSchema(f"$ref {reference!r} leads nowhere")
        return found


def _kinds(schema: Schema) -> list[str]:
    kind = schema.get("type")
    if isinstance(kind, str):
        return [kind]
    if isinstance(kind, Sequence) and kind:
        return list(kind)
    if "properties" in schema:
        return ["object"]
    return ["array"] if "items" in schema else ["string"]


@lru_cache(maxsize=4096)
def parts_of(name: str) -> tuple[str, ...]:
    """Split a name or symbol into lower-case words: `isUrgent`, `is_urgent` and `IS-URGENT` are all is, urgent."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return tuple(re.findall(r"[^\W_]+", spaced.casefold()))


def _nothing_to_say(schema: Schema, name: str, reading: Reading) -> bool:
    """Whether a value that may be null has no source in the text."""
    parts = set(parts_of(name))
    if schema.get("format") in ("date", "date-time") or parts & DATE_NAMES:
        return reading.date is None
    if schema.get("format") == "email" or "email" in parts:
        return reading.email is None
    if {"integer", "number"} & set(_kinds(schema)):
        return not reading.numbers and "multipleOf" not in schema
    return not reading.text


def _readings_for(name: str, reading: Reading) -> list[Reading]:
    """Return what the items of an array are about, one reading each."""
    words = set(parts_of(name))
    if words & ACTION_NAMES:
        return [reading.about(sentence) for sentence in reading.actions]
    if words & REPLY_NAMES:
        return [replace(reading, number=number) for number in range(_ITEMS)]
    return [reading.about(sentence) for sentence in reading.sentences[:_ITEMS]]


def _scalar(kind: str, schema: Schema, name: str, reading: Reading) -> str | int | float | bool:
    if kind == "string":
        return _string(schema, name, reading)
    if kind == "boolean":
        return _truth(name, reading)
    if kind not in ("integer", "number"):
        raise UnanswerableSchema(f"there is no type {kind!r}")
    found = number_within(schema, _number(name, reading), whole=kind == "integer")
    if found is None:
        raise UnanswerableSchema(f"no number was found within the bounds of {name!r}")
    return found


def _choice(schema: Schema, name: str, reading: Reading) -> Any:
    """Return the symbol whose words the text speaks for most; the first of equals; a neutral one where none fits."""
    symbols = schema["enum"]
    texts = [symbol for symbol in symbols if isinstance(symbol, str)]
    if not texts:
        return symbols[0] if symbols else None
    if LANGUAGE_NAMES & set(parts_of(name)):
        for symbol in texts:
            if symbol.casefold()[:2] == reading.language:
                return symbol
    scores = [sum(reading.speaks_for(part) for part in parts_of(symbol)) for symbol in texts]
    if max(scores) > 0:
        return texts[scores.index(max(scores))]
    for neutral in NEUTRAL:
        for symbol in texts:
            if neutral in parts_of(symbol):
                return symbol
    return None if None in symbols else texts[-1]


def _truth(name: str, reading: Reading) -> bool:
    parts = set(parts_of(name)) - {"is", "has", "needs", "requires", "contains", "wants", "should", "be", "a", "the"}
    if parts & (ACTION_NAMES | REPLY_NAMES | {"answer", "followup"}):
        return bool(reading.actions) or "?" in reading.text
    if "question" in parts:
        return "?" in reading.text
    return any(reading.speaks_for(part) > 0 for part in parts)


def _number(name: str, reading: Reading) -> Decimal:
    if {"confidence", "score", "probability", "certainty"} & set(parts_of(name)):
        return Decimal("0.8")
    return Decimal(str(reading.numbers[0])) if reading.numbers else Decimal(len(reading.words) % 10)


def _string(schema: Schema, name: str, reading: Reading) -> str:
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength")
    text = string_for(parts_of(name), schema.get("format"), schema.get("description", ""), reading)
    if longest is not None and len(text) > longest:
        text = text[:longest].rsplit(" ", 1)[0] if " " in text[:longest] else text[:longest]
    if len(text) < shortest:
        text = (text + " " + first_words(reading.text, 100)).ljust(shortest, ".")[: longest or None]
    pattern = schema.get("pattern")
    if pattern is None or _fits(pattern, text):
        return text
    found = matching(pattern, shortest, longest)
    if found is None:
        raise UnanswerableSchema(f"no text was found for the pattern of {name!r}")
    return found


def _fits(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error as error:
        raise UnanswerableSchema(f"{pattern!r} is no pattern: {error}") from None
