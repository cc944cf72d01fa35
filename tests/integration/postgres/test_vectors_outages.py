"""Postgres goes away, stands still, is full or too busy: no event is to blame, no wait is for ever, nothing is lost."""

import asyncio
import random
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest

from eventmill.dev import process
from eventmill.dev.account import unprivileged_account
from eventmill.dev.ports import LOOPBACK
from eventmill.dev.postgres import Postgres, find_binaries, reachable_binaries
from eventmill_connectors.postgres.pool import Database, Deadlines
from eventmill_connectors.postgres.stores import PgVectorStores, open_stores
from eventmill_schemas.errors import PostgresUnreachable, SetupError, UnstorableVector
from eventmill_schemas.local_models import Query
from tcp_proxy import TcpProxy
from vector_stores import apply, chunks, opened, owner, texts_of, vector, wanted

SHORT = Deadlines(connect=1.0, free=0.3, work=0.5)
STORE = wanted("mails")


@pytest.fixture
async def stores(database_url: str) -> AsyncIterator[PgVectorStores]:
    """Give a store on a database with short deadlines."""
    async with opened(Database(database_url, deadlines=SHORT), STORE) as found:
        yield found


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Give a session of somebody else."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


def through(url: str, port: int) -> str:
    """Return the address with another port of this machine."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.username}:{parts.password}@{LOOPBACK}:{port}"))


async def partition(connection: asyncpg.Connection) -> str:
    """Return the table of the store."""
    return str(await connection.fetchval("SELECT 'eventmill_vectors_' || max(id) FROM eventmill_vector_space"))


async def refusal(stores: PgVectorStores, event: str = "mail") -> PostgresUnreachable:
    """Return why a write is refused, and how it says so; the message holds no password."""
    with pytest.raises(PostgresUnreachable) as caught:
        await stores.upsert("mails", owner(event), chunks(f"text of {event}"))
    assert ":***@" in str(caught.value)
    return caught.value


async def works(stores: PgVectorStores, event: str = "mail") -> None:
    """Store and find."""
    await stores.upsert("mails", owner(event, 1), chunks(f"text of {event}"))
    assert await stores.unchanged("mails", owner(event, 1), [f"text of {event}"])
    assert texts_of(await stores.search("mails", Query(vector(f"text of {event}"), 1))) == [f"text of {event}"]


async def test_a_network_that_fails_and_returns(database_url: str) -> None:
    """While it is away every call fails soon and says where; afterwards the same stores work, without a restart."""
    parts = urlsplit(database_url)
    assert parts.hostname is not None
    assert parts.port is not None
    proxy = TcpProxy(parts.hostname, parts.port)
    async with opened(Database(through(database_url, proxy.port), deadlines=SHORT), STORE) as stores:
        await works(stores)
        proxy.switch_off()
        began = time.monotonic()
        assert f"127.0.0.1:{proxy.port}" in str(await refusal(stores))
        with pytest.raises(PostgresUnreachable):
            await stores.unchanged("mails", owner("mail"), ["x"])
        with pytest.raises(PostgresUnreachable):
            await stores.search("mails", Query(vector("x")))
        assert time.monotonic() - began < 6   # three calls with a second each, on a busy machine
        proxy.switch_on()
        await works(stores, "afterwards")
    proxy.switch_off()


async def test_a_server_that_never_answers() -> None:
    """A port that takes connections and says nothing costs the connection's deadline, no more."""
    with socket.create_server((LOOPBACK, 0)) as silent:
        database = Database(f"postgresql://u:secret@{LOOPBACK}:{silent.getsockname()[1]}/d", deadlines=SHORT)
        with pytest.raises(PostgresUnreachable, match="gave no answer in time") as caught:
            await open_stores(database, [STORE])
    assert "secret" not in repr((caught.value, caught.value.__cause__, database))


