"""A number inside the bounds of a JSON Schema, near a wanted one. Pure."""

from collections.abc import Iterator, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from fractions import Fraction
from typing import Any

_EDGES = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")


def number_within(schema: Mapping[str, Any], wanted: Decimal, *, whole: bool) -> int | float | None:
    """Return `wanted` if `schema` allows it, else a number close to what it allows; None where nothing was found."""
    edges = {name: Decimal(str(schema[name])) for name in _EDGES if schema.get(name) is not None}
    step = _step(schema.get("multipleOf"), whole=whole)
    for candidate in _candidates(wanted, edges, step):
        if _inside(candidate, edges) and (step is None or candidate % step == 0):
            return int(candidate) if whole or candidate == int(candidate) else float(candidate)
    return None


def _step(multiple: Any, *, whole: bool) -> Decimal | None:
    if multiple is None:
        return Decimal(1) if whole else None
    step = Decimal(str(multiple))
    return Decimal(Fraction(step).numerator) if whole else step   # the least whole number that is a multiple of it


def _candidates(wanted: Decimal, edges: Mapping[str, Decimal], step: Decimal | None) -> Iterator[Decimal]:
    near = [wanted, *edges.values()]
    low = max((edges[name] for name in _EDGES[:2] if name in edges), default=None)
    high = min((edges[name] for name in _EDGES[2:] if name in edges), default=None)
    if low is not None and high is not None:
        near.append((low + high) / 2)
    near += [edge + distance for edge in edges.values() for distance in (1, -1)]
    for number in (*near, Decimal(0)):
        if step is None:
            yield number
        else:
            below = (number / step).to_integral_value(ROUND_FLOOR) * step
            above = (number / step).to_integral_value(ROUND_CEILING) * step
            yield from (below, above, below - step, above + step)


def _inside(number: Decimal, edges: Mapping[str, Decimal]) -> bool:
    return (
        number >= edges.get("minimum", number)
        and number <= edges.get("maximum", number)
        and ("exclusiveMinimum" not in edges or number > edges["exclusiveMinimum"])
        and ("exclusiveMaximum" not in edges or number < edges["exclusiveMaximum"])
    )
