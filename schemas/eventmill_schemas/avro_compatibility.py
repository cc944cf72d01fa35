"""Whether values written with one Avro schema can be read as another, and if not, which field stands in the way.

The rules are those of schema resolution in the Avro 1.12 specification. Stricter than most registries, decimals must
agree in precision and scale (as the specification says), and a logical type must not be read as another one: a
timestamp in microseconds read as one in milliseconds is a wrong time that no reader notices.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from eventmill_schemas.avro_types import AvroType, definition, kind, logical, named_types


@dataclass(frozen=True, slots=True)
class Mismatch:
    """What can't be read. `path` leads to it: `reply.lines[].text`; empty for the schema itself."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"the field {self.path!r} {self.reason}" if self.path else f"the schema {self.reason}"


def mismatches(writer: AvroType, reader: AvroType) -> list[Mismatch]:
    """Return why values of `writer` can't be read as `reader`, all reasons; none: they can.

    Takes schemas that `fastavro.parse_schema` accepts.
    """
    return list(_Resolution(writer, reader, by_name=True).differences(writer, reader, ""))


def field_mismatches(
    writer: AvroType, reader: AvroType, columns: Mapping[str, str] | None = None
) -> list[Mismatch]:
    """Return why the fields of the record `writer` can't fill those of the record `reader` of the same name.

    For values that are carried over by field names, as what they mean: what records, enums and fixed types are called
    does not matter, fields that only one of the two has are not compared, text is not bytes, and a time is no plain
    number. `columns` names the writer's field for a reader's field where it is another one.
    """
    resolution = _Resolution(writer, reader, by_name=False)
    written = {field["name"]: field["type"] for field in _fields(writer)}
    found: list[Mismatch] = []
    for field in _fields(reader):
        source = (columns or {}).get(field["name"], field["name"])
        if source in written:
            found += resolution.differences(written[source], field["type"], field["name"])
    return found


