"""What values say: by their schema, as JSON, as text, or not at all."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill.reading.topics import HEADERS_UNREADABLE, raw_record
from eventmill.reading.values import Seen, ValueReader
from eventmill_schemas.codec import AvroWriter
from eventmill_schemas.events import RawRecord, Source

SCHEMA = json.dumps({"type": "record", "name": "R", "fields": [{"name": "a", "type": "string"}]})
KNOWN, UNKNOWN = 7, 8


class Registry(ThreadingHTTPServer):
    """A registry that has one schema, and counts what it is asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked: list[str] = []
        self.broken = False

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    """Answers as Confluent's API does."""

    server: Registry

    def do_GET(self) -> None:
        """Answer with the schema, or that there is none."""
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        if self.server.broken:
            self._send(503, {})
        elif path == f"/schemas/ids/{KNOWN}":
            self._send(200, {"schema": SCHEMA})
        else:
            self._send(404, {"error_code": 40403, "message": "Schema not found"})

    def log_message(self, *_: Any) -> None:
        """Be quiet."""

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving() -> Iterator[Registry]:
    """Run a registry for the block."""
    with Registry() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def registry() -> Iterator[Registry]:
    """Give a registry."""
    with serving() as server:
        yield server


def see(reader: ValueReader, value: bytes | None) -> Seen:
    """Read one value."""
    return reader.see(RawRecord(Source("t", 0, 0), None, value, (), 0))


def test_avro_is_read_by_its_schema_which_is_asked_for_once(registry: Registry) -> None:
    """Whoever wrote it."""
    value = AvroWriter(SCHEMA, KNOWN).encode({"a": "x"})
    with ValueReader(registry.url) as reader:
        for _ in range(3):
            seen = see(reader, value)
            assert (seen.value, seen.problem, seen.schema_id) == ({"a": "x"}, None, KNOWN)
    assert registry.asked == [f"/schemas/ids/{KNOWN}"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(b'{"a": 1}', {"a": 1}), (b' \n{"a": 1}', {"a": 1}), (b"plain text", "plain text"), (b"", ""), (None, None)],
)
def test_other_values_are_what_they_look_like(registry: Registry, value: bytes | None, shown: Any) -> None:
    """JSON objects, text, nothing; the registry is not asked."""
    with ValueReader(registry.url) as reader:
        seen = see(reader, value)
    assert (seen.value, seen.problem, registry.asked) == (shown, None, [])


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (b"\x00" + UNKNOWN.to_bytes(4) + b"x", "no schema 8"),
        (AvroWriter(SCHEMA, KNOWN).encode({"a": "x"}) + b"y", "1 byte are left"),
        (b"\x00\x01", "at least 5 bytes"),
        (b'{"a": 1', "not a JSON event"),
        (b"\xff\xfe", "neither framed Avro nor UTF-8 text"),
    ],
)
def test_what_can_not_be_decoded_says_why(registry: Registry, value: bytes, problem: str) -> None:
    """And is no value."""
    with ValueReader(registry.url) as reader:
        seen = see(reader, value)
    assert seen.value is None
    assert problem in (seen.problem or "")


def test_a_registry_that_is_away_is_not_asked_for_every_record(registry: Registry) -> None:
    """A thousand records must not wait for a thousand time-outs."""
    registry.broken = True
    value = AvroWriter(SCHEMA, KNOWN).encode({"a": "x"})
    with ValueReader(registry.url) as reader:
        problems = {see(reader, value).problem for _ in range(5)}
    assert len(registry.asked) == 1
    assert len(problems) == 1
    assert "503" in str(problems)


@given(values=st.lists(st.binary(max_size=40), max_size=5))
def test_no_bytes_stop_the_reading(values: list[bytes]) -> None:
    """Any bytes give a value or a reason."""
    with ValueReader("http://127.0.0.1:9") as reader:
        for value in values:
            seen = see(reader, value)
            assert (seen.value is None) == (seen.problem is not None)


class Message:
    """A consumed message of which only the headers can't be read."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def headers(self) -> Any:
        """Fail as confluent-kafka does for a name in invalid UTF-8."""
        raise self._error

    def topic(self) -> str:
        """Return a topic."""
        return "t"

    def partition(self) -> int:
        """Return a partition."""
        return 0

    def offset(self) -> int:
        """Return an offset."""
        return 5

    def key(self) -> bytes | None:
        """Return no key."""
        return None

    def value(self) -> bytes:
        """Return a value."""
        return b"v"

    def timestamp(self) -> tuple[int, int]:
        """Return a time."""
        return (1, 1000)


@pytest.mark.parametrize("error", [SystemError("no"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no")])
def test_headers_in_invalid_utf8_hide_no_record(error: Exception) -> None:
    """The record is shown, and that its headers are not (case 81)."""
    record = raw_record(Message(error))
    assert (record.value, record.headers) == (b"v", ((HEADERS_UNREADABLE, None),))
