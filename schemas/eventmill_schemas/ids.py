"""Identities of events, calls and cost events: the same input gives the same id, on every replica and after a replay.

Hashed ids are BLAKE2b (RFC 7693) with 128 bits, written as 32 hex digits. Every part goes into the hash with its
length, so that no two lists of parts can give the same bytes; each family of ids has its own personalisation.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from hashlib import blake2b
from typing import Any
from uuid import UUID

import orjson

from eventmill_schemas.chat import ChatRequest
from eventmill_schemas.errors import MissingEventField
from eventmill_schemas.events import Fields, RawRecord, Source
from eventmill_schemas.storable_text import storable_text

CLOUDEVENTS_ID = "ce_id"
_CANONICAL = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATETIME
_REQUEST_PARTS = tuple(part.name for part in dataclasses.fields(ChatRequest))


def event_id(record: RawRecord, fields: Fields, id_field: str | None) -> str:
    """Return the event's id: the CloudEvents header `ce_id`, else the field `id_field`, else where the record stands.

    `id_field` may be a path of names joined by dots. Raises MissingEventField where the header or the field is there
    and holds nothing that can identify an event.
    """
    header = _last_header(record.headers, CLOUDEVENTS_ID)
    if header is not None:
        try:
            text = storable_text(header.decode())
        except UnicodeDecodeError:
            text = ""
        if not text:
            raise MissingEventField(f"the header {CLOUDEVENTS_ID} is empty or not UTF-8")
        return text
    if id_field is None:
        return str(record.source)
    named = _as_text(_field(fields, id_field))
    if not named:
        raise MissingEventField(
            f"the event has no id: its field {id_field!r} is missing, empty or neither text nor a number",
            remedy="Name another field in `event.id`, or none to use topic, partition and offset",
        )
    return named


def tenant(fields: Fields, tenant_field: str | None) -> str | None:
    """Return the event's tenant, None where no field is named or the field is null.

    Raises MissingEventField where the field is not there or holds something else than text or a number.
    """
    if tenant_field is None:
        return None
    value = _field(fields, tenant_field)
    if value is None:
        return None
    text = _as_text(value)
    if text is None:
        raise MissingEventField(
            f"the event has no tenant: its field {tenant_field!r} is missing, or neither text nor a number",
            remedy="Name another field in `event.tenant`",
        )
    return text or None


def call_id(tenant: str | None, event_id: str, step: str, prompt_version: str | None, request: ChatRequest) -> str:
    """Return the id of a model call: a hash of what is asked, for whom and by which step.

    The order of keys in the request's schema and parameters does not matter.
    """
    asked = {name: getattr(request, name) for name in _REQUEST_PARTS}
    try:
        text = orjson.dumps(asked, default=_plain, option=_CANONICAL).decode()
    except TypeError:   # orjson refuses integers beyond 64 bits and lone surrogates
        text = json.dumps(asked, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain)
    return _digest(b"em.call", (tenant, event_id, step, prompt_version, text))


def cost_id(source: Source, call_id: str, attempt: int) -> str:
    """Return the id of the cost event of one attempt at a call for one input record."""
    return _digest(b"em.cost", (source.topic, str(source.partition), str(source.offset), call_id, str(attempt)))


def work_id(tenant: str | None, event_id: str, step: str, model: str, given: Any) -> str:
    """Return the id of a local model's work: a hash of what it is given, for whom and by which step.

    `given`: texts, or values by input; bytes count by what they are, too.
    """
    try:
        text = orjson.dumps(given, default=_tagged, option=_CANONICAL).decode()
    except TypeError:   # orjson refuses integers beyond 64 bits
        text = json.dumps(given, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_tagged)
    return _digest(b"em.work", (tenant, event_id, step, model, text))


def _tagged(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if callable(whole := getattr(value, "tolist", None)):   # an array: its text leaves out most of a long one
        return {type(value).__name__: whole()}
    return dict(value) if isinstance(value, Mapping) else {type(value).__name__: str(value)}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, date | Decimal):
        return str(value)
    raise TypeError(f"a {type(value).__name__} can't be part of a model request")


def _digest(family: bytes, parts: Iterable[str | None]) -> str:
    digest = blake2b(digest_size=16, person=family)
    for part in parts:
        if part is None:
            digest.update(b"-")   # None differs from every text: those begin with their length
        else:
            data = part.encode("utf-8", "surrogatepass")
            digest.update(b"%d:" % len(data))
            digest.update(data)
    return digest.hexdigest()


_MISSING = object()


def _field(fields: Fields, path: str) -> Any:
    """Return the field called `path`, else the value where its dot-joined names lead, else _MISSING."""
    if path in fields:
        return fields[path]
    value: Any = fields
    for name in path.split("."):
        try:
            value = value[name]
        except (KeyError, TypeError, IndexError):
            return _MISSING
    return value


def _as_text(value: Any) -> str | None:
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, int | UUID) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    return None


def _last_header(headers: Sequence[tuple[str, bytes | None]], name: str) -> bytes | None:
    """Return the last value under `name`: headers may repeat, and readers must agree on one."""
    for key, value in reversed(headers):
        if key == name:
            return value
    return None
