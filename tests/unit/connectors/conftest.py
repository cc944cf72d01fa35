"""A server that answers what a test tells it to, and a client that asks it."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from eventmill_connectors.chat.clients import ChatClients
from eventmill_connectors.chat.transport import HttpSettings
from eventmill_schemas.chat import ChatReply, ChatRequest
from eventmill_schemas.pipeline import ModelRef
from http_peer import Peer

KEY = "sk-test-0123456789abcdef"
REPLY_LIMIT = 1 << 16


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    """Give a server without a script yet."""
    server = Peer()
    await server.start()
    yield server
    await server.stop()


Ask = Callable[..., Awaitable[ChatReply]]


@pytest.fixture
async def ask(peer: Peer) -> AsyncIterator[Ask]:
    """Give a function that sends one request to the peer with a key, and returns the reply."""
    clients = ChatClients(HttpSettings(reply_limit=REPLY_LIMIT), environ={"OPENAI_API_KEY": KEY})

    async def once(request: ChatRequest | None = None, timeout: float = 5.0) -> ChatReply:  # noqa: ASYNC109 - the port's signature
        model = ModelRef("openai", "gpt-5-mini", peer.base_url)
        return await clients.complete(model, request or ChatRequest("Be brief.", "Hello"), timeout)

    yield once
    await clients.close()
