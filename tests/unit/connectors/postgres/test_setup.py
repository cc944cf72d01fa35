"""What a database lacks for the stores of a pipeline, and what is said about it."""

import pytest

from eventmill_connectors.postgres.changes import BuildIndex, DropIndex, Index, MakeExtension, MakePartition, Migrate
from eventmill_connectors.postgres.extension import Extension
from eventmill_connectors.postgres.migrations import Applied, Migration, migrations, pending
from eventmill_connectors.postgres.passages import Partition
from eventmill_connectors.postgres.setup import DatabaseState, SpaceState, ivfflat_lists, ivfflat_probes, plan
from eventmill_schemas.errors import SetupError
from eventmill_schemas.pipeline import VectorIndex
from vector_stores import wanted

PRESENT = Extension("0.8.5", "0.8.5")
HNSW, IVFFLAT = Index("p_hnsw", VectorIndex.HNSW), Index("p_ivfflat", VectorIndex.IVFFLAT, lists=50)


def space(*indexes: Index, rows: int = 0, dimensions: int = 16, attached: bool = True) -> SpaceState:
    """Return a partition as it is in the database."""
    return SpaceState(Partition(1, "eventmill_vectors_1", dimensions), attached, indexes, rows)


def state(found: SpaceState | None, name: str = "words") -> DatabaseState:
    """Return a database with one space of the store `mails`, or none."""
    spaces = {} if found is None else {("eventmill_vectors", "mails", name): found}
    return DatabaseState(PRESENT, (), spaces)


def test_an_empty_database_gets_everything_in_order() -> None:
    """The extension, the tables, the partition, the index: each needs the one before it."""
    empty = DatabaseState(Extension(None, "0.8.5"), migrations())
    found = plan([wanted("mails")], empty)
    assert [type(change) for change in found.changes] == [MakeExtension, Migrate, MakePartition, BuildIndex]
    assert [change.line() for change in found.changes] == [
        "create extension vector: 0.8.5",
        "migrate database: 0001 vectors",
        "create partition of eventmill_vectors: store mails, words, 16 dimensions",
        "build index: hnsw for store mails",
    ]
    assert len(found.needed) == 3
    assert len({change.document()["change"] for change in found.changes}) == 4


@pytest.mark.parametrize(
    ("index", "found", "changes"),
    [
        (VectorIndex.HNSW, space(HNSW), []),
        (VectorIndex.HNSW, space(), [BuildIndex]),
        (VectorIndex.HNSW, space(Index("p_hnsw", VectorIndex.HNSW, usable=False)), [DropIndex, BuildIndex]),
        (VectorIndex.HNSW, space(IVFFLAT), [BuildIndex, DropIndex]),
        (VectorIndex.NONE, space(HNSW), [DropIndex]),
        (VectorIndex.NONE, space(), []),
        (VectorIndex.NONE, None, [MakePartition]),
        (VectorIndex.IVFFLAT, None, [MakePartition]),
        (VectorIndex.IVFFLAT, space(rows=999), []),
        (VectorIndex.IVFFLAT, space(rows=1000), [BuildIndex]),
        (VectorIndex.IVFFLAT, space(HNSW, rows=1000), [BuildIndex, DropIndex]),
        (VectorIndex.HNSW, space(HNSW, attached=False), [MakePartition, BuildIndex]),
    ],
)
def test_the_index_that_the_pipeline_asks_for(
    index: VectorIndex, found: SpaceState | None, changes: list[type]
) -> None:
    """What is missing is built and what is not wanted goes, the old one last; none of it stops a worker's start."""
    planned = plan([wanted("mails", index=index)], state(found))
    assert [type(change) for change in planned.changes] == changes
    assert planned.needed == tuple(change for change in planned.changes if isinstance(change, MakePartition))
    assert not planned.problems


def test_an_ivfflat_index_is_promised_until_it_can_learn() -> None:
    """Until there are enough vectors, the plan says what searches do."""
    (warning,) = plan([wanted("mails", index=VectorIndex.IVFFLAT)], state(space(rows=12))).warnings
    assert "learns from 1000 vectors, there are 12" in warning


def test_vectors_of_another_model_are_pointed_out_and_kept() -> None:
    """After a change of the model the new space gets a partition, and the old one is named, not touched."""
    found = plan([wanted("mails")], state(space(HNSW), "words of last year"))
    assert [type(change) for change in found.changes] == [MakePartition, BuildIndex]
    (warning,) = found.warnings
    assert "eventmill_vectors_1 holds vectors of words of last year" in warning


def test_dimensions_that_contradict_the_database() -> None:
    """The same vector space with another length can't be: said before anything is written."""
    (problem,) = plan([wanted("mails", dimensions=8)], state(space(HNSW))).problems
    assert "have 16 dimensions, the model words makes 8" in str(problem)


def test_more_dimensions_than_an_index_takes() -> None:
    """Refused with an index, allowed without one."""
    large = {"dimensions": 4001}
    (problem,) = plan([wanted("mails", **large)], state(None)).problems
    assert "index: none" in str(problem)
    assert not plan([wanted("mails", index=VectorIndex.NONE, **large)], state(None)).problems


@pytest.mark.parametrize(
    ("installed", "available", "says"),
    [
        ("0.8.4", None, None),
        ("0.10.0", None, None),
        ("1.0", "1.0", None),
        (None, "0.8.6", None),
        ("0.8.3", "0.8.6", "The server has 0.8.6: run ALTER EXTENSION vector UPDATE"),
        ("0.8.3", "0.8.3", "Install pgvector 0.8.4 or newer"),
        ("0.7.0", None, "Install pgvector 0.8.4 or newer"),
        (None, "0.8.0", "Install pgvector 0.8.4 or newer"),
        (None, None, "the server has no pgvector"),
        ("0.8.4-dev", None, None),
    ],
)
def test_case_104_the_extension_is_there_and_new_enough(
    installed: str | None, available: str | None, says: str | None
) -> None:
    """Older than 0.8.4 is refused, because its indexes may be corrupt; each case has its remedy."""
    problem = Extension(installed, available).problem
    if says is None:
        assert problem is None
    else:
        assert says in str(problem)
        (said,) = plan([], DatabaseState(Extension(installed, available), ())).problems
        assert says in str(said)


def test_migrations_are_numbered_without_gaps() -> None:
    """Two files with one number, or a number that is missing, would be applied in no order."""
    assert [one.number for one in migrations()] == list(range(1, len(migrations()) + 1))


def test_pending_migrations() -> None:
    """What is applied is left out; another text, or a number of the future, is refused with the reason."""
    known = tuple(Migration(number, f"m{number}", f"SELECT {number}") for number in (1, 2, 3))
    applied = [Applied(one.number, one.name, one.checksum) for one in known]
    assert pending([], known) == known
    assert pending(applied[:2], known) == known[2:]
    assert pending(applied, known) == ()
    with pytest.raises(SetupError, match=r"migrated by a newer eventmill: 0003 \(m3\)"):
        pending(applied, known[:2])
    with pytest.raises(SetupError, match=r"migration 0002 \(m2\) was applied with another text"):
        pending([applied[0], Applied(2, "m2", "other")], known)


def test_how_an_ivfflat_index_is_cut() -> None:
    """A list per thousand vectors, the root beyond a million; searches look into the root of the lists."""
    assert [ivfflat_lists(rows) for rows in (0, 5_000, 200_000, 4_000_000)] == [10, 10, 200, 2000]
    assert ivfflat_probes([IVFFLAT]) == 8
    assert ivfflat_probes([HNSW]) == 1
    assert ivfflat_probes([]) == 1
