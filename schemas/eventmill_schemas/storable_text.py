"""Text that every sink can store: no U+0000 (Postgres refuses it), no lone surrogate (UTF-8 has none)."""

import re
from collections.abc import Callable, Mapping
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")


def well_formed_text(text: str) -> str:
    """Return `text` with U+FFFD for every lone surrogate; a pair becomes the character it stands for.

    Well-formed text is returned as it is.
    """
    if text.isascii() or _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def storable_text(text: str) -> str:
    """Return `text` well-formed and without U+0000. Storable text is returned as it is."""
    return well_formed_text(text.replace("\x00", "") if "\x00" in text else text)


def storable(value: Any) -> Any:
    """Return a JSON-like value with storable text in every string and key, at any depth.

    Two keys that become the same leave the later value. Raises RecursionError where the value is nested too deep.
    """
    return each_text(storable_text, value)


def each_text(change: Callable[[str], str], value: Any) -> Any:
    """Return a JSON-like value with `change` applied to every string and key, at any depth, as `storable` does."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {each_text(change, key): each_text(change, inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [each_text(change, inner) for inner in value]
    return value
