"""The schema of a stage's results: what the user declares, and what is published.

The user's .avsc is a record and the one declaration of the answer. A field with the attribute `from` (an expression,
such as `"from": "event.subject"`) is computed from the event; every other field is an answer of the stage's steps. What
is published is that record without the `from` attributes, and with the envelope that says which event was answered, by
what and at which cost.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import fastavro

from eventmill_schemas.avro_types import AvroType, children, logical, recursive_type
from eventmill_schemas.errors import PipelineFileError

FROM = "from"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_TEXT_OR_NULL = ["null", "string"]
_TIMESTAMP = {"type": "long", "logicalType": "timestamp-millis"}
_USD = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 12}

ENVELOPE: Mapping[str, Mapping[str, Any]] = {
    "event_id": {"type": "string", "doc": "The event that was answered. Primary key of a stage's results."},
    "tenant": {"type": _TEXT_OR_NULL, "default": None, "doc": "On whose behalf. Null: there is no tenant field."},
    "source_topic": {"type": "string", "doc": "Topic of the input record."},
    "source_partition": {"type": "int", "doc": "Partition of the input record."},
    "source_offset": {"type": "long", "doc": "Offset of the input record."},
    "processed_at": {"type": _TIMESTAMP, "doc": "When the result was made, UTC."},
    "model": {"type": _TEXT_OR_NULL, "default": None, "doc": "The model that answered. Null: none was asked."},
    "prompt": {"type": _TEXT_OR_NULL, "default": None, "doc": "The prompt as name@version. Null: none was used."},
    "cost": {
        "type": ["null", _USD],
        "default": None,
        "doc": "USD for all attempts at this event in this stage. Null: not known exactly; the cost events say why.",
    },
}
"""The fields that every result has besides the user's, by name. `event_id` comes first, the others come last."""


def computed_fields(avro: Mapping[str, Any]) -> dict[str, str]:
    """Return the expressions of the computed fields, by field name."""
    return {field["name"]: field[FROM] for field in avro["fields"] if FROM in field}


def answer_fields(avro: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the fields that steps fill: neither computed nor of the envelope."""
    return tuple(f["name"] for f in avro["fields"] if FROM not in f and f["name"] not in ENVELOPE)


def published(avro: Mapping[str, Any], file: str) -> dict[str, Any]:
    """Return the schema under which results are published. The same schema in gives the same schema out.

    A field of the envelope that the user declares, with the envelope's type, keeps the user's position and text.
    Raises PipelineFileError as `validate_user_schema` does.
    """
    validate_user_schema(avro, file)
    fields = [{key: value for key, value in field.items() if key != FROM} for field in avro["fields"]]
    declared = {field["name"] for field in fields}
    added = [{"name": name, **field} for name, field in ENVELOPE.items() if name not in declared]
    first = [field for field in added if field["name"] == "event_id"]
    return {**avro, "fields": [*first, *fields, *(field for field in added if field["name"] != "event_id")]}


def schema_text(avro: Mapping[str, Any]) -> str:
    """Return a schema as it is registered: without white space, its attributes in their order."""
    return json.dumps(avro, separators=(",", ":"), ensure_ascii=False)


def validate_user_schema(avro: Any, file: str, text: str = "") -> None:
    """Check that `avro` can be the schema of results. `text` is the file's content, to find the line of a mistake.

    Raises PipelineFileError, naming the field: it is no record; it is not valid Avro; a record contains itself; a name
    is there twice; a `from` is not an expression's text or not on a field of the result itself; a field of the envelope
    has another type or is computed.
    """

    def wrong(message: str, field: str | None = None, remedy: str | None = None) -> PipelineFileError:
        return PipelineFileError(message, file=file, line=_line(text, field), remedy=remedy)

    if not isinstance(avro, Mapping) or avro.get("type") != "record":
        raise wrong("a result schema must be an Avro record", remedy='Begin with {"type": "record", "name": ...}')
    if not isinstance(avro.get("name"), str) or not isinstance(avro.get("fields"), list) or not avro["fields"]:
        raise wrong("a result schema needs a name and fields")
    try:
        fastavro.parse_schema(avro, {})
    except Exception as error:   # noqa: BLE001 - fastavro raises whatever its way through the tree meets
        reason = f"unknown type {error}" if isinstance(error, fastavro.schema.UnknownType) else str(error)
        raise wrong(f"this is not a valid Avro schema: {reason or type(error).__name__}") from None
    seen = set()
    for field in avro["fields"]:
        name = field["name"]
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise wrong(f"{name!r} is no field name: letters, digits and _ make one, not beginning with a digit", name)
        if name in seen:
            raise wrong(f"the field {name!r} is there twice", name)
        seen.add(name)
        _check_field(field, wrong)
    if (name := recursive_type(avro)) is not None:
        raise wrong(f"the type {name!r} contains itself: no table can hold it", name)


def _check_field(field: Mapping[str, Any], wrong: Callable[..., PipelineFileError]) -> None:
    name = field["name"]
    if FROM in field and (not isinstance(field[FROM], str) or not field[FROM].strip()):
        raise wrong(f"the field {name!r}: `from` must be an expression, such as \"event.{name}\"", name)
    if _nested_from(field["type"]):
        raise wrong(f"the field {name!r} has a `from` inside: only fields of the result itself can be computed", name)
    if _incomplete_decimal(field["type"]):
        raise wrong(f"the field {name!r}: a decimal needs a precision", name)
    envelope = ENVELOPE.get(name)
    if envelope is None:
        return
    if FROM in field:
        raise wrong(f"the field {name!r} is filled by eventmill: it can't be computed", name, "Take its `from` away")
    if _plain(field["type"]) != _plain(envelope["type"]):
        raise wrong(
            f"the field {name!r} is filled by eventmill and has the type {json.dumps(envelope['type'])}",
            name,
            "Give it that type, or rename it",
        )


def _nested_from(avro_type: AvroType) -> bool:
    if isinstance(avro_type, Mapping) and any(FROM in field for field in avro_type.get("fields", ())):
        return True
    return any(_nested_from(inner) for inner in children(avro_type))


def _incomplete_decimal(avro_type: AvroType) -> bool:
    if logical(avro_type) == "decimal" and isinstance(avro_type, Mapping) and "precision" not in avro_type:
        return True
    return any(map(_incomplete_decimal, children(avro_type)))


def _plain(avro_type: AvroType) -> Any:
    """Return a type for comparison: without docs, and {"type": "string"} as "string"."""
    if isinstance(avro_type, list):
        return [_plain(branch) for branch in avro_type]
    if not isinstance(avro_type, Mapping):
        return avro_type
    plain = {key: value for key, value in avro_type.items() if key != "doc"}
    return plain["type"] if set(plain) == {"type"} else plain


def _line(text: str, name: Any) -> int | None:
    """Return the line where the name is declared, the first one if there is no name to look for, None without text."""
    if not text:
        return None
    place = re.search(rf'"name"\s*:\s*{re.escape(json.dumps(name))}', text) if name is not None else None
    return 1 if place is None else text.count("\n", 0, place.end()) + 1
