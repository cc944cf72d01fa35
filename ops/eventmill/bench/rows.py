"""A row of the table: what was wanted, what was measured, and the command that measures it again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from eventmill.rig.judgement import Judgement


@dataclass(frozen=True, slots=True)
class Row:
    """One number. `met` None: there is nothing to meet. `detail` holds what else was measured, for `--json`."""

    row: str
    what: str
    goal: str
    measured: str
    value: float
    met: bool | None
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """The word in the table."""
        return {True: "ok", False: "missed", None: "-"}[self.met]

    @property
    def command(self) -> str:
        """What measures it again."""
        return f"eventmill bench --rows {self.row.lower()}"


@dataclass(frozen=True, slots=True)
class Count:
    """Whether all events of one run came out, once each. `problems` are what the checker found."""

    run: str
    events: int
    settled: int
    lost: int
    duplicates: int
    problems: Mapping[str, int]

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return self.settled == self.events and not (self.lost or self.duplicates or self.problems)


def counted(run: str, events: int, judgement: Judgement) -> Count:
    """Return what the checker counted."""
    settled = judgement.results + judgement.dead_letters
    return Count(run, events, settled, judgement.lost, judgement.duplicates, judgement.problems)
