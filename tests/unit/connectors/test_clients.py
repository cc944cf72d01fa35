"""The models of a pipeline are checked before the first call, and asked with the right key at the right address."""

import asyncio
import os
from itertools import count
from pathlib import Path

import httpx
import pytest

from eventmill_connectors.chat.clients import ChatClients
from eventmill_connectors.chat.openai import OpenAIChat
from eventmill_connectors.chat.transport import AiohttpTransport, HttpSettings
from eventmill_connectors.secrets import LOOK_EVERY, KeySource
from eventmill_schemas.chat import ChatRequest
from eventmill_schemas.errors import AccountClosed, Ambiguous, UsageError
from eventmill_schemas.pipeline import ModelRef
from http_peer import Peer, http

PUBLIC = ModelRef("openai", "gpt-5-mini")
GOOD = b'{"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}'
HELLO = ChatRequest("", "Hello")


def own(peer: Peer, model: str = "m") -> ModelRef:
    """Refer to a model at the peer."""
    return ModelRef("openai", model, peer.base_url)


def test_a_missing_key_is_found_before_the_first_call() -> None:
    """The message names the model, the variables and what else can be done."""
    with pytest.raises(UsageError) as caught:
        ChatClients(environ={}).check([PUBLIC])
    for word in ("OPENAI_API_KEY is not set", "gpt-5-mini", "OPENAI_API_KEY_FILE", "OPENAI_BASE_URL"):
        assert word in str(caught.value)


