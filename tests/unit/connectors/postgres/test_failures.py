"""Which errors of Postgres are a row's fault and which are an outage: by their SQLSTATE."""

import asyncpg
import pytest

from eventmill_connectors.postgres.failures import of_setup, translated
from eventmill_schemas.errors import EventmillError, PostgresUnreachable, SetupError, UnstorableVector

PLACE = "postgresql://me:***@host/db"


def states() -> list[type[asyncpg.PostgresError]]:
    """Return every error that the driver knows by its SQLSTATE."""
    named = [one for name in dir(asyncpg) if isinstance(one := getattr(asyncpg, name), type)]
    return [one for one in named if issubclass(one, asyncpg.PostgresError) and one.sqlstate is not None]


def caught(error: BaseException) -> EventmillError:
    """Return what a call says where the driver raises `error`."""
    with pytest.raises(EventmillError) as found, translated(PLACE):
        raise error
    assert found.value.__cause__ is error
    return found.value


def test_every_sqlstate_is_either_the_rows_fault_or_an_outage() -> None:
    """Data, constraints and limits are the row's fault; all others are nobody's, and say where."""
    known = states()
    assert len(known) > 200
    for state in known:
        said = caught(state("it is so\nwith details"))
        if state.sqlstate[:2] in {"22", "23", "54"}:
            assert isinstance(said, UnstorableVector), state
        else:
            assert isinstance(said, PostgresUnreachable), state
            assert PLACE in str(said)
        assert "it is so" in str(said)
        assert state.sqlstate in str(said)
        assert "details" not in str(said)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (asyncpg.DiskFullError("no space"), "disk is full"),
        (asyncpg.TooManyConnectionsError("sorry"), "max_connections"),
        (asyncpg.QueryCanceledError("statement timeout"), "tried again"),
        (asyncpg.UndefinedTableError("no table"), "eventmill apply"),
        (asyncpg.InvalidSQLStatementNameError("no such statement"), "PgBouncer in transaction mode"),
        (asyncpg.DuplicatePreparedStatementError("is there"), "PgBouncer in transaction mode"),
        (asyncpg.InvalidPasswordError("no"), "user and password"),
        (asyncpg.InterfaceError("connection is closed"), "connection is closed"),
        (asyncpg.InternalClientError("odd"), "does not speak as Postgres does"),
        (TimeoutError(), "no answer in time"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
    ],
)
def test_case_104_an_outage_is_said_with_its_remedy(error: BaseException, says: str) -> None:
    """Each common outage has words of its own."""
    assert says in str(caught(error))


def test_what_is_no_error_of_the_database_passes() -> None:
    """A defect of ours is not taken for an outage that one could wait for."""
    with pytest.raises(KeyError), translated(PLACE):
        raise KeyError("ours")
    with pytest.raises(SetupError), translated(PLACE):
        raise SetupError("ours too")


def test_a_refusal_is_about_the_set_up_for_a_command_and_silence_is_not() -> None:
    """`apply` exits with 2 where a right or an extension is missing, with 1 where the server is away."""
    for error, kind in [
        (asyncpg.InsufficientPrivilegeError("permission denied"), SetupError),
        (asyncpg.FeatureNotSupportedError("extension is not available"), SetupError),
        (asyncpg.CannotConnectNowError("starting up"), PostgresUnreachable),
        (TimeoutError(), PostgresUnreachable),
    ]:
        said = caught(error)
        assert isinstance(said, PostgresUnreachable)
        assert type(of_setup(said)) is kind
