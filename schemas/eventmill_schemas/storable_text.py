"""Text that every sink can store: no U+0000 (Postgres refuses it), no lone surrogate (UTF-8 has none)."""

import re
from collections.abc import Mapping
from typing import Any

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable_text(text: str) -> str:
    """Return `text` without U+0000 and with U+FFFD for every lone surrogate.

    A surrogate pair becomes the character it stands for. Storable text is returned as it is, so the function is
    idempotent.
    """
    if text.isascii():
        return text.replace("\x00", "") if "\x00" in text else text
    if _UNSTORABLE.search(text) is None:
        return text
    return text.replace("\x00", "").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def storable(value: Any) -> Any:
    """Return a JSON-like value with storable text in every string and key, at any depth.

    Two keys that become the same leave the later value. Raises RecursionError where the value is nested too deep.
    """
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, Mapping):
        return {storable(key): storable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [storable(inner) for inner in value]
    return value