def test_what_can_be_asked_passes_the_check(tmp_path: Path) -> None:
    """A key, a key file, or a server of one's own, which may want no key."""
    file = tmp_path / "key"
    file.write_text("sk-file")
    ChatClients(environ={"OPENAI_API_KEY": "sk-1"}).check([PUBLIC])
    ChatClients(environ={"OPENAI_API_KEY_FILE": str(file)}).check([PUBLIC])
    ChatClients(environ={"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}).check([PUBLIC])
    ChatClients(environ={}).check([ModelRef("openai", "llama", "http://127.0.0.1:11434/v1")])
    ChatClients(environ={}).check([])


def test_a_key_file_that_is_gone_is_found_before_the_first_call(tmp_path: Path) -> None:
    """A key that can't be read stops the start, even for a server that may want none: it was meant to be used."""
    clients = ChatClients(environ={"OPENAI_API_KEY_FILE": str(tmp_path / "nothing")})
    with pytest.raises(UsageError, match="OPENAI_API_KEY_FILE"):
        clients.check([ModelRef("openai", "llama", "http://127.0.0.1:11434/v1")])


def test_an_unknown_provider_is_named_with_the_known_ones() -> None:
    """A typing error in the pipeline file is told from a provider that has to be reached by its address."""
    with pytest.raises(UsageError, match=r"'opanai' of model 'x'.*openai.*base_url"):
        ChatClients(environ={}).check([ModelRef("opanai", "x")])


NO_ADDRESSES = ["localhost:8080", "ftp://host/v1", "http://", "http://[", "http://h:x/", "http://h:99999/", "/v1"]


@pytest.mark.parametrize("url", [*NO_ADDRESSES, "https://u:p@host/v1", "ftp://:p@host", "https://host/v1?key=p", "h://#p"])
def test_an_unusable_address_is_refused(url: str) -> None:
    """An address without scheme or host, or with something secret in it, is named with its place; secrets aren't."""
    with pytest.raises(UsageError, match="`base_url` of m") as caught:
        ChatClients(environ={}).check([ModelRef("openai", "m", url)])
    assert url in NO_ADDRESSES or url not in str(caught.value)
    with pytest.raises(UsageError, match="OPENAI_BASE_URL"):
        ChatClients(environ={"OPENAI_BASE_URL": url}).check([PUBLIC])


async def test_the_model_s_address_comes_before_the_environment_s(peer: Peer) -> None:
    """`base_url`, else OPENAI_BASE_URL; a slash at the end does not matter."""
    other = Peer()
    await other.start()
    for server in (peer, other):
        server.answer(GOOD)
    async with ChatClients(environ={"OPENAI_BASE_URL": other.base_url + "/"}) as clients:
        await clients.complete(own(peer), HELLO, 5)
        await clients.complete(PUBLIC, HELLO, 5)
    assert [request.line for request in peer.received] == ["POST /v1/chat/completions HTTP/1.1"]
    assert [request.line for request in other.received] == ["POST /v1/chat/completions HTTP/1.1"]
    assert other.received[0].headers["host"] == httpx.URL(other.base_url).netloc.decode()
    await other.stop()


async def test_models_of_one_server_share_its_connections(peer: Peer) -> None:
    """One pool for an address, whatever model is asked."""
    peer.answer(GOOD)
    async with ChatClients(environ={}) as clients:
        for name in ("a", "b", "a"):
            await clients.complete(own(peer, name), HELLO, 5)
    assert peer.connections == 1


async def test_the_key_is_sent_in_its_header_and_none_without_a_key(peer: Peer) -> None:
    """`Authorization: Bearer`, and nothing at all for a server that wants none."""
    peer.answer(GOOD)
    async with ChatClients(environ={"OPENAI_API_KEY": "sk-1"}) as clients:
        await clients.complete(own(peer), HELLO, 5)
    async with ChatClients(environ={}) as clients:
        await clients.complete(own(peer), HELLO, 5)
    assert [request.headers.get("authorization") for request in peer.received] == ["Bearer sk-1", None]
    assert all(request.headers["user-agent"].startswith("eventmill/") for request in peer.received)
    assert "sk-1" not in peer.received[0].line


async def test_case_70_a_rotated_key_is_used_without_a_restart(peer: Peer, tmp_path: Path) -> None:
    """The refused old key ends in AccountClosed; once the file has changed, calls carry the new one."""
    file, fresh = tmp_path / "key", tmp_path / "fresh"
    file.write_text("sk-old")
    peer.play(http(b"", "401 Unauthorized"), http(GOOD))
    keys = KeySource("OPENAI_API_KEY", {"OPENAI_API_KEY_FILE": str(file)}, clock=count(0, LOOK_EVERY).__next__)
    client = OpenAIChat(peer.base_url, keys, AiohttpTransport(HttpSettings()), HttpSettings())
    with pytest.raises(AccountClosed):
        await client.complete("m", HELLO, 5)
    fresh.write_text("sk-new")
    fresh.rename(file)
    for _ in range(2):   # two looks: the file has to rest
        await client.complete("m", HELLO, 5)
    await client.close()
    assert [request.headers["authorization"][7:] for request in peer.received] == ["sk-old", "sk-old", "sk-new"]


async def test_a_closed_client_opens_again(peer: Peer) -> None:
    """Closing gives the connections back; a call afterwards makes new ones."""
    peer.answer(GOOD)
    clients = ChatClients(environ={})
    await clients.complete(own(peer), HELLO, 5)
    await clients.close()
    await clients.complete(own(peer), HELLO, 5)
    await clients.close()
    assert [request.connection for request in peer.received] == [1, 2]


async def test_the_process_s_environment_is_the_default(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an environment of its own the client reads that of the process, when it is made."""
    monkeypatch.setenv("OPENAI_BASE_URL", peer.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    peer.answer(GOOD)
    async with ChatClients() as clients:
        monkeypatch.delenv("OPENAI_API_KEY")
        await clients.complete(PUBLIC, HELLO, 5)
    assert peer.received[0].headers["authorization"] == "Bearer sk-env"
    assert "OPENAI_API_KEY" not in os.environ


async def test_any_httpx_transport_serves() -> None:
    """The seam is httpx's: another transport gets the same request, and its reply is read alike."""
    seen: list[httpx.Request] = []

    async def respond(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=GOOD)

    async with ChatClients(
        HttpSettings(), environ={"OPENAI_API_KEY": "sk-1"}, transport=lambda _: httpx.MockTransport(respond)
    ) as clients:
        assert (await clients.complete(PUBLIC, HELLO, 5)).text == "hi"
    assert str(seen[0].url) == "https://api.openai.com/v1/chat/completions"


async def test_a_transport_that_does_not_say_whether_it_sent_is_taken_to_have_sent() -> None:
    """Of two wrong guesses the one that admits a bill is taken."""

    async def respond(request: httpx.Request) -> httpx.Response:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    clients = ChatClients(environ={"OPENAI_API_KEY": "k"}, transport=lambda _: httpx.MockTransport(respond))
    with pytest.raises(Ambiguous):
        await clients.complete(PUBLIC, HELLO, 0.05)
