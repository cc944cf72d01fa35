"""OpenAI's chat completions as the stand-in speaks them: from a request to what is answered. Pure.

Wire format: OpenAI API reference, `POST /chat/completions`; errors: its guide to error codes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from http import HTTPStatus
from typing import Any

import jsonschema_rs
import orjson

from eventmill.dev.model.answer import UnanswerableSchema, answer
from eventmill.dev.model.faults import Outcome
from eventmill.dev.model.reading import Reading, read

FINGERPRINT = "eventmill-stand-in"
REFUSAL = "I am the stand-in for a model, and I was told to refuse this."
RETRY_AFTER = 1   # seconds that a busy answer asks to wait


class BadRequest(Exception):
    """The request can't be served: answered with status 400, and not billed."""


@dataclass(frozen=True)
class Asked:
    """A request: its texts, the schema to follow (None: plain text), and the most tokens to write (None: any)."""

    model: str
    system: str
    user: str
    schema: Mapping[str, Any] | None
    most_tokens: int | None

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the user message's UTF-8 text."""
        return sha256(self.user.encode("utf-8", "surrogatepass")).digest()

    @cached_property
    def prompt_tokens(self) -> int:
        """What the request counts as: a token for every four bytes of its texts and its schema."""
        schema = b"" if self.schema is None else orjson.dumps(self.schema)
        return tokens(self.system) + tokens(self.user) + math.ceil(len(schema) / 4)


@dataclass(frozen=True, slots=True)
class Written:
    """What the model wrote. `refused`: it stands in the place of a refusal."""

    text: str
    finish: str
    refused: bool = False

    @property
    def tokens(self) -> int:
        """What it counts as."""
        return tokens(self.text)


def tokens(text: str) -> int:
    """Return the number of tokens that `text` counts as: a quarter of its bytes in UTF-8, rounded up."""
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / 4)


def parse(body: bytes) -> Asked:
    """Read a request. Raises BadRequest, in words that name the field."""
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"We could not parse the JSON body of your request: {error}") from None
    if not isinstance(request, dict):
        raise BadRequest("The body of the request must be a JSON object")
    model, messages = request.get("model"), request.get("messages")
    if not isinstance(model, str) or not model:
        raise BadRequest("You must provide a model parameter")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("'messages' must be a list of at least one message")
    if request.get("stream"):
        raise BadRequest("'stream': the stand-in answers in one piece only")
    most = request.get("max_completion_tokens", request.get("max_tokens"))
    if most is not None and (type(most) is not int or most < 1):
        raise BadRequest("'max_completion_tokens' must be a whole number above 0")
    users = [_text(message) for message in messages if _role(message) == "user"]
    if not users:
        raise BadRequest("'messages' must have one with role 'user'")
    others = [_text(message) for message in messages if _role(message) in ("system", "developer")]
    return Asked(model, "\n".join(others), users[-1], _schema(request.get("response_format")), most)


def write(asked: Asked, outcome: Outcome) -> Written:
    """Return what the model writes for a served outcome. Raises BadRequest for a schema it can't answer."""
    if outcome is Outcome.REFUSAL:
        return Written(REFUSAL, "stop", refused=True)
    reading = read(asked.user, asked.system)
    text = reading.summary if asked.schema is None else orjson.dumps(_answered(asked.schema, reading)).decode()
    if outcome is Outcome.INVALID:
        text = orjson.dumps({"stand_in": "not what the schema asks for"}).decode()
    limit = tokens(text) // 2 if outcome is Outcome.TRUNCATED else asked.most_tokens
    if limit is not None and tokens(text) > limit:
        return Written(text.encode()[: 4 * limit].decode(errors="ignore"), "length")
    return Written(text, "stop")


def completion(asked: Asked, written: Written, number: int, created: int) -> bytes:
    """Return the body of an answer with status 200. `number` makes its id, `created` is in seconds since 1970."""
    prompt_tokens, completion_tokens = asked.prompt_tokens, written.tokens
    message = {
        "role": "assistant",
        "content": None if written.refused else written.text,
        "refusal": written.text if written.refused else None,
    }
    return orjson.dumps(
        {
            "id": f"chatcmpl-stand-in-{number}",
            "object": "chat.completion",
            "created": created,
            "model": asked.model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": written.finish}],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
                "total_tokens": prompt_tokens + completion_tokens,
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
            },
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
        }
    )


def error(status: int, message: str) -> bytes:
    """Return the body of an answer with an error status."""
    kind, code = _ERRORS.get(status, ("server_error", None))
    said = f"{message} (This is eventmill's stand-in for a model provider.)"
    return orjson.dumps({"error": {"message": said, "type": kind, "param": None, "code": code}})


def error_headers(status: int) -> dict[str, str]:
    """Return what a busy server says about when to come back."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return {
            "retry-after": str(RETRY_AFTER),
            "x-ratelimit-limit-requests": "500",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": f"{RETRY_AFTER}s",
        }
    return {"retry-after": str(RETRY_AFTER)} if status in (503, 529) else {}


MESSAGES: Mapping[int, str] = {
    400: "The request was refused as asked for",
    401: "Incorrect API key provided",
    402: "The account has no credit left",
    429: "Rate limit reached for requests",
    500: "The server had an error while processing your request",
    502: "Bad gateway",
    503: "The engine is currently overloaded",
    529: "Overloaded",
}
_ERRORS: Mapping[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    402: ("billing_error", "billing_not_active"),
    404: ("invalid_request_error", "unknown_url"),
    405: ("invalid_request_error", None),
    413: ("invalid_request_error", None),
    429: ("requests", "rate_limit_exceeded"),
}


def _role(message: Any) -> Any:
    return message.get("role") if isinstance(message, dict) else None


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(part["text"]) for part in content if isinstance(part, dict) and part.get("type") == "text")
    raise BadRequest("'content' of a message must be a text or a list of parts")


def _schema(form: Any) -> Mapping[str, Any] | None:
    if form is None or (isinstance(form, dict) and form.get("type") == "text"):
        return None
    if isinstance(form, dict) and form.get("type") == "json_object":
        return {"type": "object", "properties": {"summary": {"type": "string"}}, "required": ["summary"]}
    named = form.get("json_schema") if isinstance(form, dict) and form.get("type") == "json_schema" else None
    if not isinstance(named, dict) or not isinstance(named.get("schema"), dict) or not named.get("name"):
        raise BadRequest("'response_format' must be text, json_object, or json_schema with a name and a schema")
    schema: Mapping[str, Any] = named["schema"]
    return schema


def _answered(schema: Mapping[str, Any], reading: Reading) -> Any:
    """Return an answer that follows the schema for certain. Raises BadRequest where there is none."""
    validator = _validator(orjson.dumps(schema))
    try:
        value = answer(schema, reading)
    except (UnanswerableSchema, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as problem:
        raise BadRequest(f"Invalid schema for response_format: the stand-in can't answer it: {problem}") from None
    for wrong in validator.iter_errors(value):
        where = "/".join(str(part) for part in wrong.schema_path)
        raise BadRequest(f"Invalid schema for response_format: the stand-in can't answer {where}: {wrong.message}")
    return value


@lru_cache(maxsize=256)
def _validator(schema: bytes) -> jsonschema_rs.Draft202012Validator:
    try:
        return jsonschema_rs.Draft202012Validator(orjson.loads(schema))
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as problem:
        raise BadRequest(f"Invalid schema for response_format: {problem}") from None
