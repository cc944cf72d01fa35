"""One event through the steps of a stage, by the code that workers run: what became of it, what was asked and paid."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from eventmill.trying.observed import Exchange, ObservedModels
from eventmill_agents.calls import utc_now
from eventmill_agents.cost import total_cost
from eventmill_agents.enrich import Enricher
from eventmill_agents.local_calls import LocalParts
from eventmill_agents.outcome import DeadLetter, Outcome, Result, Skip
from eventmill_agents.ports import ChatModels, Gate, Prices
from eventmill_agents.steps.python import StepFunction
from eventmill_schemas.codec import AvroReader, AvroWriter, frame
from eventmill_schemas.cost import CostEvent
from eventmill_schemas.errors import EventError, Unavailable
from eventmill_schemas.events import Event, RawRecord
from eventmill_schemas.pipeline import Pipeline, Stage
from eventmill_schemas.records import result_value
from eventmill_schemas.result_schema import published, schema_text
from eventmill_streams.decode import Decoder

TOMBSTONE = "tombstone"
"""Why a record without a value has no result: workers pass it on."""


@dataclass(frozen=True, slots=True)
class Outside:
    """What a stage needs besides its files: models, prices, its python steps by target, local models and stores."""

    models: ChatModels
    prices: Prices
    functions: Mapping[str, StepFunction] = field(default_factory=dict)
    local: LocalParts | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt of a model call. `cost` None: nothing was sent, so that there is nothing to account for."""

    exchange: Exchange
    cost: CostEvent | None


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one event. `event` None: its value can't be decoded, or it has none.

    `result`: the record that would be published, with its envelope, as its readers see it; None where there is none.
    `calls` are the attempts at models, in order; `costs` all that would be written to the costs topic.
    """

    record: RawRecord
    event: Event | None
    end: Result | DeadLetter | Skip
    result: Mapping[str, Any] | None = None
    calls: tuple[Call, ...] = ()
    costs: tuple[CostEvent, ...] = ()

    @property
    def dead_letter(self) -> DeadLetter | None:
        """How it failed for good; None where it did not."""
        return self.end if isinstance(self.end, DeadLetter) else None

    @property
    def skip(self) -> Skip | None:
        """Why it needs no result; None where it has one, or failed."""
        return self.end if isinstance(self.end, Skip) else None

    @property
    def cost(self) -> Decimal | None:
        """USD for all of it, exactly; None where a part is not known."""
        return total_cost(self.costs)


class TrialGate:
    """How a tried event waits: `waits` times in all it is let through at once; then what is away is raised.

    `pause` is awaited between attempts, with seconds and reason. Satisfies eventmill_agents.ports.Gate.
    """

    def __init__(self, pause: Callable[[float, str], Awaitable[None]], waits: int = 0) -> None:
        self._pause = pause
        self._waits = waits
        self.away: Unavailable | None = None

    async def pause(self, seconds: float, reason: str) -> None:
        """Wait between two attempts."""
        await self._pause(seconds, reason)

    async def wait(self, until: Awaitable[None], reason: str) -> None:
        """Wait for room in a queue."""
        await until

    async def wait_open(self, unavailable: Unavailable, attempt: int) -> None:
        """Go on at once, or raise `unavailable`: who tries a stage wants to know, not to wait."""
        if attempt > self._waits:
            self.away = unavailable
            raise unavailable

    def opened(self, kind: type[Unavailable]) -> None:
        """Nobody else waits here."""


class StageTrial:
    """Tries events on one stage. Built once; used for many events at the same time.

    `gate` makes the gate of one event. Raises UsageError for everything that can be told without an event.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        stage: Stage,
        outside: Outside,
        gate: Callable[[], TrialGate],
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._models = ObservedModels(outside.models)
        self._enricher = Enricher(
            pipeline, stage, self._models, outside.prices, outside.functions, local=outside.local, now=now
        )
        self._gate = gate
        self._now = now
        text = schema_text(published(stage.result.avro, stage.result.file))
        self._writer, self._reader = AvroWriter(text, 0), AvroReader(text)

    async def run_record(self, record: RawRecord, decoder: Decoder) -> Trial:
        """Decode a record and run the steps on it. What can't be decoded is a dead letter. Raises as `run` does."""
        if record.value is None:
            return Trial(record, None, Skip(TOMBSTONE))
        gate = self._gate()
        try:
            event = await decoder.decode(record, gate)
        except EventError as error:
            return Trial(record, None, DeadLetter(error))
        return await self.run(event)

    async def run(self, event: Event) -> Trial:
        """Run the steps on `event`; the result is encoded and read again, as its topic's readers would.

        Raises Unavailable where something that every event needs is away, and whatever the models raise that is no
        error of eventmill.
        """
        gate = self._gate()
        with self._models.watched() as exchanges:
            outcome = await self._outcome(event, gate)
        calls = tuple(_calls(exchanges, outcome.costs))
        if not isinstance(outcome.end, Result):
            return Trial(event.record, event, outcome.end, None, calls, outcome.costs)
        try:
            result = self._published(event, outcome.end, outcome.costs)
        except EventError as error:
            return Trial(event.record, event, DeadLetter(error), None, calls, outcome.costs)
        return Trial(event.record, event, outcome.end, result, calls, outcome.costs)

    async def _outcome(self, event: Event, gate: "TrialGate") -> Outcome:
        try:
            waiting: Gate = gate
            outcome = await self._enricher.enrich(event, waiting)
        except Exception:   # raised again: as the defect that the models have noted, else as it is
            if self._models.defect is not None:
                raise self._models.defect from None
            raise
        # A python step may have caught what no event is to blame for, or made its own failure of it.
        if (raised := self._models.defect or gate.away) is not None:
            raise raised
        return outcome

    def _published(self, event: Event, end: Result, costs: Sequence[CostEvent]) -> Mapping[str, Any]:
        value = result_value(
            event,
            end.fields,
            model=end.provenance.model,
            prompt=end.provenance.prompt,
            cost=total_cost(costs),
            processed_at=self._now(),
        )
        return self._reader.decode(frame(self._writer.encode(value))[1])


def _calls(exchanges: Sequence[Exchange], costs: Sequence[CostEvent]) -> list[Call]:
    """Join attempts with their cost events. Both are in order; what was not sent has no cost event."""
    left = list(costs)
    joined = []
    for exchange in exchanges:
        cost = None
        if not isinstance(exchange.error, Unavailable):
            place = next((i for i, one in enumerate(left) if one.provider == exchange.model.provider), None)
            cost = None if place is None else left.pop(place)
        joined.append(Call(exchange, cost))
    return joined
