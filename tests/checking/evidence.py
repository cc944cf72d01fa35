"""What a check reads, what it expects and what it reports. Values only; nothing here knows eventmill."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

Fields = Mapping[str, Any]
Source = tuple[str, int, int]   # topic, partition, offset

SAMPLES = 5   # places named per kind of fault

# What must be 0 (the two about calls: at most what is allowed). Every other number of a report is a plain count.
FAULTS = {
    "lost": "events with neither result nor dead letter",
    "duplicates": "results or dead letters beyond the first of one event",
    "not_filtered": "events that the stage's condition drops, and that have a result or dead letter",
    "without_source": "results or dead letters of no committed input record",
    "order_violations": "results that stand behind one of a later event of the same key",
    "wrong_partition": "output records in another partition than their input record",
    "key_changed": "output records whose key is not the input record's",
    "value_changed": "dead letters whose value is not the input record's",
    "headers_changed": "dead letters and tombstones without exactly the headers of their input record",
    "tombstones_changed": "tombstones that came out with a value, and events that came out as a tombstone",
    "wrong_replies": "results that can't be an answer to their event",
    "unreadable": "output records that can't be decoded, or don't say where they come from",
    "duplicate_costs": "cost records beyond the first of one cost_id",
    "mispriced": "cost records whose amount is not tokens x price",
    "outcome_costs": "results and dead letters whose cost is not the sum of their event's cost records",
    "cost_vs_ledger": "disagreements between the cost records and the model's ledger",
    "calls_repeated": "calls served again although the same text had been answered",
    "calls_unreported": "served calls without a cost record",
    "unexpected_counts": "counts other than the expected ones",
    "behind_open_transaction": "partitions where records wait behind a transaction that has not ended",
}


class Record(NamedTuple):
    """A record as it lies in Kafka. `fields` is its decoded value; None: a tombstone, or not decodable."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    fields: Fields | None = None

    @property
    def place(self) -> Source:
        """Where the record stands."""
        return (self.topic, self.partition, self.offset)


class Call(NamedTuple):
    """One entry of the ledger that the model's server keeps. `sha256` is that of the user message."""

    sequence: int
    model: str
    sha256: str
    served: bool
    outcome: str
    prompt_tokens: int
    completion_tokens: int


class Rate(NamedTuple):
    """USD per million tokens. `cache_read`, `cache_write` None: as `input`. `hour`: of a local model's compute time."""

    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    hour: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that was read; the records of one partition in the order in which a read_committed consumer sees them.

    None for costs or calls: nobody looked. `other_costs` are those of other stages that use the same ledger.
    `open_transactions` are the partitions (topic/number) where records wait behind a transaction that has not ended.
    """

    inputs: Sequence[Record]
    results: Sequence[Record]
    dead_letters: Sequence[Record] = ()
    costs: Sequence[Record] | None = None
    other_costs: Sequence[Record] = ()
    calls: Sequence[Call] | None = None
    partitions: Mapping[str, int] = field(default_factory=dict)   # topic -> number of partitions
    open_transactions: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Expect:
    """What is right for this run.

    `takes`: the stage's condition on the decoded event; None: it takes every event. `skipped`: how many events end
    without an outcome where no condition tells which. `answers(event, result)`: whether the result can be this event's.
    `repeated_calls` and `unreported_calls`: how many are allowed, because processes were killed.
    """

    takes: Callable[[Fields], bool] | None = None
    skipped: int = 0
    results: int | None = None
    dead_letters: int | None = None
    answers: Callable[[Fields, Fields], bool] | None = None
    repeated_calls: int = 0
    unreported_calls: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What was counted (`counts`), what of it is wrong (`faults`) and where (`samples`, the first few places).

    `cost_total` is the sum of the cost records, `ledger_total` the ledger's tokens x price; both in USD, exact.
    """

    counts: Mapping[str, int]
    faults: Mapping[str, int]
    samples: Mapping[str, Sequence[str]]
    dead_letter_kinds: Mapping[str, int]
    cost_total: Decimal | None = None
    ledger_total: Decimal | None = None

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values; amounts are exact decimal strings."""
        return {
            "clean": self.clean,
            "counts": dict(self.counts),
            "cost_total": plain(self.cost_total),
            "ledger_total": plain(self.ledger_total),
            "dead_letter_kinds": dict(self.dead_letter_kinds),
            "faults": dict(self.faults),
            "samples": {name: list(places) for name, places in self.samples.items() if name in self.faults},
        }


def plain(amount: Decimal | None) -> str | None:
    """Write an amount without an exponent and without trailing zeros."""
    if amount is None:
        return None
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


class Findings:
    """Counts, and the first places of each."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.samples: dict[str, list[str]] = defaultdict(list)

    def add(self, name: str, place: Source | str, number: int = 1) -> None:
        """Count `number` of `name`, found at `place`."""
        self.counts[name] += number
        if len(self.samples[name]) < SAMPLES:
            self.samples[name].append(place if isinstance(place, str) else "{}/{}@{}".format(*place))
