"""Reading an Avro schema as a tree: names, nullability, and the shapes that need care. Values only.

The functions take schemas that `fastavro.parse_schema` accepts.
"""

from collections.abc import Iterator, Mapping
from typing import Any

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
_NAMED = frozenset({"record", "error", "enum", "fixed"})

AvroType = str | Mapping[str, Any] | list[Any]
Names = Mapping[str, Mapping[str, Any]]


def kind(avro_type: AvroType) -> str:
    """Return what a type is: a primitive's name, record, enum, fixed, array, map or union; else a named type's name."""
    if isinstance(avro_type, list):
        return "union"
    name = avro_type if isinstance(avro_type, str) else str(avro_type["type"])
    return "record" if name == "error" else name


def logical(avro_type: AvroType) -> str | None:
    """Return the logical type, None where there is none."""
    return avro_type.get("logicalType") if isinstance(avro_type, Mapping) else None


def named_types(avro: AvroType) -> dict[str, Mapping[str, Any]]:
    """Return the definitions of all named types, by full name and, where that is free, by their short name too."""
    found: dict[str, Mapping[str, Any]] = {}
    for name, meaning in _definitions(avro, ""):
        found[name] = meaning
        found.setdefault(name.rpartition(".")[2], meaning)
    return found


def definition(avro_type: AvroType, names: Names) -> AvroType:
    """Return what a type's name stands for, and every other type as it is."""
    if isinstance(avro_type, str) and avro_type not in PRIMITIVES:
        return names[avro_type] if avro_type in names else names[avro_type.rpartition(".")[2]]
    return avro_type


def without_null(avro_type: AvroType) -> tuple[AvroType, bool]:
    """Return a type without its null branch, and whether it had one. A union of null and one type becomes that type."""
    if not isinstance(avro_type, list):
        return avro_type, False
    others = [branch for branch in avro_type if kind(branch) != "null"]
    if not others:
        return "null", False
    return (others[0] if len(others) == 1 else others), len(others) < len(avro_type)


def record_fields(avro: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return a record's fields by name, in their order."""
    return {field["name"]: field for field in avro["fields"]}


def children(avro_type: AvroType) -> Iterator[AvroType]:
    """Yield the types directly inside a type: branches, items, values, fields."""
    if isinstance(avro_type, list):
        yield from avro_type
    elif isinstance(avro_type, Mapping):
        for key in ("items", "values"):
            if key in avro_type:
                yield avro_type[key]
        for field in avro_type.get("fields", ()):
            yield field["type"]


def recursive_type(avro: AvroType, names: Names | None = None) -> str | None:
    """Return the name of a type that contains itself, None where there is none.

    `names`: the named types that `avro` refers to; None: those it defines.
    """
    known = named_types(avro) if names is None else names

    def search(avro_type: AvroType, above: tuple[int, ...]) -> str | None:
        avro_type = definition(avro_type, known)
        if isinstance(avro_type, Mapping) and kind(avro_type) == "record":
            if id(avro_type) in above:
                return str(avro_type["name"])
            above = (*above, id(avro_type))
        return next(filter(None, (search(inner, above) for inner in children(avro_type))), None)

    return search(avro, ())


def has_weightless_items(avro: AvroType, names: Names | None = None) -> bool:
    """Whether an array's items take no bytes on the wire, so that a few bytes can claim any number of them.

    `names`: the named types that `avro` refers to; None: those it defines.
    """
    known = named_types(avro) if names is None else names

    def weightless(avro_type: AvroType, above: tuple[int, ...] = ()) -> bool:
        avro_type = definition(avro_type, known)
        what = kind(avro_type)
        if what == "record" and isinstance(avro_type, Mapping) and id(avro_type) not in above:
            return all(weightless(field["type"], (*above, id(avro_type))) for field in avro_type["fields"])
        return what == "null" or (what == "fixed" and isinstance(avro_type, Mapping) and avro_type["size"] == 0)

    def search(avro_type: AvroType) -> bool:
        if isinstance(avro_type, Mapping) and kind(avro_type) == "array" and weightless(avro_type["items"]):
            return True
        return any(search(inner) for inner in children(avro_type))

    return search(avro) or any(search(meaning) for meaning in known.values())


def _definitions(avro: AvroType, namespace: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(avro, Mapping) and avro["type"] in _NAMED:
        name = avro["name"]
        if "." in name:
            namespace = name.rpartition(".")[0]
        else:
            namespace = avro.get("namespace", namespace)
            name = f"{namespace}.{name}" if namespace else name
        yield name, avro
    for inner in children(avro):
        yield from _definitions(inner, namespace)
