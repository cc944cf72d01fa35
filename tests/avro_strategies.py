"""Hypothesis strategies: an Avro type, with the values that fit it and survive a round trip unchanged."""

import string
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal
from typing import Any, NamedTuple

from hypothesis import assume
from hypothesis import strategies as st

from eventmill_schemas.avro_types import has_weightless_items

LONGS = st.integers(-(1 << 63), (1 << 63) - 1)
INTS = st.integers(-(1 << 31), (1 << 31) - 1)
TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
MOMENTS = st.datetimes(timezones=st.just(UTC))


class Typed(NamedTuple):
    """An Avro type and a value of it."""

    avro: Any
    value: Any


def millis(moment: datetime) -> datetime:
    """Drop what timestamp-millis can't hold."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    """Give decimals of exactly this scale."""
    bound = 10**precision - 1
    exact = Context(prec=precision)
    return st.integers(-bound, bound).map(lambda unscaled: Decimal(unscaled).scaleb(-scale, exact))


def _decimal_types(name: str) -> st.SearchStrategy[Typed]:
    def typed(shape: tuple[int, int, bool]) -> st.SearchStrategy[Typed]:
        precision, less, fixed = shape
        scale = max(0, precision - less)
        avro: dict[str, Any] = {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}
        if fixed:
            avro |= {"type": "fixed", "name": name, "size": 17}
        return decimals(precision, scale).map(lambda value: Typed(avro, value))

    return st.tuples(st.integers(1, 38), st.integers(0, 38), st.booleans()).flatmap(typed)


def _leaf(avro: Any, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Typed]:
    return values.map(lambda value: Typed(avro, value))


def _long(logical: str) -> dict[str, str]:
    return {"type": "long", "logicalType": logical}


def leaves(name: str) -> st.SearchStrategy[Typed]:
    """Give every scalar type; `name` is free for a named one."""
    symbols = st.lists(st.text(string.ascii_uppercase, min_size=1, max_size=5), min_size=1, max_size=4, unique=True)
    return st.one_of(
        _leaf("string", TEXTS),
        _leaf("bytes", st.binary(max_size=20)),
        _leaf("boolean", st.booleans()),
        _leaf("null", st.none()),
        _leaf("int", INTS),
        _leaf("long", LONGS),
        _leaf("double", st.floats(allow_nan=False)),
        _leaf("float", st.floats(width=32, allow_nan=False)),
        _leaf(_long("timestamp-millis"), MOMENTS.map(millis)),
        _leaf(_long("timestamp-micros"), MOMENTS),
        _leaf(_long("local-timestamp-millis"), MOMENTS.map(lambda moment: millis(moment).replace(tzinfo=None))),
        _leaf({"type": "int", "logicalType": "date"}, st.dates(date(1, 1, 1))),
        _leaf(_long("time-micros"), st.times()),
        _leaf(
            {"type": "int", "logicalType": "time-millis"},
            st.times().map(lambda moment: time(moment.hour, moment.minute, moment.second)),
        ),
        _leaf({"type": "string", "logicalType": "uuid"}, st.uuids()),
        _leaf({"type": "fixed", "name": name, "size": 5}, st.binary(min_size=5, max_size=5)),
        symbols.flatmap(
            lambda names: _leaf({"type": "enum", "name": name, "symbols": names}, st.sampled_from(names))
        ),
        _decimal_types(name),
    )


@st.composite
def types(draw: Callable[..., Any], name: str = "T", depth: int = 2) -> Typed:
    """Give a type with a value, nested at most `depth` deep."""
    shape = draw(st.sampled_from(["leaf", "leaf", "nullable", "array", "map", "record"])) if depth else "leaf"
    if shape == "leaf":
        return draw(leaves(name))
    inner: Typed = draw(types(name + "x", depth - 1))
    match shape:
        case "nullable" if inner.avro != "null" and not isinstance(inner.avro, list):
            return Typed(["null", inner.avro], draw(st.sampled_from([None, inner.value])))
        case "array" if inner.avro != "null":
            return Typed({"type": "array", "items": inner.avro}, [inner.value] * draw(st.integers(0, 3)))
        case "map":
            keys = draw(st.lists(TEXTS, max_size=3, unique=True))
            return Typed({"type": "map", "values": inner.avro}, dict.fromkeys(keys, inner.value))
        case "record":
            record = {"type": "record", "name": name, "fields": [{"name": "inner", "type": inner.avro}]}
            return Typed(record, {"inner": inner.value})
        case _:
            return inner


@st.composite
def records(draw: Callable[..., Any]) -> Typed:
    """Give a record schema with fields that fit it."""
    columns: list[Typed] = [draw(types(f"T{number}")) for number in range(draw(st.integers(1, 5)))]
    fields = [{"name": f"f{number}", "type": column.avro} for number, column in enumerate(columns)]
    values = {f"f{number}": column.value for number, column in enumerate(columns)}
    root = {"type": "record", "name": "Root", "namespace": "test", "fields": fields}
    assume(not has_weightless_items(root))   # refused by the reader, and tested there
    return Typed(root, values)
