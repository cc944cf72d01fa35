"""One exchange ends in time, within its size, and says rightly whether anything was sent."""

import asyncio
import gzip
import socket
import time
import zlib
from collections.abc import Awaitable, Callable

import orjson
import pytest

from eventmill_connectors.chat.clients import ChatClients
from eventmill_connectors.chat.transport import HttpSettings
from eventmill_schemas.chat import ChatReply, ChatRequest, Finish
from eventmill_schemas.errors import AccountClosed, Ambiguous, ModelUnreachable, Overloaded
from eventmill_schemas.pipeline import ModelRef
from http_peer import Peer, close, cut, http, reset, silence

Ask = Callable[..., Awaitable[ChatReply]]

SHORT = 0.3   # seconds: a deadline that a test waits for


def completion(text: str = "hi") -> bytes:
    """Make a good answer's body."""
    message = {"role": "assistant", "content": text}
    return orjson.dumps({"choices": [{"message": message, "finish_reason": "stop"}]})


GOOD = completion()


async def test_a_connection_is_used_again(peer: Peer, ask: Ask) -> None:
    """One request after the other takes one connection; a parallel one takes its own."""
    peer.answer(GOOD)
    for _ in range(3):
        assert (await ask()).text == "hi"
    assert peer.connections == 1
    await asyncio.gather(ask(), ask())
    assert peer.connections == 2


async def test_case_12_a_body_longer_than_announced_is_not_mixed_into_the_next_reply(peer: Peer, ask: Ask) -> None:
    """Bytes behind the announced end make the reply broken, or close the connection: no later call ever sees them."""
    smuggled = http(completion("for somebody else"))
    peer.play(http(GOOD) + smuggled, http(completion("mine")))
    first = await asyncio.gather(ask(), return_exceptions=True)
    assert isinstance(first[0], Ambiguous) or first[0].text == "hi"
    for _ in range(3):
        assert (await ask()).text == "mine"


STALE = http(completion("for somebody else"))


@pytest.mark.parametrize("length", [1, 20, len(STALE) - 5, len(STALE)])
async def test_case_12_what_a_server_says_unasked_is_not_taken_for_the_next_reply(
    peer: Peer, ask: Ask, length: int
) -> None:
    """A second answer that comes when nobody waits, whole or in parts, puts no words into the next call."""
    said = asyncio.Event()

    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http(GOOD))
        await writer.drain()
        asyncio.get_running_loop().call_later(0.02, writer.write, STALE[:length])
        asyncio.get_running_loop().call_later(0.04, said.set)

    async def the_rest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if peer.received[-1].connection == 1:
            writer.write(STALE[length:])
        writer.write(http(completion("mine")))

    peer.play(twice, the_rest)
    assert (await ask()).text == "hi"
    await said.wait()
    (second,) = await asyncio.gather(ask(), return_exceptions=True)
    assert isinstance(second, Ambiguous) or second.text == "mine"
    assert (await ask()).text == "mine"


@pytest.mark.parametrize("claimed", [0, 1, len(GOOD) - 1])
async def test_case_12_a_shorter_content_length_is_never_a_reply(peer: Peer, ask: Ask, claimed: int) -> None:
    """What lies inside of the announced length is no whole JSON: ambiguous."""
    peer.play(cut(http(GOOD, length=claimed)))
    with pytest.raises(Ambiguous):
        await ask()


@pytest.mark.parametrize("claimed", [len(GOOD) + 1, 10**12])
async def test_case_12_a_longer_content_length_is_never_a_reply(peer: Peer, ask: Ask, claimed: int) -> None:
    """Whole JSON in a body that ends before its announced end is not trusted."""
    peer.play(cut(http(GOOD, length=claimed)))
    with pytest.raises(Ambiguous, match="ended before"):
        await ask()


