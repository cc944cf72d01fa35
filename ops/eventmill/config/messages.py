"""pydantic's findings in the words of the pipeline file, with its lines."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from eventmill.config.interpolate import Interpolated
from eventmill.config.problems import Problems, listed, shortened, suggestion
from eventmill.config.yaml_nodes import INTEGER, Document, KeyPath

_PATTERNS: Mapping[str, str] = {
    "^[a-z0-9][a-z0-9._-]*$": "must begin with a lower-case letter or digit and hold only those, `.`, `_` and `-`",
    "^[a-z0-9][a-z0-9_-]*$": "must begin with a lower-case letter or digit and hold only those, `_` and `-`",
    "^[A-Za-z0-9][A-Za-z0-9._-]*$": "must begin with a letter or digit and hold only those, `.`, `_` and `-`",
    "^[A-Za-z_][A-Za-z0-9_]*$": "must be the name of a field: letters, digits and `_`, not beginning with a digit",
    "^[a-z_][a-z0-9_]{0,47}$": "must be a table: at most 48 lower-case letters, digits and `_`, no digit first",
    "^[A-Za-z0-9._-]{1,249}$": "must be a Kafka topic: at most 249 letters, digits, `.`, `_` and `-`",
}
_TARGET = "must be `module:function`"

_WORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "string_type": lambda _: "must be text",
    "int_type": lambda _: "must be a whole number",
    "bool_type": lambda _: "must be `true` or `false`",
    "float_type": lambda _: "must be a number",
    "list_type": lambda _: "must be a list",
    "dict_type": lambda _: "must be a map",
    "model_type": lambda _: "must be a map",
    "none_required": lambda _: "must be empty",
    "string_too_short": lambda _: "must not be empty",
    "too_short": lambda _: "must not be empty",
    "string_pattern_mismatch": lambda ctx: _PATTERNS.get(ctx["pattern"], _TARGET),
    "literal_error": lambda ctx: f"must be {ctx['expected'].replace(chr(39), '`')}",
    "greater_than_equal": lambda ctx: f"must be at least {_short(ctx['ge'])}",
    "less_than_equal": lambda ctx: f"must be at most {_short(ctx['le'])}",
    "value_error": lambda ctx: str(ctx["error"]),
}


def report(
    error: ValidationError,
    document: Document,
    model: type[BaseModel],
    problems: Problems,
    subject: str = "the file",
) -> list[KeyPath]:
    """Note each finding at its line; return the paths where something is wrong. `subject`: what the document is."""
    paths = []
    for details in error.errors(include_url=False):
        path = _path(details["loc"], document)
        paths.append(path)
        if any(path[: len(broken)] == broken for broken in document.broken):
            continue   # stands for a mistake that is reported already
        message, remedy, line = _words(details, path, document, model, subject)
        problems.add(message, file=document.file, line=line, remedy=remedy)
    return paths


def _path(loc: tuple[str | int, ...], document: Document) -> KeyPath:
    """Drop from pydantic's location what is not in the file: the mark of a key, the field behind a short form."""
    path: KeyPath = tuple(step for step in loc if step != "[key]")
    while len(path) > 1 and not isinstance(document.at(path[:-1]), dict | list):
        path = path[:-1]
    return path


def _words(
    details: ErrorDetails, path: KeyPath, document: Document, model: type[BaseModel], subject: str
) -> tuple[str, str | None, int]:
    kind, name = details["type"], _name(path) or subject
    around = f" in {_name(path[:-1])}" if len(path) > 1 else ""
    if kind == "missing":
        return f"the key `{path[-1]}` is missing{around}", None, document.key_line(path[:-1])
    if kind == "extra_forbidden":
        known = _keys_at(model, path[:-1])
        hint = suggestion(str(path[-1]), known) or listed("Known here", known)
        what = "a kind of step" if path[-3:-2] == ("steps",) else "a key"
        message = f"`{shortened(str(path[-1]))}` is not {what} that this version of eventmill knows{around}"
        return message, hint, document.key_line(path)
    if details["loc"][-1:] == ("[key]",):
        return f"{name} {_expected(details)}", None, document.key_line(path)
    if kind not in _WORDS:   # raised by a validator of ours: a whole sentence
        return details["msg"], None, document.line(path)
    value = document.at(path)
    if value is None and not path:
        return f"{subject} is empty", None, document.line(path)
    secret = path[:1] in {("kafka",), ("postgres",)} or path[-1:] == ("base_url",)   # addresses may hold a password
    given = "" if secret or kind in {"too_short", "string_too_short"} else _given(value)
    remedy = "Put it in quotes" if kind == "string_type" and isinstance(value, bool | int | Decimal) else None
    return f"{name} {_expected(details)}{given}", remedy, document.line(path)


def _expected(details: ErrorDetails) -> str:
    return _WORDS[details["type"]](details.get("ctx", {}))


def _short(bound: float) -> str:
    return str(int(bound)) if bound == int(bound) else str(bound)


def _given(value: Any) -> str:
    """Return ", not ..." with the value as it is written; a variable's value is not shown, it may be a secret."""
    if value is None or value == "":
        return ""
    if isinstance(value, Interpolated):
        return f", which the value of `{value.written}` is not"
    if isinstance(value, dict | list):
        return ", not a map" if isinstance(value, dict) else ", not a list"
    return f", not {_written(value)}"


def _written(value: Any) -> str:
    match value:
        case bool():
            return f"`{str(value).lower()}`"
        case str() if INTEGER.fullmatch(value) or value in {"true", "false"}:
            return f"the text `{shortened(value)}`"
        case Decimal() if abs(value.adjusted()) < 20:   # beyond, all its digits could fill the memory
            return f"`{shortened(f'{value:f}')}`"
    return f"`{shortened(str(value))}`"


def _name(path: KeyPath) -> str:
    """Return the last key of `path` in back quotes, with the number of a list's item from 1; nothing for no key."""
    numbers: list[str] = []
    for step in reversed(path):
        if isinstance(step, str):
            return " item ".join([f"`{shortened(step)}`", *numbers])
        numbers.insert(0, str(step + 1))
    return ""


def _keys_at(model: type[BaseModel], path: KeyPath) -> list[str]:
    """Return the keys that the section at `path` knows."""
    section: Any = model
    for step in path:
        section = _inner(section, step)
    if not (isinstance(section, type) and issubclass(section, BaseModel)):
        return []
    return [field.alias or name for name, field in section.model_fields.items()]


def _inner(section: Any, step: str | int) -> Any:
    """Return the type one step into a model, a map or a list; None where there is none."""
    if isinstance(section, type) and issubclass(section, BaseModel):
        found = section.model_fields.get(str(step))
        return _without_extras(found.annotation) if found else None
    arguments = get_args(section)
    return _without_extras(arguments[-1]) if get_origin(section) in {dict, list} else None


def _without_extras(annotation: Any) -> Any:
    """Take the type out of `Annotated[...]` and `... | None`."""
    if get_origin(annotation) is Annotated:
        return _without_extras(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        return next((inner for inner in map(_without_extras, get_args(annotation)) if inner is not NoneType), None)
    return annotation
