"""What a backlog would cost, and how long it would take, before anything is asked."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from eventmill.starting.events import Events
from eventmill.trying.tokens import estimated_tokens
from eventmill_agents.prompt import PromptRenderer
from eventmill_connectors.pricing import PriceList
from eventmill_schemas.chat import Usage
from eventmill_schemas.errors import EventError
from eventmill_schemas.events import Event, RawRecord, Source
from eventmill_schemas.json_schema import json_schema
from eventmill_schemas.pipeline import CompleteStep, Pipeline, Stage
from eventmill_schemas.result_schema import answer_fields

SECONDS_PER_CALL: Final = 4.0
"""Assumed: what a small hosted model takes for a short answer."""

OUTPUT_TOKENS: Final = 300
"""Assumed: an answer of a few fields, with a little reasoning before it."""

EVENT_TOKENS: Final = 200
"""Assumed of an event's text where there are no samples to measure."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What `events` would cost and take, each with one call of `model`. Tokens are those of one event.

    `samples`: so many events were rendered to count input tokens, 4 characters a token; 0: their text is assumed.
    `price`: USD for one event; None: not known. `rate`: events per second of one replica.
    """

    events: int
    model: str
    samples: int
    input_tokens: int
    output_tokens: int
    price: Decimal | None
    rate: float

    @property
    def cost(self) -> Decimal | None:
        """USD for all events; None where the price is not known."""
        return None if self.price is None else self.price * self.events

    @property
    def seconds(self) -> float:
        """How long one replica takes for all of them: not less than one call."""
        return max(SECONDS_PER_CALL, self.events / self.rate) if self.events else 0.0


def estimate(pipeline: Pipeline, stage: Stage, events: Events, count: int) -> Estimate:
    """Estimate `count` events like `events` in a stage whose first `complete` step is its only call."""
    step = next(step for step in stage.steps if isinstance(step, CompleteStep))
    model = pipeline.routes[step.route][0]
    schema = json.dumps(json_schema(stage.result.avro, answer_fields(stage.result.avro)))
    rendered = [estimated_tokens(*texts, schema) for texts in _rendered(step, events)]
    given = round(sum(rendered) / len(rendered)) if rendered else _without_samples(step, schema)
    usage = Usage(given, OUTPUT_TOKENS)
    price = PriceList(pipeline.prices).price(model.provider, model.model, usage, datetime.now(UTC)).amount
    rate = stage.in_flight / SECONDS_PER_CALL
    return Estimate(count, model.model, len(rendered), given, OUTPUT_TOKENS, price, rate)


def _rendered(step: CompleteStep, events: Events) -> Iterator[Sequence[str]]:
    renderer = PromptRenderer(step.prompt, step.name)
    for number, sample in enumerate(events.samples):
        record = RawRecord(Source(events.topic, 0, number), None, b"", (), -1)
        try:
            yield renderer.render(Event(str(number), None, sample, record), {})
        except EventError:
            continue   # an event that would be a dead letter costs nothing


def _without_samples(step: CompleteStep, schema: str) -> int:
    return estimated_tokens(step.prompt.system, step.prompt.user, schema) + EVENT_TOKENS