@pytest.mark.parametrize(
    "scene",
    [close, reset, cut(b"HTTP/1.1 200"), cut(b"HTTP/1.1 200 OK\r\ncontent-le"), cut(http(GOOD)[:-3])],
    ids=["close", "reset", "in the status line", "in the headers", "in the body"],
)
async def test_case_13_a_broken_connection_is_ambiguous(peer: Peer, ask: Ask, scene: object) -> None:
    """After the request was sent nobody knows; the connection is not used again, and the next call works."""
    peer.play(scene, http(GOOD))  # type: ignore[arg-type] # scenes of both kinds
    with pytest.raises(Ambiguous):
        await ask()
    assert len(peer.received) == 1   # sent once: nothing below repeats a request on its own
    assert (await ask()).text == "hi"
    assert peer.received[1].connection == 2


async def test_case_13_a_reset_of_a_kept_connection_is_ambiguous(peer: Peer, ask: Ask) -> None:
    """A server that closes a kept connection while we send may have seen the request: it is not silently repeated."""
    peer.play(http(GOOD), close)
    await ask()
    with pytest.raises(Ambiguous):
        await ask()
    assert [request.connection for request in peer.received] == [1, 1]


async def test_case_13_a_broken_chunked_body_is_ambiguous(peer: Peer, ask: Ask) -> None:
    """Chunks that end without the last one, or with nonsense for a length, are no reply."""
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    for rest in (b"%x\r\n" % len(GOOD) + GOOD + b"\r\n", b"zz\r\n" + GOOD):
        peer.play(cut(head + rest))
        with pytest.raises(Ambiguous):
            await ask()
    peer.play(head + b"%x\r\n" % len(GOOD) + GOOD + b"\r\n0\r\n\r\n")
    assert (await ask()).text == "hi"


async def test_case_14_a_byte_now_and_then_does_not_extend_the_deadline(peer: Peer, ask: Ask) -> None:
    """However lively the connection is, the call ends at its deadline."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b"", length=10_000))
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    peer.play(drip)
    start = time.monotonic()
    with pytest.raises(Ambiguous, match=r"no answer within 0\.3 s"):
        await ask(timeout=SHORT)
    assert SHORT <= time.monotonic() - start < SHORT + 2


async def test_case_15_silence_after_sending_is_ambiguous(peer: Peer, ask: Ask) -> None:
    """Headers that never come end the call at its deadline, as one that may be billed."""
    peer.play(silence)
    with pytest.raises(Ambiguous, match="no answer within"):
        await ask(timeout=SHORT)
    assert len(peer.received) == 1


async def test_case_15_a_connection_that_never_stands_means_that_nothing_was_sent() -> None:
    """A full backlog swallows the connection request: at the connect timeout, or at the deadline, nothing was sent."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    port = listener.getsockname()[1]
    queued = [socket.socket() for _ in range(4)]   # more than the backlog takes
    for one in queued:
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", port))
    model = ModelRef("openai", "m", f"http://127.0.0.1:{port}")
    try:
        for settings, timeout in ((HttpSettings(connect_timeout=SHORT), 30), (HttpSettings(connect_timeout=30), SHORT)):
            async with ChatClients(settings, environ={}) as clients:
                start = time.monotonic()
                with pytest.raises(ModelUnreachable, match=f"No connection to 127.0.0.1:{port} within"):
                    await clients.complete(model, ChatRequest("", "x"), timeout)
                assert time.monotonic() - start < SHORT + 2
    finally:
        for one in (*queued, listener):
            one.close()


