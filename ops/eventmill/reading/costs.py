"""What a pipeline spent, summed up from its cost events: exact amounts, and apart from them what has none."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from operator import itemgetter
from types import NoneType
from typing import Any

from eventmill.reading.topics import TopicReader
from eventmill.reading.values import Seen, ValueReader
from eventmill_schemas.avro_scalars import EXACT
from eventmill_schemas.cost import Certainty
from eventmill_schemas.errors import UsageError
from eventmill_schemas.pipeline import Kafka, Pipeline
from eventmill_schemas.topics import stage_topics

Fields = Mapping[str, Any]
Key = tuple[str | None, ...]


def _moment(fields: Fields) -> datetime:
    started: datetime = fields["started_at"]
    return started.astimezone(UTC)


_WORDS = ("stage", "step", "provider", "model", "prompt", "tenant", "outcome")
DIMENSIONS: Mapping[str, Callable[[Fields], str | None]] = {
    **{name: itemgetter(name) for name in _WORDS},
    "day": lambda fields: f"{_moment(fields):%Y-%m-%d}",
    "month": lambda fields: f"{_moment(fields):%Y-%m}",
}
"""What amounts can be told apart by; days and months are those of `started_at` in UTC."""

_TIMES = frozenset({"day", "month"})


@dataclass(slots=True)
class Spent:
    """What some attempts cost.

    `cost`: the exact sum of those whose amount is known, None where there is none. `uncertain` attempts were sent and
    perhaps billed, `unpriced` ones have tokens and no price: no amount stands for either. Tokens and seconds are sums
    of what was reported, None where nothing was.
    """

    attempts: int = 0
    cost: Decimal | None = None
    uncertain: int = 0
    unpriced: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    compute_seconds: Decimal | None = None

    def add(self, fields: Fields) -> None:
        """Count one attempt."""
        certainty = fields["certainty"]
        self.attempts += 1
        self.uncertain += certainty == Certainty.UNCERTAIN
        self.unpriced += certainty == Certainty.UNPRICED
        self.cost = _sum(self.cost, fields["cost"] if certainty == Certainty.EXACT else None)
        self.input_tokens = _count(self.input_tokens, fields["input_tokens"])
        self.output_tokens = _count(self.output_tokens, fields["output_tokens"])
        self.compute_seconds = _sum(self.compute_seconds, fields.get("compute_seconds"))


@dataclass(frozen=True, slots=True)
class Period:
    """From `since` on and before `until`, by when an attempt began; None: no bound."""

    since: datetime | None = None
    until: datetime | None = None

    def __contains__(self, moment: datetime) -> bool:
        return (self.since is None or moment >= self.since) and (self.until is None or moment < self.until)


@dataclass(slots=True)
class CostReport:
    """Sums by the values of `by` and currency, and the sums of everything by currency.

    `unread` records of the costs topics are in no sum: `problem` says why the first of them is not.
    """

    by: tuple[str, ...]
    rows: dict[tuple[Key, str], Spent] = field(default_factory=dict)
    totals: dict[str, Spent] = field(default_factory=dict)
    unread: int = 0
    problem: str = ""

    def add(self, seen: Seen, pipeline: str, period: Period) -> None:
        """Take in one record; one of another pipeline or time is passed over."""
        if (problem := _problem(seen)) is not None:
            self.unread += 1
            self.problem = self.problem or f"{seen.record.source}: {problem}"
            return
        fields: Any = seen.value
        if fields["pipeline"] != pipeline or _moment(fields) not in period:
            return
        key: Key = tuple(DIMENSIONS[name](fields) for name in self.by)
        currency = fields["currency"]
        self.rows.setdefault((key, currency), Spent()).add(fields)
        self.totals.setdefault(currency, Spent()).add(fields)

    def ranked(self) -> Iterator[tuple[Key, str, Spent]]:
        """Yield the sums: by time where that is asked for, else the largest amounts first."""
        times = [index for index, name in enumerate(self.by) if name in _TIMES]

        def rank(row: tuple[tuple[Key, str], Spent]) -> Any:
            (key, currency), spent = row
            when = [key[index] for index in times]
            amount = -(spent.cost if spent.cost is not None else Decimal(0))
            return when, amount, [(value is None, value or "") for value in key], currency

        for (key, currency), spent in sorted(self.rows.items(), key=rank):
            yield key, currency, spent


def read_costs(pipeline: Pipeline, kafka: Kafka, by: Sequence[str], period: Period = Period()) -> CostReport:
    """Sum up the committed cost events of all stages, up to the present end of their topics.

    Blocks. Raises UsageError for what amounts can't be told apart by; SetupError, KafkaUnreachable.
    """
    if unknown := next((name for name in by if name not in DIMENSIONS), None):
        raise UsageError(f"costs can't be told by {unknown!r}", remedy=f"They can by {', '.join(DIMENSIONS)}")
    topics = [stage_topics(pipeline.name, stage.name, stage.topics).costs for stage in pipeline.stages]
    report = CostReport(tuple(dict.fromkeys(by)))
    reader = TopicReader(kafka, list(dict.fromkeys(topics)))
    try:
        with ValueReader(kafka.registry) as values:
            spans = reader.spans()
            starts = {partition: span.start for partition, span in spans.items()}
            ends = {partition: span.end for partition, span in spans.items()}
            for record in reader.read(starts, ends):
                report.add(values.see(record), pipeline.name, period)
    finally:
        reader.close()
    return report


_OPTIONAL = (NoneType, str)
_COUNT = (NoneType, int)
_AMOUNT = (NoneType, Decimal)
_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("pipeline", "stage", "step", "provider", "model", "outcome", "currency"), (str,)),
    **dict.fromkeys(("tenant", "prompt"), _OPTIONAL),
    **dict.fromkeys(("input_tokens", "output_tokens"), _COUNT),
    "started_at": (datetime,),
    "cost": _AMOUNT,
}
_ABSENT: Any = object()


def _problem(seen: Seen) -> str | None:
    """Say why a record is no cost event, None where it is one."""
    fields = seen.value
    if not isinstance(fields, Mapping):
        return seen.problem or "it is no cost event"
    wrong = next((name for name, types in _TYPES.items() if not isinstance(fields.get(name, _ABSENT), types)), None)
    if wrong is None and fields.get("certainty") not in set(Certainty):
        wrong = "certainty"
    if wrong is None and not isinstance(fields.get("compute_seconds"), _AMOUNT):
        wrong = "compute_seconds"   # events of earlier versions have none
    if wrong is not None:
        return f"it is no cost event: it has no usable {wrong}"
    if fields["certainty"] == Certainty.EXACT and fields["cost"] is None:
        return "it has no amount, and says that it is exact"
    return None


def _sum(total: Decimal | None, amount: Decimal | None) -> Decimal | None:
    if amount is None:
        return total
    return amount if total is None else EXACT.add(total, amount)


def _count(total: int | None, count: int | None) -> int | None:
    return total if count is None else (total or 0) + count
