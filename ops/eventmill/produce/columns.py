"""From columns of a file to fields of an event: what `--map` says, and what is left over."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eventmill_schemas.avro_scalars import Misfit
from eventmill_schemas.errors import UsageError

LINE = "#line"
"""Stands for the number of the line, in place of a column."""

_LISTED = 12   # names in a message


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column fills which field. Columns that `mapping` (field -> column) does not name fill fields of their name.

    `fields`: the fields that events have; None: any. `drop_unknown`: columns without a field are left out, else they
    are an error.
    """

    mapping: Mapping[str, str]
    fields: Collection[str] | None
    drop_unknown: bool = False

    def check(self, header: Sequence[str], required: Collection[str]) -> None:
        """Check a header before the first row. Raises UsageError: a column is missing, left over, or there twice."""
        self._check_targets()
        counts = Counter(header)
        for target, column in self.mapping.items():
            if column != LINE and column not in counts:
                raise UsageError(f"there is no column {column!r} for the field {target!r}", remedy=_columns(header))
        mapped = set(self.mapping.values())
        direct = {c for c in counts if c not in self.mapping and (self.fields is None or c in self.fields)}
        used = mapped | direct
        if twice := next((column for column, count in counts.items() if count > 1 and column in used), None):
            raise UsageError(f"the column {twice!r} is there {counts[twice]} times")
        if (unknown := [column for column in counts if column not in used]) and not self.drop_unknown:
            raise UsageError(
                f"there is no field for {_listed('column', unknown)}",
                remedy=f"{self._fields()}. `--map FIELD=COLUMN` fills one from another column, "
                "`--drop-unknown` leaves such columns out",
            )
        if missing := [name for name in required if name not in used and name not in self.mapping]:
            raise UsageError(
                f"there is no column for {_listed('field', missing)}, which every event must have",
                remedy=f"{_columns(header)}. Name it with `--map {missing[0]}=COLUMN`; "
                f"`--map {missing[0]}={LINE}` takes the number of the line",
            )

    def arrange(self, values: dict[str, Any], line: int) -> dict[str, Any]:
        """Return the values by field. Raises Misfit for a column without a field, unless such are to be left out."""
        if self.mapping:
            moved = {
                target: str(line) if column == LINE else values[column]
                for target, column in self.mapping.items()
                if column == LINE or column in values
            }
            sources = set(self.mapping.values())
            left = {column: value for column, value in values.items() if column not in sources}
            if not self.drop_unknown and (both := left.keys() & moved.keys()):
                raise Misfit(f"is there already, and is to come from {self.mapping[min(both)]!r} too", f".{min(both)}")
            values = {**left, **moved}
        if self.fields is not None and not values.keys() <= set(self.fields):
            unknown = [name for name in values if name not in self.fields]
            if not self.drop_unknown:
                raise Misfit("is not in the schema", f".{unknown[0]}")
            values = {name: value for name, value in values.items() if name in self.fields}
        return values

    def _check_targets(self) -> None:
        for target in self.mapping:
            if self.fields is not None and target not in self.fields:
                raise UsageError(f"--map {target}=...: there is no field {target!r}", remedy=self._fields())

    def _fields(self) -> str:
        return _some("The schema's fields", self.fields or ())


def parse_mapping(options: Sequence[str]) -> dict[str, str]:
    """Return what `--map FIELD=COLUMN` options mean, by field. Raises UsageError."""
    mapping: dict[str, str] = {}
    for option in options:
        target, equals, column = option.partition("=")
        if not target or not equals or not column:
            raise UsageError(f"--map {option}: this is not FIELD=COLUMN", remedy=f"For example `--map id={LINE}`")
        if target in mapping:
            raise UsageError(f"--map fills the field {target!r} twice")
        mapping[target] = column
    return mapping


def _columns(header: Sequence[str]) -> str:
    return _some("The columns", header)


def _some(what: str, names: Collection[str]) -> str:
    shown = ", ".join([repr(name[:40]) for name in names][:_LISTED])
    return f"{what} are {shown}" + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def _listed(what: str, names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:_LISTED])
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"the {what}{'s' if len(names) > 1 else ''} {shown}{more}"
