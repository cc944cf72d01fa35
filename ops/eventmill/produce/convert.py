"""From the values of a file to the fields of an Avro record: the other half of `eventmill_schemas.conform`.

JSON has no times, decimals or bytes, CSV has text only. What the schema says decides what a value means; whether the
outcome fits the schema is checked where it is encoded.
"""

import json
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import Any

from eventmill.produce import written
from eventmill.produce.written import shown
from eventmill_schemas.avro_scalars import Misfit
from eventmill_schemas.avro_types import AvroType, Names, definition, kind, logical, named_types

Convert = Callable[[Any], Any]

_EXACT_DIGITS = 15   # that every 64-bit float keeps
_LEFT_OUT: Any = object()


class Conversion:
    """Converts one row after the other to the fields of the record schema `avro`.

    `as_text`: the fields whose values are text, as in CSV; None: all of them. A field that is not given and has no
    default becomes null where it may. An empty text of CSV is null where the field may be null, else the field's
    default where it has one and is no text. Lists, maps and records are JSON inside the text.
    """

    def __init__(self, avro: Mapping[str, Any], as_text: Collection[str] | None) -> None:
        names = named_types(avro)
        builder = _Builder(names)
        self.names = tuple(field["name"] for field in avro["fields"])
        self.required = tuple(f["name"] for f in avro["fields"] if "default" not in f and not _nullable(f["type"]))
        self._fields = _Fields(avro)
        for field in avro["fields"]:
            is_text = as_text is None or field["name"] in as_text
            self._fields.add(field["name"], builder.cell(field) if is_text else builder.json(field["type"]))

    def convert(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of one event; `values` may be changed. Raises Misfit with the path to the value."""
        return self._fields.convert(values)


class _Fields:
    """The conversions of a record's fields. Filled after it is made: a record may contain itself."""

    def __init__(self, avro: Mapping[str, Any]) -> None:
        self._nullable = [f["name"] for f in avro["fields"] if "default" not in f and _nullable(f["type"])]
        self._steps: list[tuple[str, Convert]] = []

    def add(self, name: str, convert: Convert | None) -> None:
        if convert is not None:
            self._steps.append((name, convert))

    def convert(self, values: dict[str, Any]) -> dict[str, Any]:
        for name, convert in self._steps:
            if name in values:
                try:
                    converted = convert(values[name])
                except Misfit as misfit:
                    misfit.path.append(f".{name}")
                    raise
                if converted is _LEFT_OUT:
                    del values[name]
                else:
                    values[name] = converted
        for name in self._nullable:
            values.setdefault(name, None)
        return values


class _Builder:
    """Builds the conversions of one schema; None stands for "as it is"."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._records: dict[int, Convert] = {}

    def cell(self, field: Mapping[str, Any]) -> Convert | None:
        """Return the conversion of a field's text."""
        convert = self._text(field["type"])
        bare = definition(field["type"], self._names)
        if "default" not in field or isinstance(bare, list) or kind(bare) == "string":
            return convert
        return lambda text: _LEFT_OUT if text == "" else text if convert is None else convert(text)

    def json(self, avro_type: AvroType) -> Convert | None:
        """Return the conversion of a value that JSON gave."""
        avro_type = definition(avro_type, self._names)
        if isinstance(avro_type, list):
            return self._union(avro_type, self.json)
        if written.is_decimal(avro_type):
            return _json_decimal
        if (read := written.reader(avro_type)) is not None:
            return _if_text(read)
        return self._composite(avro_type) if isinstance(avro_type, Mapping) else None

    def _composite(self, avro: Mapping[str, Any]) -> Convert | None:
        match kind(avro):
            case "record":
                return self._record(avro)
            case "array":
                return _array(self.json(avro["items"]))
            case "map":
                return _map(self.json(avro["values"]))
            case _:
                return None

    def _text(self, avro_type: AvroType) -> Convert | None:
        avro_type = definition(avro_type, self._names)
        if isinstance(avro_type, list):
            return self._text_union(avro_type)
        what = kind(avro_type)
        if (read := written.reader(avro_type)) is not None:
            return _number_or(read) if logical(avro_type) in _SINCE_1970 else read
        if what in _SHAPES:
            return _embedded(what, self.json(avro_type))
        return _SCALARS.get(what)

    def _text_union(self, branches: list[Any]) -> Convert | None:
        convert = self._union(branches, self._text)
        if not _nullable(branches):
            return convert
        return lambda text: None if text == "" else text if convert is None else convert(text)

    def _union(self, branches: list[Any], build: Callable[[AvroType], Convert | None]) -> Convert | None:
        """Take the first branch that the value can be meant for."""
        others = [definition(branch, self._names) for branch in branches if kind(branch) != "null"]
        options = [(convert := build(branch), _taken(branch, convert is not None)) for branch in others]
        if all(convert is None for convert, _ in options):
            return None
        if len(options) == 1:
            only = options[0][0]
            return lambda value: value if value is None or only is None else only(value)

        def union(value: Any) -> Any:
            for convert, takes in options:
                if value is None or not takes(value):
                    continue
                if convert is None:
                    return value
                try:
                    return convert(value)
                except Misfit:
                    continue
            return value   # its encoding says what the union takes

        return union

    def _record(self, avro: Mapping[str, Any]) -> Convert:
        if (known := self._records.get(id(avro))) is not None:
            return known
        declared = frozenset(field["name"] for field in avro["fields"])
        fields = _Fields(avro)

        def record(value: Any) -> Any:
            if not isinstance(value, dict):
                return value
            if unknown := next((name for name in value if name not in declared), None):
                raise Misfit("is not in the schema", f".{unknown}")
            return fields.convert(value)

        self._records[id(avro)] = record   # before its fields are built
        for field in avro["fields"]:
            fields.add(field["name"], self.json(field["type"]))
        return record


def _taken(branch: AvroType, has_text_form: bool) -> Callable[[Any], bool]:
    """Return the test whether a branch of a union can be meant by a value."""
    if kind(branch) == "enum" and isinstance(branch, Mapping):
        symbols = frozenset(branch["symbols"])
        return lambda value: isinstance(value, str) and value in symbols
    types = (*_JSON_TYPES.get(kind(branch), ()), *((str,) if has_text_form else ()))
    return lambda value: type(value) in types


def _nullable(avro_type: AvroType) -> bool:
    branches = avro_type if isinstance(avro_type, list) else [avro_type]
    return any(kind(branch) == "null" for branch in branches)


def _if_text(read: Convert) -> Convert:
    return lambda value: read(value) if isinstance(value, str) else value


def _number_or(read: Convert) -> Convert:
    """Read a whole number as the count on the wire, as in files that machines write."""
    return lambda text: int(text) if text.isascii() and text.isdigit() and len(text) < 20 else read(text)


def _json_decimal(value: Any) -> Any:
    if isinstance(value, str):
        return written.read_decimal(value)
    if isinstance(value, float):
        number = Decimal(repr(value))
        if len(number.as_tuple().digits) > _EXACT_DIGITS:
            raise Misfit(f"holds {value!r}, a number with more digits than JSON readers keep: write it as text")
        return number
    return value


def _embedded(what: str, convert: Convert | None) -> Convert:
    """Read JSON that stands in a value of CSV."""
    shape, named = _SHAPES[what]

    def read(text: str) -> Any:
        try:
            value = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, shape):
            raise Misfit(f"holds {shown(text)}, not {named} in JSON")
        return value if convert is None else convert(value)

    return read


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _array(item: Convert | None) -> Convert | None:
    if item is None:
        return None

    def array(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        try:
            return [item(inner) for inner in value]
        except Misfit as misfit:
            misfit.path.append("[]")
            raise

    return array


def _map(item: Convert | None) -> Convert | None:
    if item is None:
        return None

    def mapping(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        try:
            return {key: item(inner) for key, inner in value.items()}
        except Misfit as misfit:
            misfit.path.append("{}")
            raise

    return mapping


def _null(text: str) -> None:
    if text != "":
        raise Misfit(f"holds {shown(text)}, not null")


_SINCE_1970 = frozenset({"timestamp-millis", "timestamp-micros"})
_SHAPES: dict[str, tuple[type, str]] = {
    "record": (dict, "a record"),
    "array": (list, "a list"),
    "map": (dict, "a map"),
}
_SCALARS: dict[str, Convert] = {
    "null": _null,
    "boolean": written.read_boolean,
    "int": written.read_integer,
    "long": written.read_integer,
    "float": written.read_float,
    "double": written.read_float,
}
_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "int": (int,),
    "long": (int,),
    "float": (float, int),
    "double": (float, int),
    "string": (str,),
    "bytes": (int, float),   # decimals
    "fixed": (int, float),
    "array": (list,),
    "map": (dict,),
    "record": (dict,),
}
