"""How the registry's client behaves when the registry misbehaves, against a small HTTP peer."""

import asyncio
import json
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from eventmill_connectors.registry import Registered, SchemaRegistry
from eventmill_schemas.errors import RegistryUnreachable, SetupError, Undecodable

SCHEMA = json.dumps({"type": "record", "name": "E", "fields": [{"name": "a", "type": "string"}]})
PAYLOAD = b"\x02x"

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def error(status: int, code: int | None, message: str = "no") -> web.Response:
    """Answer as a registry does when it refuses."""
    return web.json_response({"error_code": code, "message": message}, status=status)


@dataclass
class Peer:
    """A registry whose answers a test decides. `requests` holds what it was asked."""

    url: str
    answer: Answer = field(init=False)
    requests: list[str] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Begin as a registry that works."""
        self.answer = self.with_schema

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Note the request and give the test's answer."""
        self.requests.append(f"{request.method} {request.path}")
        self.arrived.set()
        return await self.answer(request)

    async def with_schema(self, _: web.Request) -> web.StreamResponse:
        """Answer any question for a schema."""
        return web.json_response({"schema": SCHEMA})

    async def held(self, request: web.Request) -> web.StreamResponse:
        """Answer when the test says so."""
        await self.release.wait()
        return await self.with_schema(request)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    """Serve on a free port of the loopback interface."""
    app = web.Application()
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    peer = Peer("")
    app.router.add_route("*", "/{tail:.*}", peer.handle)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    peer.url = f"http://{host}:{port}"
    yield peer
    peer.release.set()
    await runner.cleanup()


@pytest.fixture
async def registry(peer: Peer) -> AsyncIterator[SchemaRegistry]:
    """Give a client with a short deadline."""
    registry = SchemaRegistry(peer.url, deadline=2)
    yield registry
    await registry.close()


def answering(make: Callable[[], web.StreamResponse]) -> Answer:
    """Answer everything with a new response of one kind."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return make()

    return answer


async def test_a_schema_is_asked_for_once(peer: Peer, registry: SchemaRegistry) -> None:
    """An id means the same for ever: the second question is answered from memory."""
    assert registry.known(7) is None
    reader = await registry.schema(7)
    assert reader.decode(PAYLOAD) == {"a": "x"}
    assert await registry.schema(7) is reader
    assert registry.known(7) is reader
    assert peer.requests == ["GET /schemas/ids/7"]


async def test_a_thousand_who_wait_make_one_request(peer: Peer, registry: SchemaRegistry) -> None:
    """However many events of one schema arrive at once, one lookup is in flight (case 79)."""
    peer.answer = peer.held
    waiting = [asyncio.create_task(registry.schema(7)) for _ in range(1000)]
    await peer.arrived.wait()
    peer.release.set()
    readers = await asyncio.gather(*waiting)
    assert len({id(reader) for reader in readers}) == 1
    assert len(peer.requests) == 1


async def test_the_first_who_gives_up_does_not_take_the_others_along(peer: Peer, registry: SchemaRegistry) -> None:
    """Cancelling whoever asked first leaves the lookup to those who still wait."""
    peer.answer = peer.held
    first = asyncio.create_task(registry.schema(7))
    await peer.arrived.wait()
    others = [asyncio.create_task(registry.schema(7)) for _ in range(10)]
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    peer.release.set()
    for reader in await asyncio.gather(*others):
        assert reader.decode(PAYLOAD) == {"a": "x"}
    assert len(peer.requests) == 1


async def test_all_who_wait_get_their_own_error(peer: Peer, registry: SchemaRegistry) -> None:
    """A failure reaches everybody, and the next question asks again."""
    peer.answer = answering(lambda: error(500, 50001))
    waiting = [asyncio.create_task(registry.schema(7)) for _ in range(5)]
    errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(problem, RegistryUnreachable) for problem in errors)
    assert len({id(problem) for problem in errors}) == 5
    peer.answer = peer.with_schema
    assert (await registry.schema(7)).decode(PAYLOAD) == {"a": "x"}
    assert len(peer.requests) == 2


async def test_a_clean_404_is_the_events_fault(peer: Peer, registry: SchemaRegistry) -> None:
    """The registry says that there is no such schema: a dead letter, and the door stays open."""
    peer.answer = answering(lambda: error(404, 40403, "Schema 7 not found."))
    with pytest.raises(Undecodable, match="no schema 7"):
        await registry.schema(7)


def html(status: int) -> web.StreamResponse:
    """Answer as a proxy does."""
    return web.Response(text="<html>sign in</html>", content_type="text/html", status=status)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: error(500, 50001), id="500"),
        pytest.param(lambda: error(503, None), id="503"),
        pytest.param(lambda: error(429, 42900), id="429"),
        pytest.param(lambda: error(401, 40101), id="401"),
        pytest.param(lambda: error(403, 40301), id="403"),
        pytest.param(lambda: error(404, 404, "HTTP 404 Not Found"), id="404-of-a-wrong-path"),
        pytest.param(lambda: error(404, None), id="404-without-code"),
        pytest.param(lambda: html(404), id="404-html"),
        pytest.param(lambda: html(200), id="200-html"),
        pytest.param(lambda: html(500), id="500-html"),
        pytest.param(lambda: web.Response(status=200), id="200-empty"),
        pytest.param(lambda: web.json_response([1]), id="200-list"),
        pytest.param(lambda: web.json_response({"version": 1}), id="200-without-schema"),
        pytest.param(lambda: web.json_response({"schema": 5, "id": "x"}), id="200-schema-is-a-number"),
        pytest.param(lambda: web.Response(body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"}), id="200-bad-gzip"),
        pytest.param(lambda: web.HTTPFound("/elsewhere"), id="302"),
    ],
)
async def test_every_other_failure_is_the_registrys(
    make: Callable[[], web.StreamResponse], peer: Peer, registry: SchemaRegistry
) -> None:
    """No event and no schema is to blame: the door closes, nothing becomes a dead letter; nothing is retried here."""
    peer.answer = answering(make)
    questions = (registry.schema(7), registry.latest("s"), registry.registered_id("s", SCHEMA))
    for asked, question in enumerate(questions, start=1):
        with pytest.raises(RegistryUnreachable) as raised:
            await question
        assert peer.url in raised.value.message
        assert "kafka.registry" in (raised.value.remedy or "")
        assert len(peer.requests) == asked
    assert registry.known(7) is None


async def test_a_broken_reference_is_no_unexpected_error(peer: Peer, registry: SchemaRegistry) -> None:
    """A half answer about a schema that another one uses closes the door too."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/schemas/"):
            references = [{"name": "In", "subject": "in-value", "version": 2}]
            return web.json_response({"schema": SCHEMA, "references": references})
        return web.json_response({"subject": "in-value"})

    peer.answer = answer
    with pytest.raises(RegistryUnreachable):
        await registry.schema(7)


