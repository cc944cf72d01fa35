"""Passages and their vectors in a real Postgres: what is stored, what is left alone, what is found."""

import asyncio
import random
from collections.abc import AsyncIterator

import numpy as np
import pytest

from eventmill_connectors.postgres.pool import Database
from eventmill_connectors.postgres.statements import Condition, statement
from eventmill_connectors.postgres.stores import PgVectorStores
from eventmill_connectors.postgres.wire import halfvecs
from eventmill_schemas.errors import UnstorableVector
from eventmill_schemas.local_models import Chunk, Query
from eventmill_schemas.pipeline import VectorIndex
from vector_stores import DIMENSIONS, apply, chunks, opened, owner, stored, texts_of, vector, wanted


@pytest.fixture
async def stores(database: Database, unique: str) -> AsyncIterator[PgVectorStores]:
    """Give stores of which one is called `mails`, empty."""
    async with opened(database, wanted("mails", space=unique)) as found:
        yield found


async def test_what_was_stored_is_found_first_by_its_own_text(stores: PgVectorStores) -> None:
    """Among 150 events, each one's own vector finds it first, with its source; the next is less similar."""
    events = [owner(f"mail-{number}", number, partition=number % 3) for number in range(150)]
    await asyncio.gather(*(stores.upsert("mails", one, chunks(f"text of {one.event_id}")) for one in events))
    for one in random.Random(1).sample(events, 10):
        first, second, *_ = await stores.search("mails", Query(vector(f"text of {one.event_id}")))
        assert (first.event_id, first.id) == (one.event_id, f"{one.event_id}#0")
        assert (first.text, first.source) == (f"text of {one.event_id}", one.source)
        assert first.similarity == pytest.approx(1, abs=1e-3)
        assert second.similarity < 0.99


async def test_similarity_is_the_cosine_whatever_the_vectors_length(stores: PgVectorStores) -> None:
    """Vectors of any length are compared by their direction: opposite ones have -1, right angles 0."""
    east, north = np.eye(DIMENSIONS, dtype=np.float32)[:2]
    await stores.upsert("mails", owner("a"), [Chunk("east", 1e20 * east), Chunk("west", -1e-20 * east)])
    await stores.upsert("mails", owner("b"), [Chunk("north", 5 * north), Chunk("between", east + north)])
    found = await stores.search("mails", Query(3 * east))
    near = {passage.text: passage.similarity for passage in found}
    assert near == pytest.approx({"east": 1, "between": 0.5**0.5, "north": 0, "west": -1}, abs=1e-3)
    assert texts_of(await stores.search("mails", Query(east, min_similarity=0.5))) == ["east", "between"]


async def test_case_103_versions_of_one_event_in_one_batch(stores: PgVectorStores) -> None:
    """Versions that are written at the same moment end as the newest, and each caller has its answer."""
    offsets = list(range(12))
    random.Random(2).shuffle(offsets)
    await asyncio.gather(
        *(stores.upsert("mails", owner("mail", offset), chunks(f"version {offset}")) for offset in offsets)
    )
    assert await stored(stores) == {"mail": ["version 11"]}


async def test_unchanged_rows_are_not_written_again(stores: PgVectorStores, database: Database) -> None:
    """Only the chunk that differs is written, and a repetition writes none: row versions (xmin) say so."""

    async def versions() -> dict[str, int]:
        async with database.transaction() as connection:
            rows = await connection.fetch("SELECT text, xmin::text::bigint AS version FROM eventmill_vectors")
        return {row["text"]: row["version"] for row in rows if row["text"].startswith("kept") or row["text"] == "new"}

    await stores.upsert("mails", owner("mail", 1), chunks("kept 0", "old", "kept 2"))
    before = await versions()
    await stores.upsert("mails", owner("mail", 1), chunks("kept 0", "old", "kept 2"))
    await stores.upsert("mails", owner("mail", 2), chunks("kept 0", "new", "kept 2"))
    after = await versions()
    assert set(after) == {"kept 0", "new", "kept 2"}
    assert {text: after[text] for text in before} == before
    assert after["new"] > max(before.values())