async def test_case_15_a_closed_port_means_that_nothing_was_sent() -> None:
    """A refused connection says so, with the address."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    async with ChatClients(environ={}) as clients:
        with pytest.raises(ModelUnreachable, match=f"No connection to 127.0.0.1:{port}: "):
            await clients.complete(ModelRef("openai", "m", f"http://127.0.0.1:{port}"), ChatRequest("", "x"), 5)


async def test_case_20_a_name_that_is_not_found_means_that_nothing_was_sent() -> None:
    """`.invalid` never resolves (RFC 6761)."""
    async with ChatClients(environ={}) as clients:
        with pytest.raises(ModelUnreachable, match=r"nowhere\.invalid"):
            await clients.complete(ModelRef("openai", "m", "http://nowhere.invalid/v1"), ChatRequest("", "x"), 20)


async def test_case_20_a_server_without_tls_at_a_tls_address_means_that_nothing_was_sent(peer: Peer) -> None:
    """A handshake that fails is no connection: the key has not left."""
    peer.answer(GOOD)
    model = ModelRef("openai", "m", peer.base_url.replace("http:", "https:"))
    async with ChatClients(environ={"OPENAI_API_KEY": "sk-never-sent"}) as clients:
        with pytest.raises(ModelUnreachable):
            await clients.complete(model, ChatRequest("", "x"), SHORT)
    assert peer.received == []


async def test_case_20_proxy_settings_of_the_environment_are_ignored(
    peer: Peer, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call goes where the pipeline says, whatever HTTP_PROXY says."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    peer.answer(GOOD)
    assert (await ask()).text == "hi"


async def test_no_time_left_means_that_nothing_was_sent(peer: Peer, ask: Ask) -> None:
    """A deadline that has passed is no reason to send and pay."""
    peer.answer(GOOD)
    with pytest.raises(Overloaded, match="nothing was sent"):
        await ask(timeout=0)
    assert peer.received == []


async def test_case_16_a_body_beyond_the_limit_is_given_up(peer: Peer, ask: Ask) -> None:
    """Half a gigabyte is announced and sent without end: reading stops at the limit."""
    written = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(http(b"", length=500 << 20))
        while not writer.is_closing():
            writer.write(b" " * (1 << 16))
            await writer.drain()
            written += 1 << 16

    peer.play(flood)
    with pytest.raises(Ambiguous, match="more than 65536 bytes"):
        await ask()
    assert written < 64 << 20   # what the sockets' buffers hold, not what was announced


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_case_16_a_compressed_bomb_is_given_up(
    peer: Peer, ask: Ask, coding: str, pack: Callable[[bytes], bytes]
) -> None:
    """A small body that unfolds beyond the limit; one within it is read, though we asked for none."""
    peer.answer(pack(b" " * (8 << 20)), headers=f"content-encoding: {coding}\r\n")
    with pytest.raises(Ambiguous, match="more than 65536 bytes"):
        await ask()
    peer.answer(pack(GOOD), headers=f"content-encoding: {coding}\r\n")
    assert (await ask()).text == "hi"
    assert peer.received[-1].headers["accept-encoding"] == "identity"


async def test_case_16_a_broken_compression_is_ambiguous(peer: Peer, ask: Ask) -> None:
    """What says gzip and is not can't be read."""
    peer.answer(GOOD, headers="content-encoding: gzip\r\n")
    with pytest.raises(Ambiguous, match="compression"):
        await ask()


async def test_case_18_a_redirect_is_not_followed(peer: Peer, ask: Ask) -> None:
    """The key goes to no other host; the error says what to set."""
    elsewhere = Peer()
    await elsewhere.start()
    elsewhere.answer(GOOD)
    try:
        for status in ("301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"):
            peer.answer(b"", status, f"location: {elsewhere.base_url}\r\n")
            with pytest.raises(ModelUnreachable, match="`base_url`"):
                await ask()
        assert elsewhere.received == []
    finally:
        await elsewhere.stop()


async def test_case_22_odd_headers_are_no_reason_to_fail(peer: Peer, ask: Ask) -> None:
    """Repeated, huge and non-ASCII headers and strange rate limits come with a good reply, and are left alone."""
    odd = (
        "x-ratelimit-remaining-requests: -1\r\nx-ratelimit-reset-requests: 6m0s\r\nx-ratelimit-reset-tokens: soon\r\n"
        "x-request-id: one\r\nx-request-id: two\r\nset-cookie: a=b\r\nset-cookie: c=d\r\nx-name: J\xfcrgen\r\n"
        f"x-huge: {'h' * 40_000}\r\n"
    )
    peer.answer(GOOD, headers=odd)
    reply = await ask()
    assert reply.finish is Finish.OK
    assert reply.request_id == "one, two"


