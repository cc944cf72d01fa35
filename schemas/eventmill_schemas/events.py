"""One input record, before and after decoding. Values only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

Fields = Mapping[str, Any]


class Source(NamedTuple):
    """Where an input record stands in Kafka: its identity for delivery."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}@{self.offset}"


@dataclass(frozen=True, slots=True)
class RawRecord:
    """An input record as it lies in Kafka; `timestamp_ms` is its CreateTime or LogAppendTime, -1 where it has none."""

    source: Source
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Event:
    """A decoded input record.

    `fields` holds only JSON-like values plus datetime, date, Decimal, UUID and bytes, as fastavro gives them.
    """

    id: str
    tenant: str | None
    fields: Fields
    record: RawRecord
