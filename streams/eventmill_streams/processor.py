"""What one event becomes: decoded, enriched, encoded. Satisfies eventmill_streams.replica.Processor."""

from collections.abc import Sequence

from eventmill_agents.enrich import Enricher
from eventmill_agents.outcome import DeadLetter, Outcome, Result
from eventmill_agents.ports import Gate
from eventmill_schemas.cost import CostEvent
from eventmill_schemas.errors import EventError, RecordTooLarge
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
        self._metrics = metrics
        self._stage = stage.name
        self._models: set[str] = set()

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

    def bury(self, record: RawRecord, settlement: Settlement, error: RecordTooLarge) -> Settlement:
        """Return the dead letter, with the same costs, of an event whose records Kafka refused."""
        try:
            event = self._decoder.now(record) if record.value is not None else None
        except EventError:
            event = None
        return self._publisher.dead_letter(record, event, DeadLetter(error), settlement.costs)

    def committed(self, settlement: Settlement) -> None:
        """Count an event, once: what it became may have changed until now, or been dropped."""
        self._metrics.events.labels(stage=self._stage, outcome=settlement.end.value).inc()
        if settlement.kind is not None:
            self._metrics.dead_letters.labels(stage=self._stage, kind=settlement.kind).inc()

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
        metrics, stage, model = self._metrics, self._stage, self._model_label(cost.model)
        metrics.calls.labels(stage=stage, provider=cost.provider, model=model, outcome=cost.outcome).inc()
        metrics.call_seconds.labels(stage=stage, model=model).observe(cost.duration_ms / 1000)
        if cost.usage is not None:
            for direction, count in (("input", cost.usage.input_tokens), ("output", cost.usage.output_tokens)):
                metrics.tokens.labels(stage=stage, model=model, direction=direction).inc(count)
        if cost.cost is not None:
            metrics.cost.labels(stage=stage, model=model).inc(float(cost.cost))

    def _model_label(self, model: str) -> str:
        """Return the label for a model: its name is the server's text, so only the first few are told apart."""
        if len(self._models) < MODEL_LABELS:
            self._models.add(model)
        return model if model in self._models else "other"