async def test_cookies_are_not_kept(peer: Peer) -> None:
    """What a server sets with one event's reply is not sent with another's request."""
    peer.answer(GOOD, headers="set-cookie: session=of-another-event; Path=/\r\n")
    model = ModelRef("openai", "m", peer.base_url.replace("127.0.0.1", "localhost"))   # addresses have no cookies
    async with ChatClients(environ={}) as clients:
        for _ in range(2):
            await clients.complete(model, ChatRequest("", "x"), 5)
    assert [request.headers.get("cookie") for request in peer.received] == [None, None]


async def test_case_22_headers_without_end_are_ambiguous(peer: Peer, ask: Ask) -> None:
    """A header line beyond any use is not collected for ever."""
    peer.play(cut(b"HTTP/1.1 200 OK\r\nx-huge: " + b"h" * (1 << 20)))
    with pytest.raises(Ambiguous):
        await ask()


async def test_a_cancelled_call_leaves_the_client_usable(peer: Peer, ask: Ask) -> None:
    """The connection of a call that was cancelled is closed, and its answer can't reach the next call."""
    arrived = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await asyncio.sleep(0.05)
        writer.write(http(completion("too late")))

    peer.play(slow, http(completion("mine")))
    call = asyncio.ensure_future(ask())
    await arrived.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await ask()).text == "mine"
    assert peer.received[1].connection == 2


async def test_a_request_of_megabytes_is_sent_whole(peer: Peer, ask: Ask) -> None:
    """A large event's text arrives to the last byte."""
    peer.answer(GOOD)
    text = "x" * (3 << 20)
    await ask(ChatRequest("", text))
    assert orjson.loads(peer.received[0].body)["messages"][0]["content"] == text


async def test_case_21_fewer_connections_than_calls_in_flight(peer: Peer) -> None:
    """Calls wait for a free connection as long as their deadline allows; none fails for having waited."""
    peer.answer(GOOD)
    async with ChatClients(HttpSettings(connections=2, connect_timeout=SHORT), environ={}) as clients:
        model = ModelRef("openai", "m", peer.base_url)
        replies = await asyncio.gather(*(clients.complete(model, ChatRequest("", "x"), 30) for _ in range(100)))
    assert len(replies) == 100
    assert peer.connections == 2


async def test_case_21_waiting_for_a_connection_until_the_deadline_means_that_nothing_was_sent(peer: Peer) -> None:
    """The call that got no connection may be repeated freely."""
    peer.play(silence)
    async with ChatClients(HttpSettings(connections=1), environ={}) as clients:
        model = ModelRef("openai", "m", peer.base_url)
        ends = await asyncio.gather(
            *(clients.complete(model, ChatRequest("", "x"), SHORT) for _ in range(2)), return_exceptions=True
        )
    assert [type(end) for end in ends] == [Ambiguous, ModelUnreachable]
    assert len(peer.received) == 1


@pytest.mark.parametrize("key", ["sk-test-0123456789abcdef", "gw_0123456789abcdef"])
async def test_no_error_holds_the_key(peer: Peer, key: str) -> None:
    """Neither message, repr, cause, context nor attributes of our errors lead to a key that a server echoes."""
    echo = orjson.dumps({"error": {"message": f"Incorrect API key provided: {key}, or sk-test*****cdef."}})
    scenes = [http(echo, "401 Unauthorized"), http(echo), close, cut(http(GOOD, length=10**6))]
    scenes += [cut(f"{key} garbage\r\n\r\n".encode()), cut(f"HTTP/1.1 {key} OK\r\n{key}\r\n\r\n".encode())]
    async with ChatClients(environ={"OPENAI_API_KEY": key}) as clients:
        for scene in scenes:
            peer.play(scene)
            with pytest.raises((AccountClosed, Ambiguous)) as caught:
                await clients.complete(ModelRef("openai", "m", peer.base_url), ChatRequest("", "x"), 5)
            error: BaseException | None = caught.value
            assert key in peer.received[-1].headers["authorization"]
            while error is not None:
                for shown in (str(error), repr(error), repr(error.args), repr(vars(error))):
                    assert key not in shown
                    assert "cdef" not in shown
                error = error.__cause__ or error.__context__
