"""Which Avro types a warehouse sink can store."""

from collections.abc import Mapping
from typing import Any

from eventmill_schemas.avro_types import AvroType, children, kind, logical, without_null


def warehouse_warnings(avro: Mapping[str, Any]) -> list[str]:
    """Say which fields a warehouse sink can't store, or not as what they are; for the schemas of users.

    Grounds: the Debezium JDBC sink, as run against Postgres.
    """
    return [
        f"the field {field['name']!r} {problem}"
        for field in avro["fields"]
        for problem in _problems(field["type"], nested=False)
    ]


def _problems(avro_type: AvroType, *, nested: bool) -> list[str]:
    """Return what is difficult about a type; `nested` inside an array."""
    bare, _ = without_null(avro_type)
    found = []
    match kind(bare):
        case "union":
            found.append("is a union of several types: use one of them, or text")
        case "map":
            found.append("is a map: use text with JSON, or fields of their own")
        case "record" if nested:
            found.append("is a list of records: use lists of simple types, or text with JSON")
        case "record":
            found.append("is a record: a JDBC sink needs the transform Flatten for it")
        case "array" if nested:
            found.append("is a list of lists: use text with JSON")
    if (unit := logical(bare)) is not None and unit.endswith("-micros"):
        found.append(f"has {unit}, which arrives as a bare number: use {unit.replace('micros', 'millis')}")
    if isinstance(bare, Mapping) and kind(bare) == "array":
        found += _problems(bare["items"], nested=True)
    elif not isinstance(bare, list):
        found += [problem for inner in children(bare) for problem in _problems(inner, nested=nested)]
    return found
