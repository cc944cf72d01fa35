"""The REST API of Kafka Connect's workers (https://kafka.apache.org/documentation/#connect_rest)."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from eventmill_connectors.connect.connector import Connector
from eventmill_connectors.connect.status import Status, parse_status
from eventmill_schemas.errors import ConnectFailed, SetupError, UsageError

_REBALANCING = 409
_UNRESOLVED = re.compile(r"\$\{(?:env|file:[^:}]+):([^:}]+)\}")


@dataclass(frozen=True, slots=True)
class Pace:
    """In seconds: the pause between two looks; how long workers may rebalance; how long a state must last to count.

    Right after a change the state of the tasks before may still be told, above all that they failed.
    """

    look_every: float = 0.2
    rebalance: float = 30.0
    running: float = 0.8
    failed: float = 2.0


@dataclass(frozen=True, slots=True)
class Problem:
    """What a worker has against a setting."""

    key: str
    message: str


_USUAL = Pace()
_NAME_IT = "Name a worker with --url or CONNECT: http://127.0.0.1:8083"


class ConnectApi:
    """A worker, which speaks for its whole cluster. Use as a context manager, from one thread.

    `url` may hold a user and password; they are in no message. `timeout`: seconds for one request. Making one raises
    UsageError for what is no URL; every method raises ConnectFailed where no worker answers, or one answers with an
    error of its own.
    """

    def __init__(self, url: str, *, timeout: float = 20.0, pace: Pace = _USUAL) -> None:
        try:
            address = httpx.URL(url)
        except httpx.InvalidURL as problem:
            raise UsageError(f"Connect's address is not a URL: {problem}", remedy=_NAME_IT) from problem
        self._place = str(address.copy_with(username=None, password=None)).rstrip("/")
        self._client = httpx.Client(base_url=address, timeout=timeout)
        self._pace = pace

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    def validate(self, connector: Connector) -> list[Problem]:
        """Ask the worker what is wrong with a connector; nothing is changed, [] where nothing is.

        Settings that refer to values which the worker does not have are problems too. Raises SetupError where the
        worker does not have the connector's class.
        """
        self._require(connector)
        path = f"/connector-plugins/{_segment(connector.config['connector.class'])}/config/validate"
        answer = self._send("PUT", path, {**connector.config, "name": connector.name})
        try:
            return _problems([setting["value"] for setting in self._document(answer)["configs"]])
        except (KeyError, TypeError) as problem:
            raise self._strange(problem) from problem

    def apply(self, connector: Connector) -> str:
        """Make a connector be as given. Return what was done: "created", "changed" or "unchanged".

        Raises SetupError with the worker's reasons where it refuses the configuration, or does not have the class.
        """
        self._require(connector)
        path = f"/connectors/{_segment(connector.name)}/config"
        before = self._send("GET", path)
        wanted = {**connector.config, "name": connector.name}
        if before.status_code != 404 and self._document(before) == wanted:
            return "unchanged"
        answer = self._send("PUT", path, wanted)
        if answer.status_code == 400:
            raise SetupError(f"Connect refuses {connector.name}: {_message(answer)}")
        self._document(answer)
        return "created" if before.status_code == 404 else "changed"

    def statuses(self) -> dict[str, Status]:
        """Return how every connector of the cluster is, by name, in the order of their names."""
        found = self._document(self._send("GET", "/connectors?expand=status"))
        try:
            return {name: parse_status(one["status"]) for name, one in sorted(found.items())}
        except (KeyError, TypeError, AttributeError) as problem:
            raise self._strange(problem) from problem

    def status(self, name: str) -> Status | None:
        """Return how a connector is, None where there is none of this name, or none yet."""
        answer = self._send("GET", f"/connectors/{_segment(name)}/status")
        if answer.status_code == 404:
            return None
        try:
            return parse_status(self._document(answer))
        except (KeyError, TypeError) as problem:
            raise self._strange(problem) from problem

    def restart(self, name: str, *, only_failed: bool = True) -> None:
        """Restart a connector's failed parts, or all of it. Raises SetupError where there is none of this name."""
        flags = f"includeTasks=true&onlyFailed={str(only_failed).lower()}"
        self._act("POST", name, f"/restart?{flags}")

    def delete(self, name: str) -> None:
        """Remove a connector and its tasks. What it wrote stays, and so do its group's offsets.

        Raises SetupError where there is none of this name.
        """
        self._act("DELETE", name, "")

    def await_running(self, name: str, seconds: float) -> Status:
        """Wait until a connector and all its tasks run, or have failed for good; return how it is then.

        Raises ConnectFailed where neither is so after `seconds`.
        """
        deadline = time.monotonic() + seconds
        since, verdict = time.monotonic(), ""
        while True:
            found = self.status(name)
            seen = "" if found is None else "works" if found.works else "failed" if found.failed else ""
            now = time.monotonic()
            if seen != verdict:
                since, verdict = now, seen
            steady = {"works": self._pace.running, "failed": self._pace.failed}.get(verdict)
            if found is not None and steady is not None and now - since >= steady:
                return found
            if now >= deadline:
                state = "it is not there" if found is None else found.complaint or "its state keeps changing"
                raise ConnectFailed(f"{name} does not run after {seconds:.0f} s: {state}")
            time.sleep(self._pace.look_every)

    def _act(self, method: str, name: str, what: str) -> None:
        answer = self._send(method, f"/connectors/{_segment(name)}{what}")
        if answer.status_code == 404:
            known = ", ".join(self.statuses()) or "no connector"
            raise SetupError(f"there is no connector {name!r}", remedy=f"At {self._place} there is {known}")
        if answer.status_code >= 400:
            self._document(answer)

    def _require(self, connector: Connector) -> None:
        wanted = connector.config["connector.class"]
        try:
            known = sorted(plugin["class"] for plugin in self._document(self._send("GET", "/connector-plugins")))
        except (KeyError, TypeError) as problem:
            raise self._strange(problem) from problem
        # Connect takes a class without its package, and without "Connector" at the end, as well.
        if not any(name == wanted or name.endswith((f".{wanted}", f".{wanted}Connector")) for name in known):
            raise SetupError(
                f"{connector.name}: the workers at {self._place} have no connector {wanted}",
                remedy=f"Put it on their plugin.path and restart them. They have {', '.join(known) or 'none'}",
            )

    def _send(self, method: str, path: str, body: Mapping[str, str] | None = None) -> httpx.Response:
        deadline = time.monotonic() + self._pace.rebalance
        while True:
            try:
                answer = self._client.request(method, path, json=body)
            except httpx.HTTPError as problem:
                reason = str(problem) or type(problem).__name__
                raise ConnectFailed(
                    f"no worker of Kafka Connect answers at {self._place} ({reason})",
                    remedy="Start one: eventmill dev up --connect; or name another with --url or CONNECT",
                ) from problem
            if answer.status_code != _REBALANCING or time.monotonic() >= deadline:
                return answer
            time.sleep(self._pace.look_every)

    def _document(self, answer: httpx.Response) -> Any:
        if answer.status_code >= 400:
            raise ConnectFailed(f"Connect at {self._place} answers {answer.status_code}: {_message(answer)}")
        return _parsed(answer, self._strange)

    def _strange(self, problem: Exception) -> ConnectFailed:
        return ConnectFailed(
            f"what answers at {self._place} is not a worker of Kafka Connect ({type(problem).__name__})",
            remedy=_NAME_IT,
        )


def _problems(values: Sequence[Mapping[str, Any]]) -> list[Problem]:
    problems = [Problem(value["name"], message) for value in values for message in value["errors"]]
    for value in values:
        problems += [
            Problem(value["name"], f"the workers do not have the value {name}")
            for name in _UNRESOLVED.findall(str(value["value"]))
        ]
    return problems


def _parsed(answer: httpx.Response, strange: Callable[[Exception], ConnectFailed]) -> Any:
    try:
        return answer.json()
    except ValueError as problem:
        raise strange(problem) from problem


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"]).strip()
    except (ValueError, KeyError, TypeError):
        return answer.text.strip()[:500] or answer.reason_phrase


def _segment(name: str) -> str:
    return quote(name, safe="")
