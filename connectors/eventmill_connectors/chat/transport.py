"""One HTTP exchange with a model's server: a total deadline, a size limit, and whether anything was sent.

The seam is httpx's transport interface, served by one aiohttp connection pool. `httpx.AsyncClient` is left out on
purpose: what it adds over a transport (redirects, cookies, proxies from the environment) must not happen to a request
that carries a key, and it doubles the CPU time of a call. aiohttp's pool costs the same at 5 and at 500 in flight.
"""

import asyncio
import io
import os
import ssl
from collections.abc import AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, cast

import aiohttp
import certifi
import httpx
import yarl
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from multidict import CIMultiDict

from eventmill_schemas.errors import Ambiguous, ModelUnreachable, Overloaded

# Seconds that an idle connection is kept: below the 5 s after which common servers (uvicorn, node) close theirs.
# A request on a connection that is just being closed is lost without our knowing whether it was served.
KEEP_ALIVE = 4.0

# The key among a request's extensions under which a transport says whether the request has a connection: from there on
# something may have been sent. A transport that doesn't say is taken to have sent everything.
SENT = "eventmill.sent"

_LARGE_BODY = 1 << 20    # aiohttp writes a larger body in pieces only if it comes as a file
_QUOTED = 120            # characters of a broken response that are shown
_HEADER_LIMIT = 64 << 10   # bytes of one header line; aiohttp's own 8 KiB is less than some gateways send


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """How to talk to a server. `connections` None: as many as there are calls in flight."""

    connections: int | None = None
    connect_timeout: float = 10.0       # seconds for one attempt to connect, TLS included
    reply_limit: int = 8 << 20          # bytes of one reply after decompression


class Answer(NamedTuple):
    """One HTTP response, read to its end."""

    status: int
    headers: httpx.Headers
    body: bytes
    server: str = "The model's server"   # as messages name it


async def post(
    transport: httpx.AsyncBaseTransport,
    request: httpx.Request,
    *,
    timeout: float,  # noqa: ASYNC109 - the deadline is a part of the port, and ends in errors of our tree
    settings: HttpSettings,
) -> Answer:
    """Send `request` once and read the answer, whatever its status.

    Guarantees: ends within `timeout` seconds; at most `settings.reply_limit` bytes are kept.
    Raises: ModelUnreachable (no connection, so nothing was sent), Overloaded (no time was left to send it),
    Ambiguous (sent, and no whole answer came back). None of them holds the request or its headers.
    """
    if timeout <= 0:
        raise Overloaded("No time was left for this attempt: nothing was sent")
    place = request.url.netloc.decode()
    try:
        async with asyncio.timeout(timeout):
            response = await transport.handle_async_request(request)
            try:
                body = await _body(response, settings.reply_limit)
            finally:
                await response.aclose()
        return Answer(response.status_code, response.headers, body, place)
    except TimeoutError:
        failure: ModelUnreachable | Ambiguous = Ambiguous(f"{place} gave no answer within {timeout:g} s")
        if not request.extensions.get(SENT, True):
            failure = ModelUnreachable(f"No connection to {place} within {timeout:g} s")
    except httpx.ConnectTimeout:
        failure = ModelUnreachable(f"No connection to {place} within {settings.connect_timeout:g} s")
    except httpx.ConnectError as error:
        failure = ModelUnreachable(f"No connection to {place}: {error}")
    except httpx.DecodingError:
        failure = Ambiguous(f"{place} sent a reply whose compression is broken")
    except _TooLarge:
        failure = Ambiguous(f"{place} sent more than {settings.reply_limit} bytes")
    except httpx.TransportError as error:
        failure = Ambiguous(f"The exchange with {place} broke off: {error}")
    # Raised outside of the handlers, so that no error of a library, which may hold the headers, hangs on ours.
    raise failure


class _TooLarge(Exception):
    """The reply is larger than the limit."""


