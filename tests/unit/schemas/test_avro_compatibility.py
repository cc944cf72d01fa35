"""Which schemas can read which: the specification's rules, each difference with its field."""

import json
from io import BytesIO
from typing import Any

import avro.schema
import fastavro
import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from hypothesis import given

from avro_strategies import Typed, records
from eventmill_schemas.avro_compatibility import field_mismatches, mismatches

TYPES: dict[str, tuple[Any, Any]] = {   # a type and a value of it
    "null": ("null", None),
    "boolean": ("boolean", True),
    "int": ("int", 7),
    "long": ("long", 7),
    "float": ("float", 1.5),
    "double": ("double", 1.5),
    "string": ("string", "x"),
    "bytes": ("bytes", b"x"),
    "fixed": ({"type": "fixed", "name": "F", "size": 2}, b"ab"),
    "longer": ({"type": "fixed", "name": "F", "size": 3}, b"abc"),
    "enum": ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "B"),
    "less": ({"type": "enum", "name": "E", "symbols": ["A"]}, "A"),
    "array": ({"type": "array", "items": "int"}, [1]),
    "texts": ({"type": "array", "items": "string"}, ["x"]),
    "map": ({"type": "map", "values": "int"}, {"k": 1}),
    "record": ({"type": "record", "name": "I", "fields": [{"name": "x", "type": "int"}]}, {"x": 1}),
    "wider": (
        {"type": "record", "name": "I", "fields": [{"name": "x", "type": "long"}, {"name": "y", "type": "int"}]},
        {"x": 1, "y": 2},
    ),
    "grown": (
        {
            "type": "record",
            "name": "I",
            "fields": [{"name": "x", "type": "long"}, {"name": "y", "type": ["null", "int"], "default": None}],
        },
        {"x": 1, "y": 2},
    ),
    "other": ({"type": "record", "name": "J", "fields": [{"name": "x", "type": "int"}]}, {"x": 1}),
    "int or null": (["null", "int"], 1),
    "long or null": (["null", "long"], 1),
    "text or int": (["string", "int"], "x"),
}


def holding(avro_type: Any) -> dict[str, Any]:
    """Make a record with one field."""
    return {"type": "record", "name": "R", "fields": [{"name": "a", "type": avro_type}]}


@pytest.mark.parametrize("writer", TYPES)
def test_the_verdict_is_that_of_the_reference_implementation(writer: str) -> None:
    """For every reader; and what is said to be readable, another implementation reads."""
    written, value = TYPES[writer]
    for reader, (read, _) in TYPES.items():
        found = mismatches(holding(written), holding(read))
        parsed = [avro.schema.parse(json.dumps(holding(kind))) for kind in (read, written)]
        expected = ReaderWriterCompatibilityChecker().get_compatibility(*parsed).compatibility
        assert (not found) == (expected == SchemaCompatibilityType.compatible), (reader, found)
        if not found:
            out = BytesIO()
            fastavro.schemaless_writer(out, fastavro.parse_schema(holding(written), {}), {"a": value})
            out.seek(0)
            fastavro.schemaless_reader(out, fastavro.parse_schema(holding(written), {}), holding(read))


@given(records())
def test_every_schema_reads_itself(typed: Typed) -> None:
    """Whatever is in it, and behind a name that it repeats."""
    assert mismatches(typed.avro, typed.avro) == []
    assert field_mismatches(typed.avro, typed.avro) == []


def decimal(precision: int, scale: int) -> dict[str, Any]:
    """Make a decimal type."""
    return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}


def long(logical: str) -> dict[str, str]:
    """Make a long with a meaning."""
    return {"type": "long", "logicalType": logical}


@pytest.mark.parametrize(
    ("writer", "reader", "told"),
    [
        ("int", "string", ["the field 'a' is int, which can't be read as string"]),
        (decimal(9, 2), decimal(9, 3), ["the field 'a' is decimal(9, 2), and is to be read as decimal(9, 3)"]),
        (decimal(9, 2), "bytes", ["the field 'a' is decimal(9, 2), and is to be read as bytes"]),
        (["null", decimal(9, 2)], ["null", decimal(9, 2)], []),
        (
            decimal(9, 2),
            ["null", decimal(9, 3)],
            ["the field 'a' is decimal(9, 2), and is to be read as decimal(9, 3)"],
        ),
        (
            long("timestamp-millis"),
            long("timestamp-micros"),
            ["the field 'a' is timestamp-millis, and is to be read as timestamp-micros"],
        ),
        ("long", long("timestamp-millis"), []),
        (
            ["null", "string"],
            "string",
            ["the field 'a' is null, which can't be read as string"],
        ),
        ("null", ["int", "string"], ["the field 'a' may be null, which can't be read as int or string"]),
        (
            TYPES["enum"][0],
            TYPES["less"][0],
            ["the field 'a' may be B, which its reader does not know"],
        ),
        (
            {"type": "array", "items": TYPES["record"][0]},
            {"type": "array", "items": TYPES["wider"][0]},
            ["the field 'a[].y' is not written, and has no default that its reader could take"],
        ),
        (
            {"type": "map", "values": TYPES["record"][0]},
            {"type": "map", "values": TYPES["other"][0]},
            ["the field 'a{}' is called I, and is to be read as J"],
        ),
    ],
)
def test_each_difference_is_told_with_its_field(writer: Any, reader: Any, told: list[str]) -> None:
    """In the words of the two schemas; decimals and times are compared too."""
    assert [str(one) for one in mismatches(holding(writer), holding(reader))] == told


def test_all_differences_are_told() -> None:
    """Not only the first."""
    writer = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}, {"name": "b", "type": "int"}]}
    reader = {"type": "record", "name": "R", "fields": [{"name": n, "type": "string"} for n in ("a", "b", "c")]}
    assert [one.path for one in mismatches(writer, reader)] == ["a", "b", "c"]


def test_a_field_that_was_renamed_with_an_alias_is_found() -> None:
    """As is a record."""
    reader = {
        "type": "record",
        "name": "acme.New",
        "aliases": ["R"],
        "fields": [{"name": "b", "aliases": ["a"], "type": "int"}],
    }
    assert mismatches(holding("int"), reader) == []
    assert [str(one) for one in mismatches(holding("int"), {**reader, "aliases": []})] == [
        "the schema is called R, and is to be read as New"
    ]


def test_a_type_that_contains_itself_is_compared_once() -> None:
    """And its differences are found."""

    def tree(value: str) -> dict[str, Any]:
        fields = [{"name": "value", "type": value}, {"name": "next", "type": ["null", "Tree"]}]
        return {"type": "record", "name": "Tree", "fields": fields}

    assert mismatches(tree("int"), tree("long")) == []
    assert [one.path for one in mismatches(tree("string"), tree("long"))] == ["value"]


def test_fields_that_are_carried_over_need_no_names_in_common() -> None:
    """Only what both have is compared, under the columns' names."""
    writer = {"type": "record", "name": "Row", "fields": [{"name": "n", "type": TYPES["record"][0]}]}
    reader = {"type": "record", "name": "Mail", "fields": [{"name": "m", "type": TYPES["other"][0]}]}
    assert field_mismatches(writer, reader) == []
    assert field_mismatches(writer, reader, {"m": "n"}) == []
    changed = {"type": "record", "name": "Mail", "fields": [{"name": "m", "type": "int"}]}
    assert [str(one) for one in field_mismatches(writer, changed, {"m": "n"})] == [
        "the field 'm' is record I, which can't be read as int"
    ]