async def test_a_registry_that_hangs_is_given_up_at_the_deadline(peer: Peer) -> None:
    """Silence ends: the question is asked again later, from the door."""
    peer.answer = peer.held
    registry = SchemaRegistry(peer.url, deadline=0.3)
    started = time.monotonic()
    with pytest.raises(RegistryUnreachable):
        await registry.schema(7)
    assert 0.25 < time.monotonic() - started < 5
    await registry.close()


async def test_an_answer_that_drips_is_given_up_at_the_deadline(peer: Peer) -> None:
    """A byte now and then resets a client's read timeout, not the deadline."""

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        while not peer.release.is_set():
            await response.write(b" ")
            try:
                await asyncio.wait_for(peer.release.wait(), 0.05)
            except TimeoutError:
                continue
        return response

    peer.answer = drip
    registry = SchemaRegistry(peer.url, deadline=0.3)
    with pytest.raises(RegistryUnreachable, match=r"no answer within 0\.3 s"):
        await registry.schema(7)
    await registry.close()


async def test_nobody_listening_is_unreachable(unused_tcp_port: int) -> None:
    """A refused connection closes the door, and the address is in the message without its password."""
    registry = SchemaRegistry(f"http://user:secret@127.0.0.1:{unused_tcp_port}/apis", deadline=2)
    for question in (registry.schema(7), registry.latest("s"), registry.register("s", SCHEMA)):
        with pytest.raises(RegistryUnreachable) as raised:
            await question
        assert f"http://127.0.0.1:{unused_tcp_port}/apis" in raised.value.message
        assert "secret" not in str(raised.value) + repr(raised.value)
    await registry.close()


async def test_the_second_address_is_tried_when_the_first_is_away(peer: Peer, unused_tcp_port: int) -> None:
    """Several addresses may be given, parted by commas."""
    registry = SchemaRegistry(f"http://127.0.0.1:{unused_tcp_port},{peer.url}", deadline=2)
    assert (await registry.schema(7)).decode(PAYLOAD) == {"a": "x"}
    await registry.close()


@pytest.mark.parametrize("schema_id", [1 << 31, (1 << 32) - 1])
async def test_a_number_that_is_no_id_is_not_asked_for(schema_id: int, peer: Peer, registry: SchemaRegistry) -> None:
    """Ids are 31 bits: garbage with the right first byte must not close the door, whatever a registry says to it."""
    peer.answer = answering(lambda: html(500))
    with pytest.raises(Undecodable, match=str(schema_id)):
        await registry.schema(schema_id)
    assert peer.requests == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"schema": "syntax = ...", "schemaType": "PROTOBUF"}, "schema 7 is PROTOBUF, not AVRO"),
        ({"schema": "{}"}, "schema 7 is not a valid Avro schema"),
        ({"schema": '"string"'}, "schema 7 describes a string"),
    ],
)
async def test_a_schema_that_is_no_records_is_the_events_fault(
    body: dict[str, str], message: str, peer: Peer, registry: SchemaRegistry
) -> None:
    """The registry works; what the record refers to can't be an event."""
    peer.answer = answering(lambda: web.json_response(body))
    with pytest.raises(Undecodable, match=message):
        await registry.schema(7)


