"""The REST API of Connect: what is sent, what the answers mean, and what is waited for."""

from collections.abc import Iterator

import pytest

from connect_peer import JDBC, ConnectPeer, connect_peer, status
from eventmill_connectors.connect.connector import Connector
from eventmill_connectors.connect.rest import ConnectApi, Pace, Problem
from eventmill_schemas.errors import ConnectFailed, SetupError, UsageError

NAME = "mail.triage/results ü"
PATH = "/connectors/mail.triage%2Fresults%20%C3%BC"
MADE = Connector(NAME, {"connector.class": JDBC, "topics": "t"})
KEPT = {**MADE.config, "name": NAME}


@pytest.fixture
def peer() -> Iterator[ConnectPeer]:
    """Give a worker without connectors."""
    with connect_peer() as found:
        yield found


@pytest.fixture
def api(peer: ConnectPeer) -> Iterator[ConnectApi]:
    """Give a client of it."""
    with ConnectApi(peer.url, pace=Pace(look_every=0.02, rebalance=0.3, running=0.05, failed=0.05)) as found:
        yield found


def test_a_new_connector_is_put_under_its_name(peer: ConnectPeer, api: ConnectApi) -> None:
    """A name may have characters that a path has not."""
    peer.answer(f"PUT {PATH}/config", {"name": NAME}, 201)
    assert api.apply(MADE) == "created"
    assert peer.said("PUT") == [(f"{PATH}/config", KEPT)]


def test_one_that_is_as_wanted_is_left_alone(peer: ConnectPeer, api: ConnectApi) -> None:
    """A PUT would restart its tasks."""
    peer.answer(f"GET {PATH}/config", KEPT)
    assert api.apply(MADE) == "unchanged"
    assert not peer.said("PUT")


@pytest.mark.parametrize("kept", [{**KEPT, "topics": "other"}, {**KEPT, "more": "1"}])
def test_one_that_differs_is_replaced(peer: ConnectPeer, api: ConnectApi, kept: dict[str, str]) -> None:
    """Also where somebody has added a setting."""
    peer.answer(f"GET {PATH}/config", kept)
    peer.answer(f"PUT {PATH}/config", {"name": NAME})
    assert api.apply(MADE) == "changed"


def test_what_connect_refuses_is_the_users_to_mend(peer: ConnectPeer, api: ConnectApi) -> None:
    """In the worker's words."""
    peer.answer(f"PUT {PATH}/config", {"error_code": 400, "message": "connection.url: value required"}, 400)
    with pytest.raises(SetupError, match=r"connection\.url: value required"):
        api.apply(MADE)


@pytest.mark.parametrize("plugin", ["no.such.Sink", "JdbcSink.Connector", "bezium.connector.jdbc.JdbcSinkConnector"])
def test_a_class_that_the_workers_lack_is_named_with_those_they_have(
    peer: ConnectPeer, api: ConnectApi, plugin: str
) -> None:
    """Before anything is sent; Connect's own answer lists its plug-ins in Java."""
    made = Connector(NAME, {"connector.class": plugin})
    for ask in (api.apply, api.validate):
        with pytest.raises(SetupError, match=f"no connector {plugin}") as caught:
            ask(made)
        assert JDBC in str(caught.value.remedy)
    assert not peer.said("PUT")


@pytest.mark.parametrize("plugin", [JDBC, "JdbcSinkConnector", "JdbcSink"])
def test_the_short_names_that_connect_takes_are_fine(peer: ConnectPeer, api: ConnectApi, plugin: str) -> None:
    """Without the package, and without "Connector"."""
    peer.answer(f"PUT /connector-plugins/{plugin}/config/validate", {"configs": []})
    assert api.validate(Connector(NAME, {"connector.class": plugin})) == []


def test_validation_tells_each_mistake_and_each_missing_value(peer: ConnectPeer, api: ConnectApi) -> None:
    """What a worker could not resolve stands in its answer as it was sent."""
    values = [
        {"name": "connection.url", "value": "${env:WAREHOUSE_URL}", "errors": []},
        {"name": "tasks.max", "value": "x", "errors": ["not a number", "too small"]},
        {"name": "connection.password", "value": "[hidden]", "errors": []},
        {"name": "transforms.flatten.type", "value": "org.apache.kafka.connect.transforms.Flatten$Value", "errors": []},
        {"name": "topics", "value": None, "errors": []},
        {"name": "keyfile", "value": "${file:/run/w.properties:KEY}", "errors": []},
    ]
    peer.answer(f"PUT /connector-plugins/{JDBC}/config/validate", {"configs": [{"value": value} for value in values]})
    assert api.validate(MADE) == [
        Problem("tasks.max", "not a number"),
        Problem("tasks.max", "too small"),
        Problem("connection.url", "the workers do not have the value WAREHOUSE_URL"),
        Problem("keyfile", "the workers do not have the value KEY"),
    ]
    assert peer.said("PUT")[0][1] == KEPT


def test_case_101_a_rebalance_is_waited_for(peer: ConnectPeer, api: ConnectApi) -> None:
    """Workers answer 409 while they agree who does what."""
    for _ in range(2):
        peer.answer(f"GET {PATH}/config", {"error_code": 409, "message": "rebalance in process"}, 409)
    peer.answer(f"GET {PATH}/config", KEPT)
    assert api.apply(MADE) == "unchanged"


