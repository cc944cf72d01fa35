"""What one event's tick will commit."""

import time
from dataclasses import dataclass, field
from enum import StrEnum

from eventmill_connectors.kafka.transaction import OutRecord
from eventmill_schemas.cost import CostEvent


class End(StrEnum):
    """How an event ended, as the metric `eventmill_events_total` names it."""

    RESULT = "result"
    DEAD_LETTER = "dead_letter"
    SKIPPED = "skipped"
    TOMBSTONE = "tombstone"


@dataclass(frozen=True, slots=True)
class Settlement:
    """The records of one event: its result or dead letter, then its cost events.

    `finished_at` is monotonic seconds; `kind` the error's, for a dead letter.
    """

    end: End
    records: tuple[OutRecord, ...]
    costs: tuple[CostEvent, ...] = ()
    kind: str | None = None
    finished_at: float = field(default_factory=time.monotonic)
