"""OpenAI's chat completions, and every server that speaks the same: one request, one attempt, one reply.

Wire format: OpenAI API reference, `POST /chat/completions`.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import httpx
import orjson

from eventmill_connectors.chat.failures import as_error, failure, shortened
from eventmill_connectors.chat.transport import Answer, HttpSettings, post
from eventmill_connectors.chat.usage import chat_completions_usage
from eventmill_connectors.secrets import KeySource, Secret
from eventmill_schemas.chat import ChatReply, ChatRequest, Finish
from eventmill_schemas.errors import AccountClosed, Ambiguous, EventmillError, RequestRefused

# Not for a prompt's parameters: set from the request itself, changing the shape of the answer, or (`service_tier`)
# changing its price in a way that token counts don't show.
RESERVED_PARAMETERS = frozenset(
    {"messages", "model", "n", "response_format", "service_tier", "stream", "stream_options", "tool_choice", "tools"}
)

_WIRE_NAMES = {"max_output_tokens": "max_completion_tokens"}

_FINISHES = {"stop": Finish.OK, "length": Finish.TRUNCATED, "content_filter": Finish.FILTERED}

_ID_LENGTH = 200        # characters of a response or request id that are kept
_UTF8_BOM = b"\xef\xbb\xbf"
_KEY_LIKE = re.compile(r"\bsk-[\w*.-]{4,}")   # servers quote the key they refuse, partly masked


class OpenAIChat:
    """Chat completions at one address with one key. Used by many calls at a time, from one event loop."""

    def __init__(
        self, base_url: str, key: KeySource, transport: httpx.AsyncBaseTransport, settings: HttpSettings
    ) -> None:
        self._url = httpx.URL(f"{base_url.rstrip('/')}/chat/completions")
        self._key = key
        self._transport = transport
        self._settings = settings
        self._headers_key: Secret | None = None    # the key that the headers carry
        self._headers = httpx.Headers(
            {
                "host": self._url.netloc.decode(),
                "accept": "application/json",
                "accept-encoding": "identity",   # replies are small, and inflating them costs more than receiving them
                "content-type": "application/json",
                "user-agent": f"eventmill/{version('eventmill')}",
            }
        )

    async def complete(self, model: str, request: ChatRequest, timeout: float) -> ChatReply:  # noqa: ASYNC109 - see post
        """Ask once; see eventmill_agents.ports.ChatModels for what is guaranteed and raised."""
        key = self._key.current()
        if key is not None and key is not self._headers_key:
            self._headers = httpx.Headers({**self._headers, "authorization": f"Bearer {key.reveal()}"})
            self._headers_key = key
        asked = httpx.Request("POST", self._url, headers=self._headers, content=request_body(model, request))
        try:
            return read_reply(await post(self._transport, asked, timeout=timeout, settings=self._settings), model)
        except EventmillError as error:
            error.message = _KEY_LIKE.sub("***", error.message if key is None else key.hide_in(error.message))
            error.args = (error.message,)
            raise

    async def close(self) -> None:
        """Close its connections."""
        await self._transport.aclose()


def request_body(model: str, request: ChatRequest) -> bytes:
    """Return the request in the wire format. Parameters are passed on; None values are left out.

    Raises: RequestRefused for a reserved parameter and for text that is not Unicode.
    """
    reserved = RESERVED_PARAMETERS & request.parameters.keys()
    if reserved:
        raise RequestRefused(
            f"The prompt sets {', '.join(sorted(reserved))}, which is not a prompt's to set", remedy="Remove it there"
        )
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": request.user}]}
    if request.system:
        body["messages"].insert(0, {"role": "system", "content": request.system})
    if request.schema is not None:
        form = {"name": _schema_name(request.schema_name), "strict": True, "schema": request.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    for name, value in request.parameters.items():
        if value is not None:
            body[_WIRE_NAMES.get(name, name)] = value
    try:
        return orjson.dumps(body, default=_plain)
    except TypeError as error:   # orjson names what it can't write: a lone surrogate, a type that JSON does not have
        raise RequestRefused(f"The request can't be written as JSON: {error}") from None


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a value of type {type(value).__name__}")


def _schema_name(name: str | None) -> str:
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name or "answer")[:64]


def read_reply(answer: Answer, asked: str) -> ChatReply:
    """Return the reply in `answer`; `asked` is the model that was asked for.

    Raises: what `failures.failure` returns for a status other than 2xx; Ambiguous for a 2xx answer that is no
    chat completion, for it may have been billed.
    """
    if not 200 <= answer.status < 300:
        raise failure(answer, datetime.now(UTC))
    try:
        content = orjson.loads(answer.body.removeprefix(_UTF8_BOM))
    except orjson.JSONDecodeError:
        raise Ambiguous(f"{answer.server} answered {answer.status} with {_described(answer)}") from None
    if not isinstance(content, dict):
        raise Ambiguous(f"{answer.server} answered {answer.status} with JSON that is no object")
    _refuse_error(content, answer.server)
    choices = content.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if isinstance(choice, dict):
        _refuse_error(choice, answer.server)
    elif "choices" not in content:
        raise Ambiguous(f"{answer.server} answered {answer.status} with an object that is no chat completion")
    text, finish = _read_choice(choice)
    served = content.get("model")
    return ChatReply(
        text=text,
        finish=finish,
        usage=chat_completions_usage(content.get("usage")),
        model=served[:_ID_LENGTH] if isinstance(served, str) and served else asked,
        response_id=_identity(content.get("id")),
        request_id=_identity(answer.headers.get("x-request-id")),
    )


def _refuse_error(part: Mapping[str, Any], server: str) -> None:
    """Find an error in a reply or choice before anything else of it is read. Gateways send them with status 200."""
    error = part.get("error")
    if not error and part.get("finish_reason") != "error":
        return
    said = as_error(error)
    message = said.get("message")
    words = f": {shortened(message)}" if isinstance(message, str) else ""
    if said.get("code") in (401, 402, 403):
        raise AccountClosed(f"{server} answered with error {said['code']}{words}")
    raise Ambiguous(f"{server} answered with an error in place of a reply{words}")


def _read_choice(choice: object) -> tuple[str, Finish]:
    if not isinstance(choice, dict) or not isinstance(message := choice.get("message"), dict):
        return "", Finish.UNKNOWN
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        return refusal, Finish.REFUSED
    finish = _FINISHES.get(str(choice.get("finish_reason")), Finish.UNKNOWN)
    text = message.get("content")
    if not isinstance(text, str):
        return "", Finish.UNKNOWN if finish is Finish.OK else finish
    return text, finish


def _identity(value: object) -> str | None:
    return shortened(value)[:_ID_LENGTH] if isinstance(value, str) and value else None


def _described(answer: Answer) -> str:
    if not answer.body.strip():
        return "an empty body"
    kind = shortened(answer.headers.get("content-type", "no content type"))
    return f"a body that is not JSON ({kind}, {len(answer.body)} bytes)"
