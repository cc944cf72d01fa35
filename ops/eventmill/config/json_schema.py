"""The JSON Schema of pipeline.yaml, for editors."""

from typing import Any

import orjson

from eventmill.config.model import PipelineFile

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_VARIABLE = {"type": "string", "pattern": r"\$\{.+\}"}   # what a variable holds may have any type
_ANNOTATIONS = ("description", "default")
_SCALARS = frozenset({"string", "integer", "number", "boolean"})
_MAPS_OF_SCHEMAS = ("properties", "patternProperties", "$defs")


def json_schema() -> dict[str, Any]:
    """Return the schema. It takes every file that `load` takes; what its values mean together is beyond it."""
    schema = _section(PipelineFile.model_json_schema())
    own_keys = {"^x-": {"description": "Yours: a place for what YAML anchors share."}}
    return {"$schema": _DIALECT, "title": "eventmill pipeline", **schema, "patternProperties": own_keys}


def json_schema_text() -> str:
    """Return the schema as the text of a file."""
    return orjson.dumps(json_schema(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _section(schema: dict[str, Any]) -> dict[str, Any]:
    """Return `schema` and all within it without generated titles, closed, and with a place for variables."""
    made = {keyword: value for keyword, value in schema.items() if keyword != "title"}
    if made.get("default") in (None, [], {}) or isinstance(made.get("default"), dict):
        made.pop("default", None)   # says nothing, or repeats the defaults within
    for keyword in _MAPS_OF_SCHEMAS:
        if keyword in made:
            made[keyword] = {name: _section(inner) for name, inner in made[keyword].items()}
    for keyword in ("items", "additionalProperties"):
        if isinstance(made.get(keyword), dict):
            made[keyword] = _section(made[keyword])
    if "patternProperties" in made:
        made.setdefault("additionalProperties", False)
    branches = [_section(branch) for branch in made["anyOf"]] if "anyOf" in made else []
    if branches:
        return {**made, "anyOf": [branch for branch in branches if "anyOf" not in branch] + _inner(branches)}
    return _or_variable(made)


def _or_variable(scalar: dict[str, Any]) -> dict[str, Any]:
    """Let a variable stand for a scalar, unless any text may."""
    any_text = scalar.get("type") == "string" and not scalar.keys() - {"type", "minLength", *_ANNOTATIONS}
    if any_text or scalar.get("type") not in _SCALARS:
        return scalar
    own = {keyword: value for keyword, value in scalar.items() if keyword not in _ANNOTATIONS}
    return {**{keyword: scalar[keyword] for keyword in _ANNOTATIONS if keyword in scalar}, "anyOf": [own, _VARIABLE]}


def _inner(branches: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the branches of nested `anyOf`s, each once."""
    inner: list[dict[str, Any]] = []
    for branch in branches:
        inner.extend(part for part in branch.get("anyOf", ()) if part not in inner)
    return inner
