"""All rows of one run, in an order in which they don't disturb each other."""

import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eventmill.bench import enrich, enrich_rows, passing, starting
from eventmill.bench.embedding_size import EmbeddingSize
from eventmill.bench.machine import machine
from eventmill.bench.processes import BARE_LOOP
from eventmill.bench.rows import Count, Row
from eventmill.bench.site import Site, new_tag
from eventmill.rig.judgement import CHECKER
from eventmill.rig.servers import Servers, servers
from eventmill_schemas.errors import SetupError

ROWS = ("n1", "n2", "n3", "n5", "n6", "n9", "n11")

_ENRICH = frozenset({"n1", "n2", "n3", "n6"})
_SERVED = _ENRICH | {"n5"}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is run. `judged`: enough to be held against the goals."""

    enrich: enrich.Size
    passing: passing.Size
    embeddings: EmbeddingSize
    judged: bool = True


FULL = Sizes(
    enrich.Size(events=10_000, in_flight=500, rounds=3),
    passing.Size(events=200_000, rounds=3),
    EmbeddingSize(alike=800, skewed=240, watched=2_000, rounds=3),
)
SHORT = Sizes(
    enrich.Size(events=1_000, in_flight=200, rounds=1),
    passing.Size(events=20_000, rounds=1),
    EmbeddingSize(alike=64, skewed=50, watched=100, rounds=1),
    judged=False,
)


@dataclass(frozen=True, slots=True)
class BenchReport:
    """What was measured on which machine, and whether every event came out once."""

    machine: dict[str, Any]
    rows: list[Row]
    counts: list[Count]

    @property
    def clean(self) -> bool:
        """Whether no run lost or doubled anything."""
        return all(count.clean for count in self.counts)


class Bench:
    """One run of the `wanted` rows. `folder` takes stack, logs and files; `say` tells the user what is going on."""

    def __init__(
        self, root: Path, folder: Path, wanted: Collection[str], sizes: Sizes, say: Callable[[str], None]
    ) -> None:
        if not (root / CHECKER).is_file() or not (root / BARE_LOOP).is_file():
            raise SetupError(
                f"here is neither {CHECKER} nor {BARE_LOOP}", remedy="Run this in a clone of eventmill's repository"
            )
        self._root = root
        self._folder = folder
        self._wanted = set(wanted)
        self._sizes = sizes
        self._say = say
        self._rows: list[Row] = []
        self._counts: list[Count] = []

    def run(self) -> BenchReport:
        """Measure. Whatever was started is stopped at the end, however it ends."""
        found = machine()
        self._folder.mkdir(parents=True, exist_ok=True)
        if "n9" in self._wanted:
            self._rows += [starting.imports(), starting.demo(self._root, self._say)]
        if "n11" in self._wanted:
            from eventmill.bench import embeddings  # noqa: PLC0415 - the other rows do without its libraries

            self._rows += embeddings.rows(self._folder, self._sizes.embeddings, self._say)
        with ExitStack() as open_things:
            if self._wanted & (_SERVED | {"n9"}):
                place = self._servers(open_things)
            if self._wanted & _SERVED:
                self._measure(Site(self._root, self._folder, place.addresses, self._say, new_tag()))
        return BenchReport({**found, "load_after": machine()["load"]}, self._in_order(), self._counts)

    def _servers(self, open_things: ExitStack) -> Servers:
        """Start the servers; for N9 twice, because the second start is the warm one."""
        stack = self._folder / "stack"
        if "n9" not in self._wanted:
            return open_things.enter_context(servers(stack, self._say))
        with servers(stack, self._say) as place:
            external = place.external
        began = time.monotonic()
        place = open_things.enter_context(servers(stack, self._say, fresh=False))
        if not external:
            self._rows += starting.stack(time.monotonic() - began, stack)
        return place

    def _measure(self, site: Site) -> None:
        if self._wanted & _ENRICH:
            outcome = enrich.measure(site, self._sizes.enrich)
            self._counts += outcome.counts
            self._rows += enrich_rows.rows(outcome, self._wanted)
        if "n5" in self._wanted:
            passed = passing.measure(site, self._sizes.passing)
            self._counts += [run.count for run in passed]
            self._rows.append(passing.row(passed))

    def _in_order(self) -> list[Row]:
        rows = self._rows if self._sizes.judged else [replace(row, met=None) for row in self._rows]
        return sorted(rows, key=lambda row: int(row.row[1:]))
