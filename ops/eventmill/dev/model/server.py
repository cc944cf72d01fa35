"""The stand-in as a server on the loopback interface: `/v1/chat/completions`, `/v1/models`, `/healthz`, `/_ledger`."""

import asyncio
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson
from aiohttp import web

from eventmill.dev.model.completions import (
    MESSAGES,
    Asked,
    BadRequest,
    completion,
    error,
    error_headers,
    parse,
    write,
)
from eventmill.dev.model.faults import Fate, Fates, Outcome, marked_outcome
from eventmill.dev.model.ledger import Entry, Ledger
from eventmill_schemas.errors import SetupError

HOST = "127.0.0.1"
MARK = "x-eventmill-stand-in"   # in every answer's headers

_LARGEST_REQUEST = 64 << 20
_BACKLOG = 4096     # connections that may wait while a thousand are opened at once
_UNKNOWN = "unknown"   # the model of a request that can't be read


class StandIn:
    """A stand-in for model providers. Use it as `async with StandIn() as model`, or start and stop it.

    `ledger` is a file that keeps the account of calls beyond the server's life. Port 0 takes a free one.
    """

    def __init__(self, fates: Fates | None = None, *, ledger: Path | None = None, port: int = 0) -> None:
        self.ledger = Ledger(ledger)
        self.in_flight = 0
        self.max_in_flight = 0
        self._fates = fates or Fates()
        self._port = port
        # How often a text came before. Counted only where it decides something: it takes about 150 bytes for each.
        self._attempts: Counter[bytes] = Counter(entry.digest for entry in self.ledger.entries())
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The server's address; clients use `base_url`."""
        return f"http://{HOST}:{self._port}"

    @property
    def base_url(self) -> str:
        """What OPENAI_BASE_URL is set to."""
        return f"{self.url}/v1"

    async def start(self) -> None:
        """Listen. Raises SetupError if the port is taken."""
        app = web.Application(client_max_size=_LARGEST_REQUEST)
        app.router.add_route("*", "/v1/chat/completions", self._complete)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/_ledger", self._show_ledger)
        app.router.add_delete("/_ledger", self._reset_ledger)
        app.router.add_route("*", "/{path:.*}", self._not_found)
        # A handler whose client has gone is cancelled: the calls that are never answered would pile up else.
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, self._port, backlog=_BACKLOG).start()
        except OSError as problem:
            await runner.cleanup()
            raise SetupError(
                f"Port {self._port} of {HOST} can't be used ({problem.strerror})", remedy="Name another one with --port"
            ) from None
        self._runner = runner
        self._port = int(runner.addresses[0][1])

    async def stop(self) -> None:
        """Close the port and all connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self.ledger.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            return await self._answer(request)
        finally:
            self.in_flight -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.method != "POST":
            return _json(error(405, f"Not allowed to {request.method} on {request.path}"), 405)
        model, digest = _UNKNOWN, bytes(32)
        try:
            asked = parse(await request.read())
            model, digest = asked.model, asked.digest
            fate = self._fate(asked)
            written = write(asked, fate.outcome) if fate.outcome.status is None else None
        except BadRequest as problem:
            self.ledger.add(Entry(time.time(), model, digest, False, Outcome.BAD_REQUEST, 0, 0))
            return _json(error(400, str(problem)), 400)
        if written is None:
            return await self._fail(asked, fate)
        outcome = Outcome.TRUNCATED if written.finish == "length" else fate.outcome
        # Counted on arrival: who works for a request is not stopped by a client that goes away.
        self.ledger.add(Entry(time.time(), model, digest, True, outcome, asked.prompt_tokens, written.tokens))
        number = len(self.ledger)
        body = completion(asked, written, number, int(time.time()))
        await asyncio.sleep(fate.seconds)
        if outcome is Outcome.TIMEOUT:
            await asyncio.get_running_loop().create_future()   # ends when the client goes away
        if outcome is Outcome.RESET:
            return await _break_off(request, body)
        return _json(body, headers={"x-request-id": f"req-stand-in-{number}"})

    def _fate(self, asked: Asked) -> Fate:
        marked = marked_outcome(asked.user)
        attempt = 1
        if marked is not None or self._fates.errors.rates:
            self._attempts[asked.digest] += 1
            attempt = self._attempts[asked.digest]
        return self._fates.decide(asked.digest, attempt, marked)

    async def _fail(self, asked: Asked, fate: Fate) -> web.Response:
        self.ledger.add(Entry(time.time(), asked.model, asked.digest, False, fate.outcome, 0, 0))
        status = fate.outcome.status or 500
        if status >= 500:   # a server that breaks has worked before; one that refuses says so at once
            await asyncio.sleep(fate.seconds)
        return _json(error(status, MESSAGES[status]), status, error_headers(status))

    async def _models(self, request: web.Request) -> web.Response:
        by_model = self.ledger.report()["by_model"]
        names = ["eventmill-stand-in", *(name for name, counts in by_model.items() if counts["served"])]
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "eventmill-stand-in"} for name in names]
        return _json(orjson.dumps({"object": "list", "data": models}))

    async def _health(self, request: web.Request) -> web.Response:
        return _json(orjson.dumps({"status": "ok", "stand_in": True}))

    async def _show_ledger(self, request: web.Request) -> web.Response:
        report = self.ledger.report(entries=request.query.get("entries") == "1")
        flight = {"in_flight": self.in_flight, "max_in_flight": self.max_in_flight}
        return _json(orjson.dumps({**report, **flight}))

    async def _reset_ledger(self, request: web.Request) -> web.Response:
        self.ledger.reset()
        self._attempts.clear()
        self.max_in_flight = self.in_flight
        return web.Response(status=204, headers={MARK: "1"})

    async def _not_found(self, request: web.Request) -> web.Response:
        return _json(error(404, f"Unknown request URL: {request.method} {request.path}"), 404)


def _json(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=body, status=status, headers={**(headers or {}), MARK: "1", "content-type": "application/json"}
    )


async def _break_off(request: web.Request, body: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={MARK: "1", "content-length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.abort()
    return response
