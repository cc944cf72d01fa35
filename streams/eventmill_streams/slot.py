"""The numbered slot of a replica: what makes a restart the same group member and the same transactional producer."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from eventmill_schemas.errors import UsageError

_ORDINAL = re.compile(r"-(\d+)$")
_LEGAL = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Identity:
    """How a replica is known to Kafka. `instance_id` None: a dynamic member, so a restart rebalances the group."""

    group: str
    transactional_id: str
    instance_id: str | None


def group_id(pipeline: str, stage: str) -> str:
    """Return the consumer group of a stage."""
    return f"{pipeline}.{stage}"


def slot_name(option: str | None, environ: Mapping[str, str], hostname: str) -> str | None:
    """Return the slot: the option, else EVENTMILL_SLOT, else the ordinal at the end of a Kubernetes pod's host name.

    Elsewhere a host name says nothing about replicas: two workers of one machine would take each other's slot.
    """
    slot = option or environ.get("EVENTMILL_SLOT") or None
    if slot is None and environ.get("KUBERNETES_SERVICE_HOST") and (match := _ORDINAL.search(hostname)):
        slot = match.group(1)
    if slot is not None and not _LEGAL.fullmatch(slot):
        raise UsageError(f"slot {slot!r} is not a name", remedy="Use a number, or letters, digits, '.', '_' and '-'")
    return slot


def identity(pipeline: str, stage: str, slot: str | None) -> Identity:
    """Return the ids of a replica. Without a slot the transactional id is random: correct, but slower to take over."""
    group = group_id(pipeline, stage)
    if slot is None:
        return Identity(group, f"{group}.{uuid.uuid4().hex[:12]}", None)
    return Identity(group, f"{group}.{slot}", f"{group}.{slot}")
