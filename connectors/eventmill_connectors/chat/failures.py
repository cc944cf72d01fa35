"""From the answer of an OpenAI-compatible server to the error tree. Pure.

The status alone does not say what happened: a quota that is used up for the month arrives as 429 like a rate limit.
So the error's code is looked at first (OpenAI's guide to error codes).
"""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any

import orjson

from eventmill_connectors.chat.retry_after import retry_after
from eventmill_connectors.chat.transport import Answer
from eventmill_schemas.errors import (
    AccountClosed,
    Ambiguous,
    CallFailed,
    EventmillError,
    ModelUnreachable,
    Overloaded,
    RateLimited,
    RequestRefused,
)

MESSAGE_LENGTH = 300   # characters of a server's message that are kept

# Codes and types of errors that say that the money is gone, whatever the status they come with.
MONEY_CODES = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "project_spend_limit_exceeded",
        "billing_error",
        "billing_hard_limit_reached",
        "billing_not_active",
        "enforced_spend_limit_reached",
        "contract_spend_limit_reached",
    }
)

# 429 that speaks of the server's capacity (flex processing), not of our rate.
CAPACITY_CODES = frozenset({"resource_unavailable"})

_REFUSED_KEY, _MONEY = (401, 403), 402
_CONFLICT, _REQUEST_TIMEOUT, _TOO_MANY = 409, 408, 429
_OVERLOADED = (503, 529)   # 529 is not registered; several providers answer it when they are overloaded


def failure(answer: Answer, now: datetime) -> EventmillError:
    """Return what an answer with a status other than 2xx means; `now` (UTC) serves where it has no `date` header.

    Guarantees: never raises. The message holds the server's own words, shortened, and nothing of a body that is no
    JSON error.
    """
    status, error = answer.status, error_object(answer.body)
    message = f"{answer.server} answered {_named(status)}{_words(error)}"
    wait = retry_after(answer.headers, now)
    if status in _REFUSED_KEY:
        return AccountClosed(message, remedy="Check the key and what it is allowed to do")
    if status == _MONEY or _codes(error) & MONEY_CODES:
        return AccountClosed(message, remedy="Add credit or raise the account's limit")
    if status == _TOO_MANY:
        return (Overloaded if _codes(error) & CAPACITY_CODES else RateLimited)(message, retry_after=wait)
    if 300 <= status < 400:
        return ModelUnreachable(
            f"{message}: a redirect, which is not followed with a key", remedy="Set `base_url` to the final address"
        )
    return _by_repeatability(answer, message, wait)


def _by_repeatability(answer: Answer, message: str, wait: float | None) -> EventmillError:
    status, advice = answer.status, answer.headers.get("x-should-retry")
    # 408 says that the request came too late; gateways also send it when the model behind them did not answer in time.
    uncertain = status >= 500 or status == _REQUEST_TIMEOUT
    if advice == "false":
        return (CallFailed if uncertain else RequestRefused)(f"{message}, and asks not to repeat the request")
    if status in _OVERLOADED or status == _CONFLICT:   # 409: another request holds the resource; nothing was served
        return Overloaded(message, retry_after=wait)
    if uncertain or advice == "true":
        return Ambiguous(message, retry_after=wait)
    return RequestRefused(message)


def error_object(body: bytes) -> Mapping[str, Any]:
    """Return the error object of a JSON body, empty where there is none.

    Besides `error` as an object (OpenAI) it may be a text (Ollama), or the body itself may hold `message` or `detail`
    (vLLM, FastAPI).
    """
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(content, dict):
        return {}
    return as_error(content.get("error")) or {"message": content.get("message") or content.get("detail")}


def as_error(error: object) -> Mapping[str, Any]:
    """Return a value that stands in the place of an error object as one."""
    if isinstance(error, Mapping):
        return error
    return {"message": error} if isinstance(error, str) else {}


def shortened(text: str) -> str:
    """Return `text` on one line, printable, and not longer than MESSAGE_LENGTH."""
    line = text[: 4 * MESSAGE_LENGTH]
    if not line.isprintable():
        line = "".join(sign if sign.isprintable() else " " for sign in line)
    line = " ".join(line.split())
    return line if len(line) <= MESSAGE_LENGTH else f"{line[: MESSAGE_LENGTH - 1]}…"


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _words(error: Mapping[str, Any]) -> str:
    message = error.get("message")
    return f": {shortened(message)}" if isinstance(message, str) and message.strip() else ""


def _codes(error: Mapping[str, Any]) -> set[str]:
    return {value for value in (error.get("code"), error.get("type")) if isinstance(value, str)}