async def test_a_server_that_stands_still(database_url: str) -> None:
    """A connection that falls silent in the middle is given up after its deadline, and not waited for again."""
    parts = urlsplit(database_url)
    assert parts.hostname is not None
    assert parts.port is not None
    flowing = asyncio.Event()
    flowing.set()

    async def relay(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(1 << 16):
            await flowing.wait()
            target.write(data)
        target.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(relay(reader, forth), relay(back, writer), return_exceptions=True)

    server = await asyncio.start_server(accept, LOOPBACK, 0)
    port = server.sockets[0].getsockname()[1]
    async with opened(Database(through(database_url, port), deadlines=SHORT), STORE) as stores:
        await works(stores)
        flowing.clear()
        began = time.monotonic()
        assert "gave no answer in time" in str(await refusal(stores))
        assert time.monotonic() - began < 5
        flowing.set()
        await works(stores, "afterwards")
    server.close()


async def test_a_lock_that_is_held_too_long(stores: PgVectorStores, other: asyncpg.Connection) -> None:
    """Who waits for a lock gives up after the deadline; what was refused is not half stored, and goes in later."""
    async with other.transaction():
        await other.execute(f"LOCK TABLE {await partition(other)} IN ACCESS EXCLUSIVE MODE")
        await refusal(stores, "locked")
    assert not await stores.unchanged("mails", owner("locked"), ["text of locked"])
    await works(stores, "locked")


async def test_all_connections_are_in_use(database_url: str) -> None:
    """Who finds none free in time is told so, and how many there are."""
    database = Database(database_url, connections=2, deadlines=SHORT)
    async with database.session(), database.session():
        with pytest.raises(PostgresUnreachable, match=r"all 2 connections to Postgres at .* are in use"):
            async with database.transaction():
                pass
    async with database.transaction() as connection:
        assert await connection.fetchval("SELECT 1") == 1
    await database.close()


@pytest.mark.parametrize("how", ["pg_cancel_backend", "pg_terminate_backend"])
async def test_a_query_that_somebody_cancels(stores: PgVectorStores, other: asyncpg.Connection, how: str) -> None:
    """An administrator who cancels our statement or our session is an outage, and no event's fault."""
    async with other.transaction():
        await other.execute(f"LOCK TABLE {await partition(other)} IN ACCESS EXCLUSIVE MODE")
        writing = asyncio.create_task(refusal(stores, how))
        waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        while (pid := await other.fetchval(waiting)) is None:
            await other.execute("SELECT pg_stat_clear_snapshot()")   # else a transaction sees what it saw first
        assert await other.fetchval(f"SELECT {how}($1)", pid)
        said = str(await writing)
    assert ("user request" if how == "pg_cancel_backend" else "administrator command") in said
    await works(stores, how)


@pytest.mark.parametrize(
    ("state", "says"),
    [("53100", "disk is full: make room"), ("53200", "out of memory"), ("25006", "must name the primary")],
)
async def test_a_full_disk_harms_no_event(
    stores: PgVectorStores, other: asyncpg.Connection, state: str, says: str
) -> None:
    """What the server says when it can't store anything is an outage with its remedy; afterwards all is stored.

    A trigger raises the server's own SQLSTATE: the way from there is the real one.
    """
    table = await partition(other)
    await other.execute(
        f"""CREATE OR REPLACE FUNCTION full_{state}() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '{state}'; END $$;
        CREATE TRIGGER full_disk BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION full_{state}()"""
    )
    events = [f"{state}-{number}" for number in range(5)]
    said = await asyncio.gather(*(refusal(stores, event) for event in events))
    assert all(says in str(one) and state in str(one) for one in said)
    await other.execute(f"DROP TRIGGER full_disk ON {table}")
    for event in events:
        assert not await stores.unchanged("mails", owner(event), [f"text of {event}"])
        await works(stores, event)


@pytest.mark.parametrize(("state", "kept"), [("25006", False), ("XX000", False), ("22012", True)])
async def test_a_connection_is_not_used_after_an_outage(database_url: str, state: str, kept: bool) -> None:
    """A primary that became a standby is left: the next transaction has a new connection. A wrong row is no outage."""
    database = Database(database_url, connections=1, deadlines=SHORT)
    pids = []
    for _ in range(2):
        async with database.transaction() as connection:
            pids.append(await connection.fetchval("SELECT pg_backend_pid()"))
        with pytest.raises(PostgresUnreachable if not kept else UnstorableVector):
            async with database.transaction() as connection:
                await connection.execute(f"DO $$ BEGIN RAISE EXCEPTION 'so' USING ERRCODE = '{state}'; END $$")
    assert (pids[0] == pids[1]) == kept
    await database.close()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda url: url.replace("/t", "/no-such-t"), "Create the database"),
        (lambda url: url.replace(urlsplit(url).password, "wrong-secret"), "Check user and password"),
    ],
)
async def test_an_address_that_leads_nowhere(database_url: str, change: object, says: str) -> None:
    """A wrong name or password is said with the remedy; the password is not."""
    assert callable(change)
    database = Database(change(database_url), deadlines=SHORT)
    with pytest.raises(PostgresUnreachable, match=says) as caught:
        await open_stores(database, [STORE])
    for password in ("wrong-secret", urlsplit(database_url).password):
        assert password not in f"{caught.value} {caught.value.__cause__!r} {database!r}"
    await database.close()