async def test_the_same_text_with_another_vector_is_written(stores: PgVectorStores) -> None:
    """A step that computes vectors its own way may change them and keep the text."""
    await stores.upsert("mails", owner("mail", 1), [Chunk("text", vector("left"))])
    await stores.upsert("mails", owner("mail", 2), [Chunk("text", vector("right"))])
    (found,) = await stores.search("mails", Query(vector("right")))
    assert found.similarity == pytest.approx(1, abs=1e-3)


async def test_a_rare_tenant_is_found_behind_many_nearer_passages(stores: PgVectorStores, database: Database) -> None:
    """The filter does not starve the search: 3 passages of a tenant are found behind 500 nearer ones of another.

    Also by the index alone, as in a store that is too large for anything else.
    """
    target = vector("what is asked")
    rng = np.random.default_rng(3)
    near = [Chunk(f"near {number}", target + 0.01 * rng.normal(size=DIMENSIONS)) for number in range(500)]
    far = [Chunk(f"far {number}", vector(f"far {number}")) for number in range(3)]
    await stores.upsert("mails", owner("many", tenant="large"), near)
    await stores.upsert("mails", owner("few", tenant="small"), far)
    found = await stores.search("mails", Query(target.astype(np.float32), limit=3, tenant="small"))
    assert {one.text for one in found} == {"far 0", "far 1", "far 2"}
    async with database.transaction() as connection:
        number = await connection.fetchval("SELECT max(id) FROM eventmill_vector_space")
        await connection.execute(
            "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off; "
            "SET LOCAL hnsw.iterative_scan = strict_order"
        )
        names = {"partition": f"eventmill_vectors_{number}", "space": number, "dimensions": DIMENSIONS}
        text = statement("search", **names, tenant=Condition("tenant = 'small'"))
        query = halfvecs(target[np.newaxis])[0]
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {text}", query, None, 3))
        rows = await connection.fetch(text, query, None, 3)
    assert f"eventmill_vectors_{number}_hnsw" in plan
    assert {row["text"] for row in rows} == {"far 0", "far 1", "far 2"}


async def test_text_that_postgres_refuses_is_stored_without_it(stores: PgVectorStores) -> None:
    """U+0000 and lone surrogates are taken out of texts, tenants and ids, and the event is found all the same."""
    await stores.upsert("mails", owner("a\0b", tenant="t\0"), chunks("x\0y \ud800"))
    (found,) = await stores.search("mails", Query(vector("x\0y \ufffd"), tenant="t\0"))
    assert (found.event_id, found.text) == ("ab", "xy \ufffd")
    assert await stores.unchanged("mails", owner("a\0b", tenant="t\0"), ["x\0y \ud800"])


async def test_a_megabyte_in_one_event(stores: PgVectorStores) -> None:
    """A text of 1 MB is stored as one chunk or as 1,050: larger than any batch, and replaced as a whole."""
    large = "word " * 200_000
    await stores.upsert("mails", owner("mail", 1), chunks(large))
    assert (await stored(stores))["mail"] == [large]
    await stores.upsert("mails", owner("mail", 2), chunks(*(f"{number} {large[:700]}" for number in range(1050))))
    assert len(await stores.search("mails", Query(vector("7 "), 1000))) == 1000
    await stores.upsert("mails", owner("mail", 3), [])
    assert await stored(stores) == {}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (vector("x", 8), "vector 1 has 8 dimensions, the store has 16"),
        (np.full(DIMENSIONS, np.nan, np.float32), "vector 1 holds NaN or infinity"),
        (np.full(DIMENSIONS, np.inf, np.float32), "vector 1 holds NaN or infinity"),
        (np.zeros(DIMENSIONS, np.float32), "vector 1 is all zeros"),
        (np.float32(1), "vector 1 has no dimensions, the store has 16"),
    ],
)
async def test_case_102_a_vector_that_is_none_harms_its_own_event_only(
    stores: PgVectorStores, bad: object, reason: str
) -> None:
    """The event with it is refused with the reason; those written at the same moment are stored."""
    others = [stores.upsert("mails", owner(f"good {number}"), chunks(f"good {number}")) for number in range(5)]
    refused, *done = await asyncio.gather(
        stores.upsert("mails", owner("bad"), [*chunks("first"), Chunk("second", bad)]), *others, return_exceptions=True
    )
    assert isinstance(refused, UnstorableVector)
    assert str(refused).startswith(reason)
    assert done == [None] * 5
    assert sorted(await stored(stores)) == [f"good {number}" for number in range(5)]
    with pytest.raises(UnstorableVector):
        await stores.search("mails", Query(bad))   # type: ignore[arg-type]


