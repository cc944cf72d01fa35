"""What one event becomes: decoded, enriched, encoded. Satisfies eventmill_streams.replica.Processor."""

from collections.abc import Sequence
from functools import cache, partial

from eventmill_agents.enrich import Enricher
from eventmill_agents.outcome import DeadLetter, Outcome, Result
from eventmill_agents.ports import Gate
from eventmill_schemas.cost import CostEvent
from eventmill_schemas.errors import EventError
from eventmill_schemas.events import Event, RawRecord
from eventmill_schemas.pipeline import Stage
from eventmill_streams.decode import Decoder
from eventmill_streams.metrics import Metrics
from eventmill_streams.publish import Publisher
from eventmill_streams.settlement import Settlement

MODEL_LABELS = 50
"""Model names that metrics tell apart; any more count as `other`."""


class StageProcessor:
    """The processor of one stage. Every failure that one event causes ends in its dead letter."""

    def __init__(
        self, decoder: Decoder, enricher: Enricher, publisher: Publisher, metrics: Metrics, stage: Stage
    ) -> None:
        self._waits = bool(stage.steps)
        self._decoder = decoder
        self._enricher = enricher
        self._publisher = publisher
        self._models: set[str] = set()
        # Looking a labelled metric up costs more than counting: each is kept. There are few, as labels are bounded.
        self._events = cache(partial(metrics.events.labels, stage.name))
        self._dead_letters = cache(partial(metrics.dead_letters.labels, stage.name))
        self._calls = cache(partial(metrics.calls.labels, stage.name))
        self._call_seconds = cache(partial(metrics.call_seconds.labels, stage.name))
        self._tokens = cache(partial(metrics.tokens.labels, stage.name))
        self._cost = cache(partial(metrics.cost.labels, stage.name))

    def now(self, record: RawRecord) -> Settlement | None:
        """Settle without waiting: tombstones, and all events of a stage without steps once their schema is known."""
        if record.value is None:
            return self._publisher.tombstone(record)
        if self._waits:
            return None
        try:
            event = self._decoder.now(record)
        except EventError as error:
            return self._dead(record, None, DeadLetter(error))
        outcome = None if event is None else self._enricher.enrich_now(event)
        return None if event is None or outcome is None else self._settle(event, outcome)

    async def run(self, record: RawRecord, gate: Gate) -> Settlement:
        """Settle, waiting for schemas and models as needed."""
        try:
            event = await self._decoder.decode(record, gate)
        except EventError as error:
            return self._dead(record, None, DeadLetter(error))
        return self._settle(event, await self._enricher.enrich(event, gate))

    def bury(self, record: RawRecord, settlement: Settlement, error: EventError) -> Settlement:
        """Return the dead letter, with the same costs, of an event whose records Kafka refused."""
        try:
            event = self._decoder.now(record) if record.value is not None else None
        except EventError:
            event = None
        return self._publisher.dead_letter(record, event, DeadLetter(error), settlement.costs)

    def committed(self, settlement: Settlement) -> None:
        """Count an event, once: what it became may have changed until now, or been dropped."""
        self._events(settlement.end.value).inc()
        if settlement.kind is not None:
            self._dead_letters(settlement.kind).inc()

    def _settle(self, event: Event, outcome: Outcome) -> Settlement:
        for cost in outcome.costs:
            self._count_call(cost)
        if isinstance(outcome.end, DeadLetter):
            return self._dead(event.record, event, outcome.end, outcome.costs)
        if isinstance(outcome.end, Result):
            try:
                return self._publisher.result(event, outcome.end, outcome.costs)
            except EventError as error:
                return self._dead(event.record, event, DeadLetter(error), outcome.costs)
        return self._publisher.skipped(event, outcome.costs)

    def _dead(
        self, record: RawRecord, event: Event | None, end: DeadLetter, costs: Sequence[CostEvent] = ()
    ) -> Settlement:
        return self._publisher.dead_letter(record, event, end, costs)

    def _count_call(self, cost: CostEvent) -> None:
        model = self._model_label(cost.model)
        self._calls(cost.provider, model, cost.outcome).inc()
        self._call_seconds(model).observe(cost.duration_ms / 1000)
        if cost.usage is not None:
            self._tokens(model, "input").inc(cost.usage.input_tokens)
            self._tokens(model, "output").inc(cost.usage.output_tokens)
        if cost.cost is not None:
            self._cost(model).inc(float(cost.cost))

    def _model_label(self, model: str) -> str:
        """Return the label for a model: its name is the server's text, so only the first few are told apart."""
        if len(self._models) < MODEL_LABELS:
            self._models.add(model)
        return model if model in self._models else "other"
