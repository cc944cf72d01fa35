"""What every vector store guarantees, Postgres and the double alike (eventmill_agents.ports.VectorStores)."""

from collections.abc import AsyncIterator, Iterator

import pytest

from eventmill_agents.ports import VectorStores
from eventmill_connectors.postgres.pool import Database
from eventmill_connectors.testing import VectorsInMemory
from eventmill_schemas.errors import UsageError
from eventmill_schemas.events import Source
from eventmill_schemas.local_models import Query
from vector_stores import chunks, opened, own_database, owner, stored, vector, wanted


@pytest.fixture(
    scope="module", params=["in memory", pytest.param("in Postgres", marks=pytest.mark.integration)]
)
def place(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Give the address of a database, None for the double."""
    if request.param == "in memory":
        yield None
    else:
        with own_database(request.getfixturevalue("addresses").postgres) as url:
            yield url


@pytest.fixture
async def stores(place: str | None, unique: str) -> AsyncIterator[VectorStores]:
    """Give stores of which one is called `mails`, empty."""
    if place is None:
        yield VectorsInMemory("mails")
    else:
        async with opened(Database(place), wanted("mails", space=unique)) as found:
            yield found


async def test_case_103_the_newest_offset_wins_and_surplus_chunks_go(stores: VectorStores) -> None:
    """A newer offset replaces all chunks of the event; an older one changes nothing, in whatever order they come."""
    versions = {1: ("one",), 2: ("two", "three", "four"), 3: ("five", "six"), 4: ()}
    for order in ([2, 1], [1, 3, 2], [3, 4, 1]):
        event = f"mail-{order}"
        for offset in order:
            await stores.upsert("mails", owner(event, offset), chunks(*versions[offset]))
        assert (await stored(stores)).get(event, []) == list(versions[max(order)])


async def test_an_event_may_come_from_another_partition(stores: VectorStores) -> None:
    """Between partitions there is no order: the later write wins."""
    await stores.upsert("mails", owner("mail", 900, partition=1), chunks("before"))
    await stores.upsert("mails", owner("mail", 5, partition=9), chunks("after"))
    assert await stored(stores) == {"mail": ["after"]}


async def test_unchanged_tells_what_needs_no_vector(stores: VectorStores) -> None:
    """Same chunks: nothing to do, also for newer and older sources; other texts, order or tenant: something to do."""
    await stores.upsert("mails", owner("mail", 5, tenant="a"), chunks("one", "two"))
    assert not await stores.unchanged("mails", owner("other", 5), ["one", "two"])
    assert await stores.unchanged("mails", owner("mail", 5, tenant="a"), ["one", "two"])
    for texts in (["two", "one"], ["onetwo"], ["one"], ["one", "two", ""], []):
        assert not await stores.unchanged("mails", owner("mail", 5, tenant="a"), texts)
    assert not await stores.unchanged("mails", owner("mail", 5, tenant="b"), ["one", "two"])
    assert not await stores.unchanged("mails", owner("mail", 5), ["one", "two"])
    assert await stores.unchanged("mails", owner("mail", 4, tenant="a"), ["what is older needs nothing"])


async def test_an_unchanged_event_moves_its_source_on(stores: VectorStores) -> None:
    """After "unchanged" for offset 9, what offset 7 had in between is old, and the passage says offset 9."""
    await stores.upsert("mails", owner("mail", 5), chunks("one"))
    assert await stores.unchanged("mails", owner("mail", 9), ["one"])
    assert await stores.unchanged("mails", owner("mail", 7), ["two"])
    await stores.upsert("mails", owner("mail", 7), chunks("two"))
    (found,) = await stores.search("mails", Query(vector("one")))
    assert (found.text, found.source) == ("one", Source("mails", 0, 9))


async def test_tenants_see_their_own_passages(stores: VectorStores) -> None:
    """A search finds the tenant's passages only, none of others and none without tenant, unless asked for all."""
    for tenant in ("a", "b", None):
        await stores.upsert("mails", owner(f"of {tenant}", tenant=tenant), chunks("same text"))
    for tenant in ("a", "b", None, "c"):
        found = await stores.search("mails", Query(vector("same text"), tenant=tenant))
        assert [one.event_id for one in found] == ([] if tenant == "c" else [f"of {tenant}"])
    everybody = await stores.search("mails", Query(vector("same text"), any_tenant=True))
    assert [one.event_id for one in everybody] == ["of None", "of a", "of b"]
    others = await stores.search("mails", Query(vector("same text"), any_tenant=True, without="of a"))
    assert [one.event_id for one in others] == ["of None", "of b"]


async def test_a_store_that_is_not_there(stores: VectorStores) -> None:
    """Asking for it names those that are."""
    for asking in (
        stores.search("mial", Query(vector("x"))),
        stores.upsert("mial", owner("a"), []),
        stores.unchanged("mial", owner("a"), []),
    ):
        with pytest.raises(UsageError, match=r"no (vector )?store 'mial'.*Stores: mails"):
            await asking
