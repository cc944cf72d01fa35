"""From Avro to what a model is asked.

The JSON Schema stays inside the subset that the providers' structured outputs share: every property required, no
additional ones, null as a type of its own, no reference. Types that JSON lacks travel as text in a declared form; what
comes back is read by `json_answer`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from eventmill_schemas.avro_types import (
    AvroType,
    Names,
    definition,
    kind,
    logical,
    named_types,
    record_fields,
    recursive_type,
    without_null,
)
from eventmill_schemas.errors import PipelineFileError

_FORMS = {
    ("string", "uuid"): ("uuid", "A UUID."),
    ("int", "date"): ("date", "A date as YYYY-MM-DD."),
    ("int", "time-millis"): ("time", "A time of day as HH:MM:SS."),
    ("long", "time-micros"): ("time", "A time of day as HH:MM:SS."),
    ("long", "timestamp-millis"): ("date-time", "A time as YYYY-MM-DDTHH:MM:SSZ, with its zone."),
    ("long", "timestamp-micros"): ("date-time", "A time as YYYY-MM-DDTHH:MM:SSZ, with its zone."),
    ("long", "local-timestamp-millis"): (None, "A time as YYYY-MM-DDTHH:MM:SS, without zone."),
    ("long", "local-timestamp-micros"): (None, "A time as YYYY-MM-DDTHH:MM:SS, without zone."),
}
_JSON_TYPES = {
    "null": "null",
    "boolean": "boolean",
    "int": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "string": "string",
}


def json_schema(avro: Mapping[str, Any], fields: Iterable[str], file: str = "the result schema") -> dict[str, Any]:
    """Return the JSON Schema of an object with the given fields of the record `avro`, in the record's order.

    The docs of fields and types become descriptions. Raises PipelineFileError, naming the field, for one that is not in
    the record or that a model can't answer (bytes, maps, a type that contains itself), and where there is no field.
    """
    wanted = tuple(fields)
    declared = record_fields(avro)
    if unknown := [name for name in wanted if name not in declared]:
        raise PipelineFileError(f"there is no field {unknown[0]!r}", file=file)
    if not wanted:
        raise PipelineFileError("there is no field left for a model to answer", file=file)
    if (name := recursive_type(avro)) is not None:
        raise PipelineFileError(f"the type {name!r} contains itself: a model can't be asked for it", file=file)
    names = named_types(avro)
    properties = {}
    for name, field in declared.items():
        if name in wanted:
            try:
                properties[name] = _described(_schema(field["type"], names), field.get("doc"))
            except _NotAnswerable as reason:
                raise PipelineFileError(
                    f"the field {name!r}: {reason}", file=file, remedy="Fill it by `from` or a python step"
                ) from None
    return _object(properties)


class _NotAnswerable(Exception):
    """A type that a model can't be asked for."""


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _described(schema: dict[str, Any], *docs: str | None) -> dict[str, Any]:
    """Put docs before the description that a schema has."""
    texts = [" ".join(doc.split()) for doc in (*docs, schema.pop("description", None)) if doc]
    return {**schema, "description": " ".join(dict.fromkeys(texts))} if texts else schema


def _schema(avro_type: AvroType, names: Names) -> dict[str, Any]:
    bare, nullable = without_null(definition(avro_type, names))
    if nullable:
        return _or_null(_schema(bare, names))
    if isinstance(bare, list):
        return {"anyOf": [_schema(branch, names) for branch in bare]}
    bare = definition(bare, names)
    if isinstance(bare, Mapping):
        return _described(_declared(bare, names), bare.get("doc"))
    return _primitive(kind(bare))


def _declared(avro: Mapping[str, Any], names: Names) -> dict[str, Any]:
    what = kind(avro)
    if (form := _FORMS.get((what, logical(avro) or ""))) is not None:
        schema = {"type": "string", "description": form[1]}
        return schema | {"format": form[0]} if form[0] else schema
    if logical(avro) == "decimal":
        return {"type": "string", "description": _decimal_form(avro)}
    match what:
        case "record":
            return _object({f["name"]: _described(_schema(f["type"], names), f.get("doc")) for f in avro["fields"]})
        case "array":
            return {"type": "array", "items": _schema(avro["items"], names)}
        case "enum":
            return {"type": "string", "enum": list(avro["symbols"])}
        case _:
            return _primitive(what)


def _primitive(what: str) -> dict[str, Any]:
    if what not in _JSON_TYPES:
        raise _NotAnswerable(f"a model can't answer with {_NO_JSON.get(what, what)}")
    return {"type": _JSON_TYPES[what]}


_NO_JSON = {"bytes": "bytes", "fixed": "bytes", "map": "a map: use a list of records with key and value"}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    if "enum" in schema:
        schema = {**schema, "enum": [*schema["enum"], None]}
    return {**schema, "type": [schema["type"], "null"]}


def _decimal_form(avro: Mapping[str, Any]) -> str:
    scale = avro.get("scale", 0)
    before = avro["precision"] - scale
    return f"A number as text, at most {before} digits before and {scale} after the decimal point."
