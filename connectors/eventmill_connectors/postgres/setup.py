"""What a database needs for the stores of a pipeline, and what it has: pure, values in, values out."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from eventmill_connectors.postgres.changes import (
    BuildIndex,
    Change,
    DropIndex,
    Index,
    MakeExtension,
    MakePartition,
    Migrate,
    Wanted,
)
from eventmill_connectors.postgres.extension import Extension
from eventmill_connectors.postgres.migrations import Migration
from eventmill_connectors.postgres.passages import Partition
from eventmill_connectors.postgres.wire import MAX_DIMENSIONS
from eventmill_schemas.errors import SetupError
from eventmill_schemas.pipeline import VectorIndex

LEAST_TO_LEARN_FROM = 1000
"""Vectors from which an IVFFlat index learns its lists; built from fewer it finds too little."""


@dataclass(frozen=True, slots=True)
class SpaceState:
    """A vector space of the database: row, partition and indexes. `rows`: counted up to LEAST_TO_LEARN_FROM."""

    partition: Partition
    attached: bool
    indexes: tuple[Index, ...] = ()
    rows: int = 0


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """What there is. `spaces` by (table, store, name of the space)."""

    extension: Extension
    pending: tuple[Migration, ...]
    spaces: Mapping[tuple[str, str, str], SpaceState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DatabasePlan:
    """What is to be done, in its order; with problems nothing should be done."""

    changes: tuple[Change, ...] = ()
    warnings: tuple[str, ...] = ()
    problems: tuple[SetupError, ...] = ()

    @property
    def needed(self) -> tuple[Change, ...]:
        """The changes without which no vector can be stored; the others concern indexes: searches work, slower."""
        return tuple(one for one in self.changes if isinstance(one, MakeExtension | Migrate | MakePartition))


def plan(wanted: Sequence[Wanted], state: DatabaseState) -> DatabasePlan:
    """Return what is missing in `state` for the stores. Nothing that holds vectors is ever removed."""
    changes: list[Change] = []
    warnings: list[str] = []
    problems = [state.extension.problem] if state.extension.problem is not None else []
    if state.extension.installed is None and state.extension.available is not None:
        changes.append(MakeExtension(state.extension.available))
    changes += [Migrate(one) for one in state.pending]
    for one in wanted:
        space = state.spaces.get(one.key)
        if one.store.index is not VectorIndex.NONE and one.space.dimensions > MAX_DIMENSIONS:
            problems.append(
                SetupError(
                    f"store {one.store.name}: pgvector has no index for vectors of {one.space.dimensions} dimensions, "
                    f"only up to {MAX_DIMENSIONS}",
                    remedy="Set `index: none`, or take a model with fewer dimensions",
                )
            )
        elif space is None or not space.attached:   # dropped by hand: made anew
            changes.append(MakePartition(one))
            changes += [BuildIndex(one)] if one.store.index is VectorIndex.HNSW else []
        else:
            problems += _misfits(one, space)
            more, notes = _index_changes(one, space)
            changes += more
            warnings += notes
        warnings += _left_over(one, state.spaces)
    return DatabasePlan(tuple(changes), tuple(warnings), tuple(problems))


def ivfflat_lists(rows: int) -> int:
    """Return how many lists an IVFFlat index of so many rows should have (pgvector's advice)."""
    return max(10, rows // 1000 if rows <= 1_000_000 else round(math.sqrt(rows)))


def ivfflat_probes(indexes: Iterable[Index]) -> int:
    """Return in how many lists a search looks (pgvector's advice: the root of their number); 1 where there are none."""
    return max((math.ceil(math.sqrt(index.lists)) for index in indexes if index.usable and index.lists), default=1)


def _misfits(wanted: Wanted, space: SpaceState) -> list[SetupError]:
    store = wanted.store
    if space.partition.dimensions == wanted.space.dimensions:
        return []
    return [
        SetupError(
            f"store {store.name}: its vectors of {wanted.space.name} have {space.partition.dimensions} dimensions, "
            f"the model {store.model} makes {wanted.space.dimensions}",
            remedy="A vector space is one kind of vectors: build the model anew, or give the store another name",
        )
    ]


def _index_changes(wanted: Wanted, space: SpaceState) -> tuple[list[Change], list[str]]:
    store = wanted.store
    changes: list[Change] = [DropIndex(store.name, index) for index in space.indexes if not index.usable]
    if not any(index.usable and index.kind is store.index for index in space.indexes):
        if store.index is VectorIndex.IVFFLAT and space.rows < LEAST_TO_LEARN_FROM:
            note = f"an IVFFlat index learns from {LEAST_TO_LEARN_FROM} vectors, there are {space.rows}"
            return changes, [f"store {store.name}: {note}; until `eventmill apply` builds it, searches look at all"]
        if store.index is not VectorIndex.NONE:
            changes.append(BuildIndex(wanted))
    # Dropped last: while the new one is built, searches have the old one.
    others = [index for index in space.indexes if index.usable and index.kind is not store.index]
    return [*changes, *(DropIndex(store.name, index) for index in others)], []


def _left_over(wanted: Wanted, spaces: Mapping[tuple[str, str, str], SpaceState]) -> list[str]:
    table, store, space = wanted.key
    return [
        f"store {store}: {state.partition.table} holds vectors of {name}, which {wanted.store.model} does not search; "
        "replay the topic to fill its own partition, and drop that one when it is not needed any more"
        for (of_table, of_store, name), state in spaces.items()
        if (of_table, of_store) == (table, store) and name != space and state.attached
    ]
