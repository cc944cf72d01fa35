"""Token counts as servers report them, in one meaning. Pure."""

from collections.abc import Mapping
from typing import Any

from eventmill_schemas.chat import Usage

MOST_TOKENS = 10**9   # of one reply; far beyond any context window, so a larger count is an error of the server


def chat_completions_usage(reported: object) -> Usage | None:
    """Read the `usage` object of a chat completions reply; None where it is missing or can't be true.

    Cached tokens are part of `prompt_tokens`, reasoning tokens of `completion_tokens` (OpenAI's API reference).
    An explicit 0 is a count. Counts that contradict each other (parts larger than the whole, a total that is not the
    sum) are refused as a whole: a wrong amount is worse than none.
    """
    if not isinstance(reported, Mapping):
        return None
    prompt, completion = _count(reported.get("prompt_tokens")), _count(reported.get("completion_tokens"))
    cached = _part(reported, "prompt_tokens_details", "cached_tokens")
    written = _part(reported, "prompt_tokens_details", "cache_write_tokens")
    reasoning = _part(reported, "completion_tokens_details", "reasoning_tokens")
    if prompt is None or completion is None or cached is None or written is None or reasoning is None:
        return None
    total = reported.get("total_tokens")
    if cached + written > prompt or reasoning > completion or total not in (None, prompt + completion):
        return None
    return Usage(
        prompt, completion, cache_read_tokens=cached, reasoning_tokens=reasoning, cache_write_tokens=written
    )


def _count(value: object) -> int | None:
    if type(value) is int and 0 <= value <= MOST_TOKENS:   # bool is an int to isinstance
        return value
    return None


def _part(reported: Mapping[str, Any], details: str, name: str) -> int | None:
    """Return the part called `name`, 0 where the server does not report it, None where it is nonsense."""
    found = reported.get(details)
    if found is None:
        return 0
    if not isinstance(found, Mapping):
        return None
    value = found.get(name)
    return 0 if value is None else _count(value)
