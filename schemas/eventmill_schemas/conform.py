"""Fitting Python values to an Avro schema before they are encoded.

fastavro writes what it is given: 1.5 becomes the long 1, "false" the boolean true, 2**40 an int that no other reader
takes, a datetime without zone local time. Here such a value is an error that names its field, and text is made
storable. The checks are built once per schema; a good value's way through them takes half the time of its encoding.
"""

from collections.abc import Callable, Mapping
from typing import Any

from eventmill_schemas.avro_scalars import LOGICAL, PRIMITIVE, Check, Misfit, checked_text, decimal, fixed, wrong
from eventmill_schemas.avro_types import AvroType, Names, definition, kind, logical, named_types, without_null
from eventmill_schemas.errors import UnstorableResult
from eventmill_schemas.events import Fields


def conformer(avro: Mapping[str, Any]) -> Callable[[Fields], dict[str, Any]]:
    """Return the function that fits fields to the record schema `avro`.

    It returns new fields, ready for fastavro: text is storable, decimals are their unscaled bytes; a missing field is
    left to fastavro where it has a default or may be null. It raises UnstorableResult, naming the field, for a value
    that the schema has no place for: an unknown field, a missing one, a wrong type, a number or decimal out of range, a
    float for an integer, a timestamp without zone.
    """
    check = _Builder(named_types(avro)).check(avro)

    def conform(fields: Fields) -> dict[str, Any]:
        try:
            fitted: dict[str, Any] = check(fields)
        except Misfit as misfit:
            path = "".join(reversed(misfit.path)).removeprefix(".")
            where = f"the field {path!r}" if path else "the result"
            raise UnstorableResult(f"{where} {misfit}") from None
        except RecursionError:
            raise UnstorableResult("the result is nested too deep") from None
        return fitted

    return conform


class _Builder:
    """Builds the checks of one schema, one per named type."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._records: dict[int, Check] = {}

    def check(self, avro_type: AvroType) -> Check:
        avro_type = definition(avro_type, self._names)
        if isinstance(avro_type, list):
            return self._union(avro_type)
        what = kind(avro_type)
        special = LOGICAL.get((what, logical(avro_type) or "")) or PRIMITIVE.get(what)
        if isinstance(avro_type, Mapping):
            if logical(avro_type) == "decimal" and what in {"bytes", "fixed"}:
                special = decimal(avro_type)
            elif special is None:
                special = self._complex(what, avro_type)
        if special is None:
            raise ValueError(f"{what!r} is not an Avro type")
        return special

    def _complex(self, what: str, avro: Mapping[str, Any]) -> Check | None:
        match what:
            case "record":
                return self._record(avro)
            case "array":
                return _array(self.check(avro["items"]))
            case "map":
                return _map(self.check(avro["values"]))
            case "enum":
                return _enum(tuple(avro["symbols"]))
            case "fixed":
                return fixed(avro["size"])
            case _:
                return None

    def _record(self, avro: Mapping[str, Any]) -> Check:
        if (known := self._records.get(id(avro))) is not None:
            return known
        checks: list[tuple[str, Check, bool]] = []

        def record(value: Any) -> dict[str, Any]:
            if not isinstance(value, Mapping):
                raise wrong(value, "a record")
            fitted = {}
            given = len(value)
            for name, check, optional in checks:
                if name in value:
                    try:
                        fitted[name] = check(value[name])
                    except Misfit as misfit:
                        misfit.path.append(f".{name}")
                        raise
                elif optional:
                    given += 1
                else:
                    raise Misfit("has no value", f".{name}")
            if given != len(checks):
                declared = {name for name, _, _ in checks}
                raise Misfit("is not in the result schema", next(f".{name}" for name in value if name not in declared))
            return fitted

        self._records[id(avro)] = record   # before its fields are built: a record may contain itself
        for field in avro["fields"]:
            optional = "default" in field or without_null(field["type"])[1]
            checks.append((field["name"], self.check(field["type"]), optional))
        return record

    def _union(self, branches: list[Any]) -> Check:
        others = [self.check(branch) for branch in branches if kind(branch) != "null"]
        nullable = len(others) < len(branches)
        if nullable and len(others) == 1:
            only = others[0]
            return lambda value: None if value is None else only(value)

        def union(value: Any) -> Any:
            if value is None and nullable:
                return None
            for other in others:
                try:
                    return other(value)
                except Misfit:
                    continue
            raise wrong(value, f"one of {', '.join(kind(branch) for branch in branches)}")

        return union


def _array(item: Check) -> Check:
    def array(value: Any) -> list[Any]:
        if not isinstance(value, list | tuple):
            raise wrong(value, "a list")
        try:
            return [item(inner) for inner in value]
        except Misfit as misfit:
            misfit.path.append("[]")
            raise

    return array


def _map(item: Check) -> Check:
    def mapping(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise wrong(value, "a map")
        try:
            return {checked_text(key): item(inner) for key, inner in value.items()}
        except Misfit as misfit:
            misfit.path.append("{}")
            raise

    return mapping


def _enum(symbols: tuple[str, ...]) -> Check:
    def enum(value: Any) -> str:
        if isinstance(value, str) and value in symbols:
            return symbols[symbols.index(value)]   # plain text, also for a member of a Python enum
        raise wrong(value, f"one of {', '.join(symbols)}")

    return enum
