"""What a production did, and how far it is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a production is.

    Up to `line` (or record, or mail) of the file everything was produced or passed over. `fraction` is 0..1, None where
    the end is not known; `is_cut_off`: no broker answers now.
    """

    read: int
    acknowledged: int
    skipped: int
    line: int
    seconds: float
    fraction: float | None = None
    is_cut_off: bool = False


@dataclass(frozen=True, slots=True)
class Skipped:
    """What was passed over because it is no event; `place` names file and line, record or mail."""

    place: str
    line: int
    last_line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class ProduceReport:
    """What was produced: every event in it is acknowledged.

    `bytes` of keys and values, uncompressed; `seconds` from the first line to the last acknowledgement; `without_key`:
    events with a null key, which have no order; `schema_id` None: the values are JSON.
    """

    topic: str
    events: int
    bytes: int
    seconds: float
    per_second: float
    schema_id: int | None
    skipped: int
    without_key: int
    created_partitions: int | None
