"""pgvector in the database: whether it is there, and new enough."""

from dataclasses import dataclass

from eventmill_connectors.postgres.pool import Connection
from eventmill_connectors.postgres.statements import statement
from eventmill_schemas.errors import SetupError

OLDEST = (0, 8, 4)
"""Before it an HNSW index could be corrupted by VACUUM, and its parallel build wrote beyond a buffer."""


@dataclass(frozen=True, slots=True)
class Extension:
    """The version of pgvector in the database, and the one that the server could give it. None: there is none."""

    installed: str | None
    available: str | None

    @property
    def problem(self) -> SetupError | None:
        """Why vectors can't be stored here, whatever `eventmill apply` may do; None: they can."""
        oldest = ".".join(map(str, OLDEST))
        if self.installed is not None and not _is_enough(self.installed):
            if self.available is not None and _is_enough(self.available):
                return SetupError(
                    f"pgvector is {self.installed} in the database, eventmill needs {oldest}",
                    remedy=f"The server has {self.available}: run ALTER EXTENSION vector UPDATE in the database",
                )
            return SetupError(f"pgvector is {self.installed}, eventmill needs {oldest}", remedy=_INSTALL)
        if self.installed is None and self.available is None:
            return SetupError("the server has no pgvector", remedy=_INSTALL)
        if self.installed is None and not _is_enough(self.available or ""):
            return SetupError(f"the server's pgvector is {self.available}, eventmill needs {oldest}", remedy=_INSTALL)
        return None


_INSTALL = (
    f"Install pgvector {'.'.join(map(str, OLDEST))} or newer on the server (the image pgvector/pgvector:pg18 has it), "
    "then ALTER EXTENSION vector UPDATE where an older one was in use"
)


async def find_extension(connection: Connection) -> Extension:
    """Return what there is of pgvector."""
    row = await connection.fetchrow(statement("extension"))
    return Extension(row["installed"], row["available"])


def _is_enough(version: str) -> bool:
    numbers = []
    for part in version.split("."):
        if not part.isdecimal():   # 0.9.0-dev: its numbers decide
            part = part.partition("-")[0]   # noqa: PLW2901 - the same part, cleaned
        numbers.append(int(part) if part.isdecimal() else 0)
    return tuple(numbers) >= OLDEST
