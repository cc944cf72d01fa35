"""How fast content that is known passes: printed, and compared with writing it in the same minute."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from eventmill_connectors.postgres.pool import Database
from vector_stores import chunks, opened, owner, wanted

EVENTS, CHUNKS, IN_FLIGHT = 500, 2, 200


async def rows_per_second(call: Callable[[int], Awaitable[object]]) -> float:
    """Do all events, so many at a time as a stage has in flight."""
    numbers = iter(range(EVENTS))

    async def caller() -> None:
        for number in numbers:
            await call(number)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    return EVENTS * CHUNKS / (time.perf_counter() - began)


async def test_a_replay_of_unchanged_content(
    database: Database, unique: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A replay passes at least 8 times as fast as the vectors were written, and writes nothing: not even to the log.

    20,000 rows per second are the goal: a figure that is printed. The store's index is what makes writing slow.
    """
    dimensions = 384
    given = [chunks(*(f"{number}.{n}" for n in range(CHUNKS)), dimensions=dimensions) for number in range(EVENTS)]
    texts = [[chunk.text for chunk in one] for one in given]
    async with opened(database, wanted(unique, dimensions=dimensions)) as stores:
        wrote = await rows_per_second(
            lambda number: stores.upsert(unique, owner(f"e{number}", number), given[number])
        )
        async with database.transaction() as connection:
            before = await written(connection)
        known: list[bool] = []

        async def look(number: int) -> None:
            known.append(await stores.unchanged(unique, owner(f"e{number}", number), texts[number]))

        rates = [await rows_per_second(look) for _ in range(5)]
        async with database.transaction() as connection:
            after = await written(connection)
    assert known == [True] * 5 * EVENTS
    assert after == before
    replayed = sorted(rates)[2]
    with capsys.disabled():
        print(f"\nvectors of 384: {wrote:,.0f} rows/s written with an index, {replayed:,.0f} rows/s replayed unchanged")
    assert replayed > 8 * wrote


async def written(connection: object) -> list[object]:
    """Return what every row version of the newest space was written by."""
    rows = await connection.fetch(   # type: ignore[attr-defined]  # the driver has no types
        "SELECT event_id, xmin::text, xmax::text FROM eventmill_vector_source"
        " WHERE space = (SELECT max(id) FROM eventmill_vector_space) ORDER BY event_id"
    )
    return [tuple(row) for row in rows]
