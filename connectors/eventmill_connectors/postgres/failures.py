"""What Postgres and its driver raise, as errors of eventmill: the row is to blame, or the database is away.

SQLSTATEs: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from eventmill_schemas.errors import EventmillError, PostgresUnreachable, SetupError, UnstorableVector

_OF_THE_ROW = ("22", "23", "54")
"""Classes of SQLSTATE that speak of the data sent: not representable, against a constraint, beyond a fixed limit."""

_OF_THE_SETUP = ("42", "0A", "58")
"""Classes that speak of rights, of names, and of what the server does not have."""

_BEHIND_A_POOLER = (
    "`postgres` seems to lead to a PgBouncer in transaction mode: let it keep prepared statements "
    "(max_prepared_statements, from 1.21), or use a pool in session mode"
)

_REMEDIES = {
    "53100": "The server's disk is full: make room; nothing is lost, and work goes on by itself",
    "53200": "The server is out of memory: give it more, or fewer connections",
    "53300": "Raise the server's max_connections, or run fewer replicas",
    "28P01": "Check user and password in `postgres`",
    "28000": "Check user and password in `postgres`, and the server's pg_hba.conf",
    "3D000": "Create the database, or check its name in `postgres`",
    "42501": "Give the user of `postgres` the right to read and write these tables",
    "25006": "The server takes no writes: `postgres` must name the primary",
    "42P01": "Run `eventmill apply`",
    "42703": "Run `eventmill apply` of this version of eventmill",
    "42704": "Run `eventmill apply`: it says what pgvector needs",
    "42883": "Run `eventmill apply`: it says what pgvector needs",
    "26000": _BEHIND_A_POOLER,
    "42P05": _BEHIND_A_POOLER,
    "55P03": "Another session holds a lock on the table: see pg_stat_activity",
    "57014": "The query was cancelled: too slow, or by hand; it is tried again",
}
_USUAL_REMEDY = "Check that the server runs, and `postgres` (DATABASE_URL)"


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Raise what the block raises as an error of eventmill; `place` is the database's address without password.

    Raises UnstorableVector where the data sent is to blame, PostgresUnreachable for everything that is not the data's
    fault, time-outs among it. What is not from the database or the driver passes as it is.
    """
    try:
        yield
    except EventmillError:
        raise
    except asyncpg.PostgresError as error:
        raise _of_server(error, place) from error
    except asyncpg.InterfaceError as error:   # such as: the connection is closed
        raise _away(place, str(error)) from error
    except asyncpg.InternalClientError as error:
        raise _away(place, f"does not speak as Postgres does ({error})") from error
    except TimeoutError as error:
        raise _away(place, "gave no answer in time") from error
    except (OSError, asyncio.IncompleteReadError) as error:
        raise _away(place, error.strerror if isinstance(error, OSError) and error.strerror else str(error)) from error


def is_outage(error: BaseException) -> bool:
    """Whether the server or the way to it is to blame, so that the connection is of no more use."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:2] not in _OF_THE_ROW
    return isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError | OSError)


def of_setup(error: PostgresUnreachable) -> EventmillError:
    """Return what a command says that changes tables: an answer of the server is about the set-up, silence is not."""
    cause = error.__cause__
    if isinstance(cause, asyncpg.PostgresError) and (cause.sqlstate or "")[:2] in _OF_THE_SETUP:
        return SetupError(error.message, remedy=error.remedy)
    return error


def _of_server(error: asyncpg.PostgresError, place: str) -> EventmillError:
    state = error.sqlstate or ""
    text = str(error).partition("\n")[0]
    if not is_outage(error):
        return UnstorableVector(f"Postgres does not take it ({state}): {text}")
    return _away(place, f"answers with {text} ({state})" if state else text, _REMEDIES.get(state, _USUAL_REMEDY))


def _away(place: str, problem: str, remedy: str = _USUAL_REMEDY) -> PostgresUnreachable:
    return PostgresUnreachable(f"Postgres at {place}: {problem}", remedy=remedy)
