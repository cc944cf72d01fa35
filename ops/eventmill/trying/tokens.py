"""How many tokens a text has, roughly: for estimates before anything is asked."""

from typing import Final

CHARACTERS_PER_TOKEN: Final = 4
"""OpenAI's rule of thumb for English text; other languages and code take more tokens."""


def estimated_tokens(*texts: str) -> int:
    """Return about how many tokens the texts have together; at least 1 where there is any text."""
    return -(-sum(map(len, texts)) // CHARACTERS_PER_TOKEN)