async def _body(response: httpx.Response, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    compressed = "content-encoding" in response.headers
    source = response.aiter_bytes() if compressed else cast(httpx.AsyncByteStream, response.stream)
    async for piece in source:
        size += len(piece)
        if size > limit:
            raise _TooLarge
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class AiohttpTransport(httpx.AsyncBaseTransport):
    """httpx's transport interface over one aiohttp pool: HTTP/1.1, keep-alive, no cookies, no proxy, no redirects.

    Guarantees: httpx.ConnectError and ConnectTimeout mean that nothing was sent; every other httpx.TransportError
    that something may have been; for a request that is cancelled its extension SENT says it. Knows no deadline but
    that for one attempt to connect. Bound to the event loop of its first request.
    """

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_timeout)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request; return when the response's headers are there, its body still to be read."""
        session = self._session or self._open(request.url.scheme)
        body = request.content
        request.extensions[SENT] = False
        _asking.set(request)
        try:
            response = await session.request(
                request.method,
                yarl.URL(str(request.url), encoded=True),
                headers=CIMultiDict(request.headers.multi_items()),
                data=io.BytesIO(body) if len(body) > _LARGE_BODY else body,
                allow_redirects=False,
                timeout=self._timeout,
            )
        except (aiohttp.ClientError, OSError) as error:
            failure = _as_httpx(error)
        else:
            return httpx.Response(response.status, headers=response.raw_headers, stream=_Body(response))
        raise failure

    async def aclose(self) -> None:
        """Close all connections. Requests in flight fail."""
        if self._session is not None:
            await self._session.close()

    def _open(self, scheme: str) -> aiohttp.ClientSession:
        connector = _Connector(
            limit=self._settings.connections or 0,   # aiohttp's 0 is "no limit"
            keepalive_timeout=KEEP_ALIVE,
            ssl=tls_context() if scheme == "https" else True,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            max_line_size=_HEADER_LIMIT,
            max_field_size=_HEADER_LIMIT,
        )
        return self._session


_asking: ContextVar[httpx.Request] = ContextVar("asking")   # the request that waits for a connection in this task


class _Connector(aiohttp.TCPConnector):
    """Notes when a request gets its connection, and gives out none on which the server has spoken unasked.

    What it said (a second copy of an answer, a notice about an idle connection) would be taken for the reply to the
    next request: one event would get another's answer.
    """

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
    ) -> Connection:
        """Return a new connection, or a kept one on which nothing is left to read."""
        while True:
            connection = await super().connect(req, traces, timeout)
            if connection.protocol is None or not connection.protocol.should_close:
                _asking.get().extensions[SENT] = True
                return connection
            connection.close()


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while piece := await self._response.content.readany():
                yield piece
        except (aiohttp.ClientError, OSError) as error:
            failure = _as_httpx(error)
        else:
            return
        raise failure

    async def aclose(self) -> None:
        self._response.release()   # closes the connection unless the body was read to its end


def _as_httpx(error: aiohttp.ClientError | OSError) -> httpx.TransportError:
    match error:
        case aiohttp.ConnectionTimeoutError():
            mapped: httpx.TransportError = httpx.ConnectTimeout("timeout")
        case aiohttp.ClientConnectorCertificateError():
            mapped = httpx.ConnectError(str(error.certificate_error))
        case aiohttp.ClientConnectorError():   # DNS and TLS included; nothing was sent
            mapped = httpx.ConnectError(error.os_error.strerror or str(error.os_error))
        case aiohttp.ClientResponseError():
            said = " ".join(error.message.split())   # quotes what the server sent, on several lines
            mapped = httpx.RemoteProtocolError(f"not a valid HTTP response ({said[:_QUOTED]})")
        case aiohttp.ClientPayloadError():
            mapped = httpx.RemoteProtocolError("the reply ended before its announced end")
        case _:
            mapped = httpx.ReadError("the server closed the connection")
    return mapped


@lru_cache(maxsize=1)
def tls_context() -> ssl.SSLContext:
    """Return the one TLS context of the process: building it takes about 15 ms and half a megabyte.

    It trusts the certificates in the file named by SSL_CERT_FILE, else those of certifi.
    """
    return ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE") or certifi.where())