def test_a_rebalance_without_end_is_told(peer: ConnectPeer, api: ConnectApi) -> None:
    """In the worker's words."""
    peer.answer("GET /connectors?expand=status", {"error_code": 409, "message": "rebalance in process"}, 409)
    with pytest.raises(ConnectFailed, match="409: rebalance in process"):
        api.statuses()


def test_nobody_there_is_told_without_the_password(peer: ConnectPeer) -> None:
    """With the way to start a worker."""
    with ConnectApi("http://user:hunter2@127.0.0.1:9") as api, pytest.raises(ConnectFailed) as caught:
        api.statuses()
    assert "http://127.0.0.1:9" in caught.value.message
    assert "hunter2" not in str(caught.value)
    assert "dev up --connect" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("url", "error"), [("http://[::", UsageError), ("connect:8083", ConnectFailed), ("", ConnectFailed)]
)
def test_what_is_no_address_is_told(url: str, error: type[Exception]) -> None:
    """With an example of one."""
    with pytest.raises(error, match=r"URL|protocol"), ConnectApi(url) as api:
        api.statuses()


@pytest.mark.parametrize("body", [b"<html>", [1], {"a": 1}, {"a": {"status": {"name": "a"}}}])
def test_something_else_at_the_address_is_told(peer: ConnectPeer, api: ConnectApi, body: object) -> None:
    """A registry, or a page of a proxy."""
    peer.answer("GET /connectors?expand=status", body)
    with pytest.raises(ConnectFailed, match="is not a worker of Kafka Connect"):
        api.statuses()


@pytest.mark.parametrize("body", [["a"], [{"name": "a"}], {"a": 1}])
def test_something_else_is_told_before_anything_is_sent(body: object) -> None:
    """Whatever it answers to the first question."""
    with connect_peer(plugins=body) as other, ConnectApi(other.url) as strange:
        for ask in (strange.apply, strange.validate):
            with pytest.raises(ConnectFailed, match="is not a worker of Kafka Connect"):
                ask(MADE)
        assert not other.said("PUT")


def test_a_validation_that_is_none_is_told(peer: ConnectPeer, api: ConnectApi) -> None:
    """Not taken for one without problems."""
    peer.answer(f"PUT /connector-plugins/{JDBC}/config/validate", {"config": []})
    with pytest.raises(ConnectFailed, match="is not a worker of Kafka Connect"):
        api.validate(MADE)


def test_all_connectors_are_told_in_order(peer: ConnectPeer, api: ConnectApi) -> None:
    """By name."""
    found = {name: {"status": status(name, "RUNNING", "RUNNING")} for name in ("b", "a")}
    peer.answer("GET /connectors?expand=status", found)
    assert [one.works for one in api.statuses().values()] == [True, True]
    assert list(api.statuses()) == ["a", "b"]


@pytest.mark.parametrize("last", ["RUNNING", "FAILED"])
def test_a_state_counts_when_it_stays(peer: ConnectPeer, api: ConnectApi, last: str) -> None:
    """Right after a change the state of the tasks before is told; one that is not there yet is waited for."""
    before = "FAILED" if last == "RUNNING" else "RUNNING"
    peer.answer(f"GET {PATH}/status", {"error_code": 404, "message": "No status found"}, 404)
    for state in (before, "UNASSIGNED", last):
        peer.answer(f"GET {PATH}/status", status(NAME, "RUNNING", state, trace="t"))
    found = api.await_running(NAME, 5)
    assert found.tasks[0].state == last
    assert len(peer.said("GET")) > 4


def test_what_never_runs_is_told_with_its_last_state(peer: ConnectPeer, api: ConnectApi) -> None:
    """After the time that was given."""
    with pytest.raises(ConnectFailed, match="it is not there"):
        api.await_running(NAME, 0.1)
    peer.answer(f"GET {PATH}/status", status(NAME, "RUNNING"))
    with pytest.raises(ConnectFailed, match="it has no tasks"):
        api.await_running(NAME, 0.1)


@pytest.mark.parametrize("only_failed", [True, False])
def test_a_restart_takes_the_tasks_along(peer: ConnectPeer, api: ConnectApi, only_failed: bool) -> None:
    """Without that flag Connect restarts the connector's own part alone, which was never dead."""
    path = f"{PATH}/restart?includeTasks=true&onlyFailed={str(only_failed).lower()}"
    peer.answer(f"POST {path}", b"", 202)
    api.restart(NAME, only_failed=only_failed)
    assert peer.said("POST") == [(path, None)]


def test_a_connector_is_deleted_by_its_name(peer: ConnectPeer, api: ConnectApi) -> None:
    """And no other."""
    peer.answer(f"DELETE {PATH}", b"", 204)
    api.delete(NAME)
    assert peer.said("DELETE") == [(PATH, None)]


def test_what_is_not_there_is_told_with_what_is(peer: ConnectPeer, api: ConnectApi) -> None:
    """A misspelt name."""
    peer.answer("GET /connectors?expand=status", {"a": {"status": status("a", "RUNNING", "RUNNING")}})
    for act in (api.restart, api.delete):
        with pytest.raises(SetupError, match="there is no connector") as caught:
            act("b")
        assert str(caught.value.remedy).endswith("there is a")
