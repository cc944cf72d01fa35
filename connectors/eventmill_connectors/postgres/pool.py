"""Connections to one Postgres, with a deadline on every wait."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg

from eventmill_connectors.postgres.address import checked, masked
from eventmill_connectors.postgres.failures import is_outage, translated
from eventmill_schemas.errors import PostgresUnreachable, SetupError

_RELEASE = 2.0
"""Seconds for a rollback, and for giving a connection back in good order; then it is dropped."""

_OF_DRIVER = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)

_HALFVEC = """
select n.nspname from pg_type t join pg_namespace n on n.oid = t.typnamespace where t.typname = 'halfvec'
"""

Connection = Any
"""asyncpg's connection, which has no types."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds. `connect`: for a new connection; `free`: until one of ours is free; `work`: for one transaction."""

    connect: float = 5.0
    free: float = 15.0
    work: float = 30.0


class Database:
    """One Postgres, used from one event loop, over at most `connections` connections made when they are needed.

    `url` is a libpq address. Raises SetupError if it can't be one. No message shows its password.
    """

    def __init__(self, url: str, *, connections: int = 6, deadlines: Deadlines = Deadlines()) -> None:
        self._url = checked(url)
        self._connections = connections
        self._deadlines = deadlines
        self._pool: Any = None
        self._opening = asyncio.Lock()
        self._free = asyncio.Semaphore(connections)
        self.place = masked(url)

    def __repr__(self) -> str:
        return f"Database({self.place!r})"

    @contextlib.asynccontextmanager
    async def transaction(self, *, readonly: bool = False, settings: str = "") -> AsyncIterator[Connection]:
        """Give a connection with a transaction for the block: committed at its end, rolled back if it raises.

        `settings`: statements `SET LOCAL ...`, sent before. The block has `Deadlines.work` seconds, on the server too.
        Raises PostgresUnreachable, and UnstorableVector where what was sent is to blame.
        """
        limit = round(self._deadlines.work * 1000)
        kind = "READ ONLY" if readonly else "READ WRITE"
        begin = f"BEGIN {kind}; SET LOCAL statement_timeout = {limit}; SET LOCAL lock_timeout = {limit}; {settings}"
        async with self._connection() as connection:
            with translated(self.place):
                try:
                    async with asyncio.timeout(self._deadlines.work):
                        await connection.execute(begin)
                        yield connection
                        await connection.execute("COMMIT")
                except (TimeoutError, asyncio.CancelledError, GeneratorExit):
                    _drop(connection)   # a rollback would have to wait for a server that may hang
                    raise
                except BaseException as error:
                    if is_outage(error):   # such as: a primary became a standby. A new connection may lead elsewhere
                        _drop(connection)
                        raise
                    with contextlib.suppress(*_OF_DRIVER):
                        async with asyncio.timeout(_RELEASE):
                            await connection.execute("ROLLBACK")
                    raise

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[Connection]:
        """Give a connection without a transaction and without a deadline: for building indexes."""
        async with self._connection() as connection:
            with translated(self.place):
                yield connection

    async def close(self) -> None:
        """Close all connections; those in use are given `Deadlines.connect` seconds to come back."""
        pool, self._pool = self._pool, None
        if pool is not None:
            with contextlib.suppress(*_OF_DRIVER):
                await asyncio.wait_for(pool.close(), self._deadlines.connect)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        await self._wait_free()
        try:
            pool = await self._open()
            connection = await self._connect(pool)
            try:
                yield connection
            finally:
                # What goes wrong in giving it back goes wrong after the work: the connection is dropped, no more.
                with contextlib.suppress(*_OF_DRIVER):
                    await pool.release(connection, timeout=_RELEASE)
        finally:
            self._free.release()

    async def _wait_free(self) -> None:
        try:
            async with asyncio.timeout(self._deadlines.free):
                await self._free.acquire()
        except TimeoutError:
            raise PostgresUnreachable(
                f"all {self._connections} connections to Postgres at {self.place} are in use since "
                f"{self._deadlines.free:g} s",
                remedy="The server is too slow for the work: see pg_stat_activity",
            ) from None

    async def _open(self) -> Any:
        async with self._opening:
            if self._pool is None:
                pool = asyncpg.create_pool(
                    self._url,
                    min_size=0,   # opened by the first who needs one
                    max_size=self._connections,
                    init=_know_halfvec,
                    server_settings={"application_name": "eventmill"},
                )
                await pool
                self._pool = pool
            return self._pool

    async def _connect(self, pool: Any) -> Connection:
        with translated(self.place):
            try:
                async with asyncio.timeout(self._deadlines.connect):
                    return await pool.acquire()
            except (ValueError, TypeError):   # asyncpg reads the address now, and quotes what it can't read
                raise SetupError(
                    f"`postgres` can't be used as the address of a database: {self.place}",
                    remedy="It looks like postgresql://user:password@host:5432/database",
                ) from None


def _drop(connection: Connection) -> None:
    with contextlib.suppress(asyncpg.InterfaceError):   # it is gone already
        connection.terminate()


async def _know_halfvec(connection: Connection) -> None:
    """Let vectors pass as the bytes that wire.py makes: a new connection does not know the extension's type."""
    schema = await connection.fetchval(_HALFVEC)
    if schema is None:   # before the first `apply`
        return
    await connection.set_type_codec("halfvec", schema=schema, encoder=bytes, decoder=bytes, format="binary")

