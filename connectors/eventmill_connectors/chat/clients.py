"""The chat models of all routes: one client per server, made when it is first asked."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx

from eventmill_connectors.chat.openai import OpenAIChat
from eventmill_connectors.chat.transport import AiohttpTransport, HttpSettings
from eventmill_connectors.secrets import KeySource
from eventmill_schemas.chat import ChatReply, ChatRequest
from eventmill_schemas.errors import UsageError
from eventmill_schemas.pipeline import ModelRef


@dataclass(frozen=True, slots=True)
class _Provider:
    """Where a provider is found, and the environment variables that say otherwise."""

    public_url: str
    url_variable: str
    key_variable: str


_PROVIDERS: Mapping[str, _Provider] = {
    "openai": _Provider("https://api.openai.com/v1", "OPENAI_BASE_URL", "OPENAI_API_KEY"),
}

MakeTransport = Callable[[HttpSettings], httpx.AsyncBaseTransport]


class ChatClients:
    """Sends one attempt of a call to the model that a route names. Satisfies eventmill_agents.ports.ChatModels.

    The address of a model is its `base_url`, else the provider's environment variable (OPENAI_BASE_URL), else its
    public address. The key comes from OPENAI_API_KEY, or the file in OPENAI_API_KEY_FILE, and is needed only at the
    public address: servers of one's own often want none. Where a key is set it is sent to whichever address is in
    force. Bound to the event loop of its first call.
    """

    def __init__(
        self,
        settings: HttpSettings | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        transport: MakeTransport = AiohttpTransport,
    ) -> None:
        self._settings = settings or HttpSettings()
        self._environ = dict(os.environ if environ is None else environ)
        self._make_transport = transport
        self._keys: dict[str, KeySource] = {}
        self._clients: dict[tuple[str, str], OpenAIChat] = {}
        self._by_model: dict[tuple[str, str | None], OpenAIChat] = {}

    def check(self, models: Iterable[ModelRef]) -> None:
        """Find out without a call whether `models` can be asked: known provider, usable address, key present.

        Raises: UsageError that names the model or variable and the remedy.
        """
        for model in models:
            provider = _provider(model)
            url = self._base_url(model, provider)
            key = self._key(provider).current()
            if key is None and url == provider.public_url:
                raise UsageError(
                    f"{provider.key_variable} is not set, and {model.provider} model {model.model} needs a key",
                    remedy=f"Set {provider.key_variable}, or {provider.key_variable}_FILE to a file that holds it, "
                    f"or {provider.url_variable} to a server that needs none (`eventmill dev model` starts a stand-in)",
                )

    def address(self, model: ModelRef) -> str:
        """Return the base URL that `model` is asked at. Raises UsageError where there is none, as `check` does."""
        return self._base_url(model, _provider(model))

    async def complete(self, model: ModelRef, request: ChatRequest, timeout: float) -> ChatReply:  # noqa: ASYNC109 - the port's signature
        """Send `request` once and return what came back, whatever its finish.

        Guarantees: returns or raises within `timeout` seconds; never retries; may be cancelled at any await.
        Raises: RateLimited, Overloaded, Ambiguous (one attempt failed), RequestRefused (the request is wrong),
        CallFailed (the server failed and asks not to repeat), ModelUnreachable, AccountClosed (no event is to blame);
        UsageError for what `check` would have found.
        """
        client = self._by_model.get((model.provider, model.base_url)) or self._client(model)
        return await client.complete(model.model, request, timeout)

    async def close(self) -> None:
        """Close all connections. Calls in flight fail; a later call opens new ones."""
        clients = list(self._clients.values())
        self._clients.clear()
        self._by_model.clear()
        for client in clients:
            await client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _client(self, model: ModelRef) -> OpenAIChat:
        provider = _provider(model)
        url = self._base_url(model, provider)
        place = (model.provider, url)
        if place not in self._clients:
            transport = self._make_transport(self._settings)
            self._clients[place] = OpenAIChat(url, self._key(provider), transport, self._settings)
        client = self._by_model[model.provider, model.base_url] = self._clients[place]
        return client

    def _key(self, provider: _Provider) -> KeySource:
        name = provider.key_variable
        if name not in self._keys:
            self._keys[name] = KeySource(name, self._environ)
        return self._keys[name]

    def _base_url(self, model: ModelRef, provider: _Provider) -> str:
        url = model.base_url or self._environ.get(provider.url_variable) or provider.public_url
        named = f"`base_url` of {model.model}" if model.base_url else provider.url_variable
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            httpx.URL(url)
        except (ValueError, httpx.InvalidURL):
            raise UsageError(f"{named} is not an address", remedy=_ADDRESS) from None
        if parts.username or parts.password or parts.query or parts.fragment:
            raise UsageError(f"{named} has a user, password, query or fragment in it", remedy=_ADDRESS)
        if not usable:
            raise UsageError(f"{named} is not an address: {url!r}", remedy=_ADDRESS)
        return url.rstrip("/")


_ADDRESS = "Write it like https://host/v1; a key belongs into its environment variable"


def _provider(model: ModelRef) -> _Provider:
    provider = _PROVIDERS.get(model.provider)
    if provider is None:
        raise UsageError(
            f"Unknown provider '{model.provider}' of model '{model.model}'",
            remedy=f"Known: {', '.join(_PROVIDERS)}. A compatible server is `provider: openai` with its `base_url`",
        )
    return provider
