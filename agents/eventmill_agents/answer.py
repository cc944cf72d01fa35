"""From a model's reply to an answer: its finish first, then strict JSON, then the schema. Nothing is repaired."""

import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import jsonschema_rs
import orjson

from eventmill_agents.text import shorten
from eventmill_schemas.chat import ChatReply, Finish
from eventmill_schemas.errors import InvalidReply, RefusedReply, TruncatedReply, UsageError
from eventmill_schemas.storable_text import storable

MAX_SCHEMAS: Final = 256   # a python step may build its schemas per event: only so many stay compiled

Validator = jsonschema_rs.Draft202012Validator


def read_answer(reply: ChatReply, validator: Validator) -> dict[str, Any]:
    """Return the answer in `reply`, a JSON object that follows `validator`'s schema.

    Raises TruncatedReply (cut at the output limit, even if what is there is valid), RefusedReply (the model or a filter
    refused) and InvalidReply: the finish is unknown; the text is not exactly one JSON value (prose, code fences, NaN,
    infinity, duplicate keys, nesting without end); or it does not follow the schema. The message names the place.
    """
    _check_finish(reply)
    parsed = parse_strictly(reply.text)
    try:
        answer = storable(parsed)   # half an emoji is no reason to throw a paid answer away
        validator.validate(answer)
    except jsonschema_rs.ValidationError as error:
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path)
        problem = shorten(error.message, 200)
        raise InvalidReply(f"the answer does not follow its schema at ${where}: {problem}") from error
    except RecursionError as error:
        raise InvalidReply("the reply is JSON nested without end") from error
    if not isinstance(answer, dict):
        raise InvalidReply(f"the answer is no JSON object: it begins with {shorten(reply.text, 40)!r}")
    return answer


def parse_strictly(text: str) -> Any:
    """Parse `text` as one JSON value (RFC 8259, and no key twice in an object). Whole numbers keep all their digits.

    Raises InvalidReply for everything else.
    """
    if not text.strip():
        raise InvalidReply("the reply is empty")
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        raise InvalidReply("the reply is JSON nested without end") from error
    except ValueError as error:
        reason = shorten(str(error), 200)
        raise InvalidReply(f"the reply is not JSON: {reason}; it begins with {shorten(text, 80)!r}") from error


class Validators:
    """Compiles JSON Schemas, each once; keeps the last `MAX_SCHEMAS`."""

    def __init__(self) -> None:
        self._compiled: OrderedDict[bytes, Validator] = OrderedDict()

    def of(self, schema: Mapping[str, Any]) -> Validator:
        """Return the validator for `schema`; no reference is fetched. Raises UsageError where it is no JSON Schema."""
        try:
            key = orjson.dumps(schema, default=_mapping, option=orjson.OPT_SORT_KEYS)
        except orjson.JSONEncodeError as error:
            raise UsageError(f"the answer's schema is not JSON: {error}") from error
        validator = self._compiled.get(key)
        if validator is None:
            validator = self._compiled[key] = _compile(schema)
            if len(self._compiled) > MAX_SCHEMAS:
                self._compiled.popitem(last=False)
        else:
            self._compiled.move_to_end(key)
        return validator


def _mapping(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} is no JSON")


def _compile(schema: Mapping[str, Any]) -> Validator:
    try:
        return jsonschema_rs.Draft202012Validator(dict(schema), offline=True)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        raise UsageError(f"the answer's schema is not a JSON Schema: {shorten(str(error), 200)}") from error


def _check_finish(reply: ChatReply) -> None:
    match reply.finish:
        case Finish.OK:
            return
        case Finish.TRUNCATED:
            raise TruncatedReply(
                "the reply was cut at the output limit", remedy="Raise max_output_tokens in the prompt, or ask for less"
            )
        case Finish.REFUSED:
            raise RefusedReply(_with_words("the model refused to answer", reply.text))
        case Finish.FILTERED:
            raise RefusedReply(_with_words("a content filter stopped the answer", reply.text))
        case _:
            raise InvalidReply("the model stopped for a reason that is not known")


def _with_words(reason: str, text: str) -> str:
    return f"{reason}: {shorten(text, 200)}" if text.strip() else reason


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {shorten(key, 80)!r} is there twice")
            seen.add(key)
    return read


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"the number {shorten(digits, 40)} is too large")
    return number
