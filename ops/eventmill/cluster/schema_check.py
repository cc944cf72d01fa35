"""Whether new schemas may follow those that are there, and which fields say no. Nothing is changed."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import fastavro

from eventmill.cluster.plan import NEW_SUBJECT_LEVEL
from eventmill_connectors.registry import Registered, SchemaRegistry
from eventmill_schemas.avro_compatibility import mismatches

NONE = "NONE"
"""The level at which everything may follow everything."""


@dataclass(frozen=True, slots=True)
class Known:
    """What stands for a subject now: its schemas, the newest last, and its compatibility level.

    `takes`: whether the registry would take the new schema; None where no registry was asked.
    """

    versions: Sequence[Registered]
    level: str
    takes: bool | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a new schema is to a subject. `reasons`: why it can't follow what is there, one for each field."""

    subject: str
    level: str
    versions: int
    is_there: bool = False
    reasons: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the schema may be registered, or is."""
        return not self.reasons

    @property
    def meaning(self) -> str:
        """One word for what it is: incompatible, new, registered or compatible."""
        if not self.ok:
            return "incompatible"
        if not self.versions:
            return "new"
        return "registered" if self.is_there else "compatible"


def judge(subject: str, schema: str, known: Known) -> Verdict:
    """Compare a schema with what is there, as the level says: who must be able to read what.

    Stricter than the registry in one thing: decimals and times that would be read as others are no match
    (`eventmill_schemas.avro_compatibility`). Of versions that are no Avro, or that refer to other subjects, the
    registry alone knows.
    """
    if not known.versions:
        return Verdict(subject, known.level, 0)
    new = json.loads(schema)
    older = [(one, _comparable(one.schema)) for one in known.versions]
    is_there = any(avro == new for _, avro in older)
    found = [] if is_there else list(dict.fromkeys(_reasons(new, older, known.level)))
    if known.takes is False and not found and not is_there:
        found = [f"the registry refuses it (level {known.level})"]
    return Verdict(subject, known.level, len(older), is_there, tuple(found))


async def look_up(subject: str, schema: str, registry: SchemaRegistry) -> Known:
    """Ask the registry what is there. Raises SetupError where it is no schema, RegistryUnreachable."""
    versions = await registry.versions(subject)
    if not versions:
        return Known((), NEW_SUBJECT_LEVEL)
    level = await registry.compatibility(subject) or await registry.compatibility() or NONE
    return Known(versions, level, await registry.is_compatible(subject, schema))


def _comparable(schema: str) -> Any:
    """Return a schema's JSON, None where it is no whole Avro schema."""
    try:
        avro = json.loads(schema)
        fastavro.parse_schema(avro, {})
    except Exception:   # noqa: BLE001 - fastavro raises whatever its way through the tree meets
        return None
    return avro


def _reasons(new: Any, older: Sequence[tuple[Registered, Any]], level: str) -> Iterator[str]:
    base = level.removesuffix("_TRANSITIVE")
    compared = older if level.endswith("_TRANSITIVE") else older[-1:]
    for version, old in reversed(compared):
        if old is None:
            continue
        if base in {"BACKWARD", "FULL"}:
            for one in mismatches(old, new):
                yield f"{one} (records of version {version.version}, by readers of the new schema)"
        if base in {"FORWARD", "FULL"}:
            for one in mismatches(new, old):
                yield f"{one} (new records, by readers of version {version.version})"