class _Resolution:
    """Compares the types of two schemas. `by_name`: named types must be called the same."""

    def __init__(self, writer: AvroType, reader: AvroType, *, by_name: bool) -> None:
        self._writer_names = named_types(writer)
        self._reader_names = named_types(reader)
        self._by_name = by_name
        self._inside: set[tuple[int, int]] = set()

    def differences(self, writer: AvroType, reader: AvroType, path: str) -> Iterator[Mismatch]:
        """Yield what can't be read; a type that contains itself is compared once."""
        writer, reader = definition(writer, self._writer_names), definition(reader, self._reader_names)
        pair = (id(writer), id(reader))
        if isinstance(writer, Mapping) and isinstance(reader, Mapping):
            if pair in self._inside:
                return
            self._inside.add(pair)
        try:
            yield from self._compare(writer, reader, path)
        finally:
            self._inside.discard(pair)

    def _compare(self, writer: AvroType, reader: AvroType, path: str) -> Iterator[Mismatch]:
        if isinstance(writer, list):
            for branch in writer:
                yield from self.differences(branch, reader, path)
            return
        if isinstance(reader, list):
            yield from self._into_union(writer, reader, path)
            return
        written, read = kind(writer), kind(reader)
        if written != read and not self._is_promoted(written, read):
            yield Mismatch(path, f"is {_named(writer)}, which can't be read as {_named(reader)}")
            return
        if (problem := self._name_problem(writer, reader) or self._logical_problem(writer, reader)) is not None:
            yield Mismatch(path, problem)
        elif written == read:
            yield from self._inner(writer, reader, path)

    def _is_promoted(self, written: str, read: str) -> bool:
        return read in _PROMOTIONS.get(written, ()) and (self._by_name or written not in _BYTES)

    def _into_union(self, writer: AvroType, reader: list[Any], path: str) -> Iterator[Mismatch]:
        """Yield nothing where one branch takes the type, else why the branch that comes closest does not."""
        closest: list[Mismatch] | None = None
        for branch in reader:
            found = list(self.differences(writer, branch, path))
            if not found:
                return
            if kind(definition(branch, self._reader_names)) == kind(writer):
                closest = closest or found
        others = " or ".join(_named(definition(branch, self._reader_names)) for branch in reader)
        yield from closest or [Mismatch(path, f"may be {_named(writer)}, which can't be read as {others}")]

    def _name_problem(self, writer: AvroType, reader: AvroType) -> str | None:
        """Say that two named types are not called the same; namespaces don't count, aliases of the reader's do."""
        if not (self._by_name and isinstance(writer, Mapping) and isinstance(reader, Mapping) and "name" in reader):
            return None
        known = {_bare(name) for name in (reader["name"], *reader.get("aliases", ()))}
        if _bare(writer["name"]) in known:
            return None
        return f"is called {_bare(writer['name'])}, and is to be read as {_bare(reader['name'])}"

    def _logical_problem(self, writer: AvroType, reader: AvroType) -> str | None:
        """Say that two types mean different things, though their bytes can be read."""
        written, read = logical(writer), logical(reader)
        if written == read == "decimal" and isinstance(writer, Mapping) and isinstance(reader, Mapping):
            same = all(writer.get(name, 0) == reader.get(name, 0) for name in ("precision", "scale"))
        elif written is None:
            same = read != "decimal"
        elif read is None:
            same = self._by_name and written != "decimal"
        else:
            same = written == read
        return None if same else f"is {_named(writer)}, and is to be read as {_named(reader)}"

    def _inner(self, writer: AvroType, reader: AvroType, path: str) -> Iterator[Mismatch]:
        if not (isinstance(writer, Mapping) and isinstance(reader, Mapping)):
            return
        match kind(reader):
            case "record":
                yield from self._record(writer, reader, path)
            case "array":
                yield from self.differences(writer["items"], reader["items"], f"{path}[]")
            case "map":
                yield from self.differences(writer["values"], reader["values"], f"{path}{{}}")
            case "enum":
                unknown = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
                if unknown and "default" not in reader:
                    yield Mismatch(path, f"may be {_listed(unknown)}, which its reader does not know")
            case "fixed":
                if writer["size"] != reader["size"]:
                    yield Mismatch(path, f"has {writer['size']} bytes, and is to be read as {reader['size']}")

    def _record(self, writer: Mapping[str, Any], reader: Mapping[str, Any], path: str) -> Iterator[Mismatch]:
        written = {field["name"]: field["type"] for field in _fields(writer)}
        for field in _fields(reader):
            inner = f"{path}.{field['name']}" if path else str(field["name"])
            source = next((name for name in (field["name"], *field.get("aliases", ())) if name in written), None)
            if source is not None:
                yield from self.differences(written[source], field["type"], inner)
            elif "default" not in field:
                yield Mismatch(inner, "is not written, and has no default that its reader could take")


def _named(avro: AvroType) -> str:
    """Say what a type is, in the words of its schema."""
    if isinstance(avro, list):
        return " or ".join(map(_named, avro))
    what = kind(avro)
    if isinstance(avro, Mapping):
        if logical(avro) == "decimal":
            return f"decimal({avro.get('precision')}, {avro.get('scale', 0)})"
        if (meaning := logical(avro)) is not None:
            return meaning
        if "name" in avro:
            return f"{what} {_bare(avro['name'])}"
    return what


def _bare(name: str) -> str:
    return name.rpartition(".")[2]


def _fields(avro: AvroType) -> list[Mapping[str, Any]]:
    return list(avro["fields"]) if isinstance(avro, Mapping) else []


def _listed(symbols: list[str]) -> str:
    return ", ".join(symbols[:5]) + (f" and {len(symbols) - 5} more" if len(symbols) > 5 else "")


_BYTES = frozenset({"bytes", "string"})
_PROMOTIONS: Mapping[str, tuple[str, ...]] = {
    "int": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
    "string": ("bytes",),
    "bytes": ("string",),
}
