"""What is asked of a chat model and what comes back. Values only; no wire format."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One request. `schema` is the JSON Schema the answer must follow; None asks for plain text."""

    system: str
    user: str
    schema_name: str | None = None
    schema: Mapping[str, Any] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)   # such as max_output_tokens, temperature


@dataclass(frozen=True, slots=True)
class Usage:
    """Billed tokens of one reply. Cached tokens are part of `input_tokens`, reasoning tokens of `output_tokens`."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0   # stored by the provider for later reads; some charge more for them than for input


class Finish(StrEnum):
    """Why the model stopped, in one vocabulary for all providers. Only OK may become a result."""

    OK = "ok"
    TRUNCATED = "truncated"
    REFUSED = "refused"
    FILTERED = "filtered"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ChatReply:
    """One reply as received. `usage` is None where the server reported none or nonsense."""

    text: str
    finish: Finish
    usage: Usage | None
    model: str              # as served: may differ from the one asked for
    response_id: str | None
    request_id: str | None
