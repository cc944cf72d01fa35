"""What the attempts of a model call cost: one cost event per request that was sent, whatever came of it.

| what came of the attempt                            | certainty | cost                      |
|-----------------------------------------------------|-----------|---------------------------|
| a reply with usage, usable or not; price known      | EXACT     | usage x price             |
| a reply with usage; no price known                  | UNPRICED  | none                      |
| a reply without usable usage                        | UNCERTAIN | none                      |
| RateLimited, Overloaded, RequestRefused             | EXACT     | 0: nothing was served     |
| Ambiguous, cancelled while in flight, anything else | UNCERTAIN | none: may have been billed |

Where nothing was sent (Unavailable), there is no attempt and no cost event.

A local model's work for one step is one cost event, too: seconds of its device x price per hour / 3600, rounded
half-even at 12 decimal places; EXACT where the price is known, else UNPRICED. Work that failed is not billed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final

from eventmill_agents.ports import Prices
from eventmill_schemas.chat import ChatReply, Usage
from eventmill_schemas.cost import Certainty, CostEvent, Price
from eventmill_schemas.errors import EventmillError, Overloaded, RateLimited, RequestRefused
from eventmill_schemas.events import Event
from eventmill_schemas.ids import cost_id
from eventmill_schemas.local_models import PROVIDER, ModelCard
from eventmill_schemas.pipeline import ModelRef

OK: Final = "ok"
MODEL_NAME: Final = 200   # characters; what a server calls its model is its own invention

_EXACT: Final = Context(prec=60, rounding=ROUND_HALF_EVEN)   # digits; a product of seconds and price has about 35
_PLACES: Final = Decimal("1e-12")
_HOUR: Final = Decimal(3600)

_UNSERVED: Final = (RateLimited, Overloaded, RequestRefused)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request that was sent: `number` counts from 1 over all models of the call's route. Times in UTC."""

    number: int
    model: ModelRef
    started_at: datetime
    duration_ms: int


@dataclass(frozen=True, slots=True)
class CallCosts:
    """Makes the cost events of one call. The same attempt of the same record always gets the same `cost_id`."""

    pipeline: str
    stage: str
    step: str
    event: Event
    call_id: str
    prompt: str | None
    prices: Prices

    def of_reply(self, attempt: Attempt, reply: ChatReply, outcome: str) -> CostEvent:
        """Price a reply; `outcome` is "ok" or the kind of the error that made it unusable."""
        asked, served = attempt.model.model, served_model(attempt.model, reply)
        if reply.usage is None:
            return self._event(attempt, served, outcome, Certainty.UNCERTAIN, Price(None, None), None)
        price = self.prices.price(attempt.model.provider, served, reply.usage, attempt.started_at)
        if price.amount is None and served != asked:   # a server of one's own may answer under any name
            price = self.prices.price(attempt.model.provider, asked, reply.usage, attempt.started_at)
        certainty = Certainty.UNPRICED if price.amount is None else Certainty.EXACT
        return self._event(attempt, served, outcome, certainty, price, reply)

    def of_failure(self, attempt: Attempt, error: EventmillError) -> CostEvent:
        """Account for an attempt that brought no reply."""
        unserved = isinstance(error, _UNSERVED)
        certainty = Certainty.EXACT if unserved else Certainty.UNCERTAIN
        price = Price(Decimal(0) if unserved else None, None)
        return self._event(attempt, attempt.model.model, error.kind, certainty, price, None)

    def _event(
        self, attempt: Attempt, model: str, outcome: str, certainty: Certainty, price: Price, reply: ChatReply | None
    ) -> CostEvent:
        return CostEvent(
            cost_id=cost_id(self.event.record.source, self.call_id, attempt.number),
            call_id=self.call_id,
            event_id=self.event.id,
            tenant=self.event.tenant,
            pipeline=self.pipeline,
            stage=self.stage,
            step=self.step,
            source=self.event.record.source,
            attempt=attempt.number,
            provider=attempt.model.provider,
            model=model,
            prompt=self.prompt,
            outcome=outcome,
            usage=None if reply is None else reply.usage,
            certainty=certainty,
            cost=price.amount,
            price_row=price.row,
            started_at=attempt.started_at,
            duration_ms=attempt.duration_ms,
        )


@dataclass(frozen=True, slots=True)
class Work:
    """What a local model did for one step. `tokens` None: it takes none. `seconds` are those of its device."""

    id: str
    step: str
    card: ModelCard
    tokens: int | None
    seconds: Decimal
    started_at: datetime
    duration_ms: int


def work_cost(pipeline: str, stage: str, event: Event, work: Work, price_per_hour: Decimal | None) -> CostEvent:
    """Account for the work of a local model; `price_per_hour` in USD, None where it is not known."""
    price = None if price_per_hour is None else compute_cost(work.seconds, price_per_hour)
    return CostEvent(
        cost_id=cost_id(event.record.source, work.id, 1),
        call_id=work.id,
        event_id=event.id,
        tenant=event.tenant,
        pipeline=pipeline,
        stage=stage,
        step=work.step,
        source=event.record.source,
        attempt=1,
        provider=PROVIDER,
        model=work.card.label,
        prompt=None,
        outcome=OK,
        usage=None if work.tokens is None else Usage(input_tokens=work.tokens, output_tokens=0),
        certainty=Certainty.UNPRICED if price is None else Certainty.EXACT,
        cost=price,
        price_row=None if price_per_hour is None else f"models:{work.card.name}@{price_per_hour:f}/h",
        started_at=work.started_at,
        duration_ms=work.duration_ms,
        device=work.card.device,
        compute_seconds=work.seconds,
    )


def compute_cost(seconds: Decimal, price_per_hour: Decimal) -> Decimal:
    """Return what `seconds` of a device cost in USD, with 12 decimal places, rounded half-even."""
    product = _EXACT.multiply(seconds, price_per_hour)
    return _EXACT.divide(product, _HOUR).quantize(_PLACES, context=_EXACT)


def total_cost(costs: Iterable[CostEvent]) -> Decimal | None:
    """Return what `costs` add up to in USD, exactly; None where one of them is not known exactly."""
    total = Decimal(0)
    for cost in costs:
        if cost.certainty is not Certainty.EXACT or cost.cost is None:
            return None
        total += cost.cost
    return total


def served_model(asked: ModelRef, reply: ChatReply) -> str:
    """Return the model that `reply` says it is from (at most 200 characters of it), else the one asked for."""
    return reply.model[:MODEL_NAME] or asked.model