async def test_references_are_fetched_too(peer: Peer, registry: SchemaRegistry) -> None:
    """A schema that uses another one's types is read with them."""
    inner = {"type": "record", "name": "In", "fields": [{"name": "n", "type": "int"}]}
    outer = {"type": "record", "name": "Out", "fields": [{"name": "in", "type": "In"}]}

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/schemas/"):
            reference = {"name": "In", "subject": "in-value", "version": 2}
            return web.json_response({"schema": json.dumps(outer), "references": [reference, reference]})
        return web.json_response({"subject": "in-value", "version": 2, "id": 3, "schema": json.dumps(inner)})

    peer.answer = answer
    reader = await registry.schema(7)
    assert reader.decode(b"\x04") == {"in": {"n": 2}}
    assert peer.requests == ["GET /schemas/ids/7", "GET /subjects/in-value/versions/2"]


async def test_certificates_are_not_loaded_on_the_event_loop(
    peer: Peer, registry: SchemaRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening the client reads files for tens of milliseconds: it happens in another thread, once."""
    loaded_by: list[int] = []
    load = ssl.create_default_context

    def noting(*args: Any, **options: Any) -> ssl.SSLContext:
        loaded_by.append(threading.get_ident())
        return load(*args, **options)

    monkeypatch.setattr(ssl, "create_default_context", noting)
    await asyncio.gather(registry.schema(7), registry.schema(8))
    assert len(loaded_by) == 1
    assert loaded_by[0] != threading.get_ident()


async def test_setup_questions_say_what_the_registry_said(peer: Peer, registry: SchemaRegistry) -> None:
    """A refusal is a mistake in the set-up, with the registry's reason and without its Java class."""
    reason = "io.apicurio.RuleViolationException: Incompatible artifact: a at /fields/0"
    peer.answer = answering(lambda: error(409, 409, reason))
    with pytest.raises(SetupError, match="refuses the schema of s-value: Incompatible artifact: a at /fields/0"):
        await registry.register("s-value", SCHEMA)
    peer.answer = answering(lambda: error(422, 42203, "Invalid compatibility level: X"))
    with pytest.raises(SetupError, match="refuses the level X for s-value"):
        await registry.set_compatibility("s-value", "X")


async def test_nothing_is_cached_that_others_can_change(peer: Peer, registry: SchemaRegistry) -> None:
    """What is latest, and whether something is registered, is asked every time."""
    version = 0

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"subject": "s", "version": version, "id": version, "schema": SCHEMA})

    peer.answer = answer
    for version in (1, 2):
        assert await registry.latest("s") == Registered(version, version, SCHEMA)
        assert await registry.registered_id("s", SCHEMA) == version
        assert await registry.register("s", SCHEMA) == version


async def test_all_versions_of_a_subject_come_in_their_order(peer: Peer, registry: SchemaRegistry) -> None:
    """However the registry lists them; a subject that it does not know has none."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/versions"):
            return web.json_response([3, 1])
        version = int(request.path.rpartition("/")[2])
        return web.json_response({"subject": "s", "version": version, "id": 10 + version, "schema": SCHEMA})

    peer.answer = answer
    assert await registry.versions("s") == [Registered(11, 1, SCHEMA), Registered(13, 3, SCHEMA)]
    peer.answer = answering(lambda: error(404, 40401))
    assert await registry.versions("s") == []
    peer.answer = answering(lambda: error(500, 50001))
    with pytest.raises(RegistryUnreachable):
        await registry.versions("s")


async def test_wrong_settings_are_a_mistake_of_the_user() -> None:
    """They are no outage: nobody waits for them at a door."""
    registry = SchemaRegistry("http://127.0.0.1:1", {"no.such.setting": "x"})
    for question in (registry.schema(7), registry.latest("s")):
        with pytest.raises(SetupError, match=r"no\.such\.setting"):
            await question
    await registry.close()


async def test_closing_ends_lookups_in_flight(peer: Peer) -> None:
    """Closing waits for no answer, and nothing keeps running behind a closed registry."""
    peer.answer = peer.held
    registry = SchemaRegistry(peer.url, deadline=600)
    waiting = asyncio.create_task(registry.schema(7))
    await peer.arrived.wait()
    async with asyncio.timeout(30):
        await registry.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting
