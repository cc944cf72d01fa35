"""The tables that everything here stands on, made by numbered SQL files, each applied once."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from eventmill_connectors.postgres.pool import Connection, Database
from eventmill_connectors.postgres.statements import statement
from eventmill_schemas.errors import SetupError

APPLY_LOCK = 0x65766D6C   # "evml": who changes tables holds this advisory lock until the transaction's end
_FILE = re.compile(r"(\d{4})_(\w+)\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. `checksum`: SHA-256 of its text, in hex."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """Return what tells whether the file is the one that was applied."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Applied:
    """What the database says of a migration that was applied to it."""

    number: int
    name: str
    checksum: str


@lru_cache(maxsize=1)
def migrations() -> tuple[Migration, ...]:
    """Return the migrations of this version, in their order."""
    found = [
        Migration(int(match[1]), match[2], file.read_text())
        for file in (files(__package__) / "migrations").iterdir()
        if (match := _FILE.fullmatch(file.name))
    ]
    return tuple(sorted(found, key=lambda migration: migration.number))


def pending(applied: Iterable[Applied], known: Sequence[Migration]) -> tuple[Migration, ...]:
    """Return the migrations that are still to be applied.

    Raises SetupError where the database was changed by a newer eventmill, or by another file than the one known here.
    """
    done = {one.number: one for one in applied}
    ours = {one.number: one for one in known}
    for number, one in done.items():
        if number not in ours:
            raise SetupError(
                f"the database was migrated by a newer eventmill: {number:04d} ({one.name}) is not known here",
                remedy="Use that version, or another database",
            )
        if one.checksum != ours[number].checksum:
            raise SetupError(
                f"migration {number:04d} ({one.name}) was applied with another text than this version's",
                remedy="Use the version of eventmill that applied it, or a new database",
            )
    return tuple(one for one in known if one.number not in done)


async def applied_migrations(connection: Connection) -> tuple[Applied, ...]:
    """Return what was applied; empty where nothing ever was."""
    if await connection.fetchval("SELECT to_regclass('eventmill_migration') IS NULL"):
        return ()
    rows = await connection.fetch(statement("applied_migrations"))
    return tuple(Applied(row["number"], row["name"], row["checksum"]) for row in rows)


async def migrate(database: Database, known: Sequence[Migration]) -> tuple[Migration, ...]:
    """Apply what is pending, all of it or nothing; return it. Who comes at the same time waits, and finds it done.

    Raises SetupError (see `pending`), PostgresUnreachable.
    """
    async with database.transaction() as connection:
        await connection.execute(f"SELECT pg_advisory_xact_lock({APPLY_LOCK})")
        await connection.execute(statement("create_migrations"))
        todo = pending(await applied_migrations(connection), known)
        for one in todo:
            await connection.execute(one.text)
            await connection.execute(
                "INSERT INTO eventmill_migration (number, name, checksum) VALUES ($1, $2, $3)",
                one.number,
                one.name,
                one.checksum,
            )
    return todo