async def test_callers_that_leave_harm_nobody(stores: PgVectorStores, other: asyncpg.Connection) -> None:
    """Callers cancelled at any moment leave the others' work whole, and no connection in use."""
    rng = random.Random(4)

    async def leave(call: object) -> None:
        task = asyncio.create_task(call)   # type: ignore[arg-type]
        for _ in range(rng.randrange(60)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    for _ in range(8):
        stay = [stores.upsert("mails", owner(f"stays {n}", 1), chunks(f"stays {n}")) for n in range(5)]
        go = [leave(stores.upsert("mails", owner(f"goes {n}", 1), chunks(f"goes {n}"))) for n in range(5)]
        go += [leave(stores.search("mails", Query(vector("x")))) for _ in range(5)]
        go += [leave(stores.unchanged("mails", owner("stays 1", 1), ["stays 1"])) for _ in range(5)]
        await asyncio.gather(*stay, *go)
    assert all([await stores.unchanged("mails", owner(f"stays {n}", 1), [f"stays {n}"]) for n in range(5)])
    await asyncio.gather(*(stores.search("mails", Query(vector("x"))) for _ in range(20)))
    in_use = await other.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'eventmill'"
        " AND state <> 'idle' AND pid <> pg_backend_pid()"
    )
    assert in_use == 0


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """Give a server that this test may kill, prepared and not started."""
    account = unprivileged_account()
    with tempfile.TemporaryDirectory(prefix="eventmill-") as folder, socket.create_server((LOOPBACK, 0)) as found:
        Path(folder).chmod(0o755)
        server = Postgres(
            data=Path(folder) / "postgres" / "data",
            binaries=reachable_binaries(find_binaries(), account),
            marker=f"test-{uuid4().hex}",
            password=uuid4().hex,
            port=found.getsockname()[1],
            account=account,
        )
        found.close()
        server.prepare()
        yield server
        process.end(server.marker, None, ask=signal.SIGKILL, patience=10)


def start(server: Postgres) -> None:
    """Start the server and wait until it works."""
    server.prepare()
    process.spawn(server.command(), log=server.data.parent / "log")
    assert process.wait_until(lambda: server.complaint() is None, 20), server.complaint()
    server.settle()


async def test_postgres_killed_and_started_again(own_postgres: Postgres) -> None:
    """After kill -9 of the server in the middle of writes, what was answered is there; what failed goes in later."""
    start(own_postgres)
    url = f"postgresql://postgres:{own_postgres.password}@{LOOPBACK}:{own_postgres.port}/eventmill"
    async with opened(Database(url, deadlines=Deadlines(1.0, 1.0, 2.0)), STORE) as stores:
        answered: list[int] = []
        failed: list[int] = []

        async def write(number: int) -> None:
            try:
                await stores.upsert("mails", owner(f"e{number}", number), chunks(f"text {number}"))
            except PostgresUnreachable:
                failed.append(number)
            else:
                answered.append(number)

        writing = [asyncio.create_task(write(number)) for number in range(100)]
        while not answered:
            writing += [asyncio.create_task(write(number)) for number in range(len(writing), len(writing) + 20)]
            await asyncio.sleep(0.005)   # lets them spread over several batches
        writing += [asyncio.create_task(write(number)) for number in range(len(writing), len(writing) + 150)]
        await asyncio.to_thread(process.end, own_postgres.marker, None, ask=signal.SIGKILL, patience=10)
        await asyncio.gather(*writing)
        assert answered
        assert failed
        await asyncio.to_thread(start, own_postgres)
        kept = [await stores.unchanged("mails", owner(f"e{number}", number), [f"text {number}"]) for number in answered]
        assert all(kept)
        again, failed = list(failed), []
        await asyncio.gather(*(write(number) for number in again))
        assert not failed
        found = await stores.search("mails", Query(vector("x"), 1000))
        assert len(found) == min(1000, len(writing))


async def test_start_without_tables_says_what_to_run(database_url: str, unique: str) -> None:
    """A worker does not start on a database that is not ready, and names the command that makes it so."""
    database = Database(database_url)
    await apply(database, STORE)
    with pytest.raises(SetupError, match=r"is not ready: create partition .*Run `eventmill apply`"):
        await open_stores(database, [wanted(unique)])
    await database.close()
