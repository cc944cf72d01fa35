"""Values of an event as text: for prompts, `tojson` and messages."""

import json
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from jinja2 import Undefined


def shorten(text: str, limit: int = 500) -> str:
    """Return `text` on one line and at most `limit` characters long, for messages that quote what came from outside."""
    line = " ".join(text[: 2 * limit].split())
    return line if len(line) <= limit and len(text) <= 2 * limit else f"{line[:limit]}..."


def text_of(value: Any) -> str:
    """Return `value` of an event as a reader expects it in a text.

    Null is empty, dates are ISO 8601, lists and mappings are JSON, bytes are UTF-8. Raises ValueError (bytes that are
    no UTF-8) and TypeError (not a value of an event).
    """
    if isinstance(value, str):
        return str(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple | Mapping):
        return json_text(value)
    return json_text(list(value)) if isinstance(value, Iterator) else _plain(value)


def json_text(value: Any, indent: int | None = None) -> str:
    """Return `value` as JSON text, characters unescaped. Raises as `text_of`, and ValueError for an indent above 16."""
    if indent is not None and not 0 <= indent <= 16:
        raise ValueError("JSON is indented by 0 to 16 spaces")
    return json.dumps(value, ensure_ascii=False, indent=indent, default=_json_value)


def _json_value(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise ValueError(f"the {len(value)} bytes are not UTF-8 text") from None
    if isinstance(value, Undefined):
        return str(value)   # raises, saying which field is missing
    raise TypeError(f"a {type(value).__name__} has no text form")