async def test_case_102_values_that_no_half_float_holds(stores: PgVectorStores) -> None:
    """Vectors of float64, of 1e300 or of 1e-300, are stored by their direction, which half floats do hold."""
    east, north = np.eye(DIMENSIONS)[:2]
    await stores.upsert("mails", owner("a"), [Chunk("east", 1e300 * east), Chunk("north", 1e-300 * north)])
    found = await stores.search("mails", Query((2 * east + north).astype(np.float32)))
    assert {one.text: one.similarity for one in found} == pytest.approx({"east": 0.894, "north": 0.447}, abs=1e-3)


async def test_what_only_postgres_refuses_harms_its_own_event_only(stores: PgVectorStores, database: Database) -> None:
    """A row against a constraint that somebody has added fails alone in its batch; no other event is lost."""
    async with database.transaction() as connection:
        number = await connection.fetchval("SELECT max(id) FROM eventmill_vector_space")
        await connection.execute(
            f"ALTER TABLE eventmill_vectors_{number} ADD CONSTRAINT polite CHECK (text NOT LIKE '%rude%') NOT VALID"
        )
    texts = [f"text {number}" if number not in {3, 7} else f"rude {number}" for number in range(10)]
    answers = await asyncio.gather(
        *(stores.upsert("mails", owner(f"m{number}"), chunks(text)) for number, text in enumerate(texts)),
        return_exceptions=True,
    )
    assert [number for number, answer in enumerate(answers) if answer is not None] == [3, 7]
    assert all(isinstance(answers[number], UnstorableVector) for number in (3, 7))
    assert sorted(await stored(stores)) == sorted(f"m{number}" for number in range(10) if number not in {3, 7})
    assert not await stores.unchanged("mails", owner("m3"), ["rude 3"])


async def test_an_event_id_that_no_index_takes(stores: PgVectorStores) -> None:
    """An id beyond what a B-tree can hold is refused, naming the remedy."""
    with pytest.raises(UnstorableVector, match=r"event id has 3000 bytes.*shorter field"):
        await stores.upsert("mails", owner("x" * 3000), chunks("text"))


async def test_stores_of_one_table_are_apart(database: Database, unique: str) -> None:
    """Two stores of one table and one vector space know nothing of each other's events."""
    first, second = wanted(f"{unique}a"), wanted(f"{unique}b", index=VectorIndex.NONE)
    async with opened(database, first, second) as stores:
        await stores.upsert(first.store.name, owner("mail"), chunks("one"))
        await stores.upsert(second.store.name, owner("mail"), chunks("two"))
        assert texts_of(await stores.search(first.store.name, Query(vector("one")))) == ["one"]
        assert texts_of(await stores.search(second.store.name, Query(vector("one")))) == ["two"]


async def test_case_103_writers_in_two_processes_end_alike(database: Database, database_url: str, unique: str) -> None:
    """Two writers with the same 40 events in different orders: no deadlock, the newest version, whole, no leftovers."""
    one = wanted(unique)
    await apply(database, one)
    newest: dict[str, int] = {}

    async def write(stores: PgVectorStores, seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(6):
            versions = {f"e{number}": rng.randrange(100) for number in rng.sample(range(40), 40)}
            for event, offset in versions.items():
                newest[event] = max(newest.get(event, 0), offset)
            await asyncio.gather(
                *(
                    stores.upsert(unique, owner(event, offset), chunks(*(f"{offset}.{n}" for n in range(offset % 4))))
                    for event, offset in versions.items()
                )
            )

    async with opened(database, one) as first, opened(Database(database_url), one) as second:
        await asyncio.gather(write(first, 1), write(second, 2))
        found = await first.search(unique, Query(vector("x"), 1000))
    expected = {(f"{event}#{n}", f"{at}.{n}", at) for event, at in newest.items() for n in range(at % 4)}
    assert {(passage.id, passage.text, passage.source.offset) for passage in found} == expected
