"""Model calls on behalf of one event: `Ports` for its steps, with every attempt accounted for.

A call asks the models of its route in turn. Each has the stage's attempts; a model that is away (Unavailable) takes
none, because nothing was sent. While no model of the route can be reached, the event waits at the door without limit.
A reply ends the call, usable or not; so does a refused request.

The calls of one event are made one after the other, even if a step asks for several at once: so an event never needs
more than its one in-flight slot. The same request (same `call_id`) is asked once per event: asking again gives the
first answer or the first error, and costs nothing.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from eventmill_agents.answer import Validator, Validators, read_answer
from eventmill_agents.cost import OK, Attempt, CallCosts, Work, served_model, work_cost
from eventmill_agents.local_calls import LocalCalls, LocalParts, Wanted
from eventmill_agents.outcome import Provenance
from eventmill_agents.ports import ChatModels, Gate, Ports, Prices
from eventmill_agents.retry import LEAST_SECONDS, Attempts, TimeBudget
from eventmill_schemas.chat import ChatReply, ChatRequest
from eventmill_schemas.cost import CostEvent
from eventmill_schemas.errors import (
    AccountClosed,
    Ambiguous,
    CallError,
    CallFailed,
    EventError,
    ModelUnreachable,
    Unavailable,
    UsageError,
)
from eventmill_schemas.events import Event
from eventmill_schemas.ids import call_id
from eventmill_schemas.local_models import Chunk, Encoded, Passage
from eventmill_schemas.pipeline import ModelRef
from eventmill_schemas.storable_text import storable_text


def utc_now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class StageCalls:
    """What all calls of a stage have in common. `deadline` in seconds: all attempts of a call and the waits between."""

    pipeline: str
    stage: str
    routes: Mapping[str, Sequence[ModelRef]]
    attempts: int
    deadline: float
    models: ChatModels
    prices: Prices
    now: Callable[[], datetime] = utc_now
    validators: Validators = field(default_factory=Validators)
    local: LocalParts = field(default_factory=LocalParts)


@dataclass(slots=True)
class _Call:
    """What is known of one request so far. `attempts` counts over all models, also those of an abandoned try."""

    id: str
    request: ChatRequest
    validator: Validator
    costs: CallCosts
    attempts: int = 0
    reply: ChatReply | None = None
    error: EventError | None = None


class Calls:
    """All model calls of one event, with what they cost."""

    def __init__(self, stage: StageCalls, event: Event, gate: Gate) -> None:
        self._stage = stage
        self._event = event
        self._gate = gate
        self._turn = asyncio.Lock()
        self._known: dict[str, _Call] = {}
        self._local: LocalCalls | None = None
        self.costs: list[CostEvent] = []
        self.provenance = Provenance()

    def port(self, step: str) -> Ports:
        """Return what the step called `step` may call."""
        return _StepPort(self, step)

    @property
    def local(self) -> LocalCalls:
        """The event's use of local models and stores: made when it is first asked for."""
        if self._local is None:
            stage = self._stage
            self._local = LocalCalls(stage.local, self._event, self._gate, self._turn, self._account)
        return self._local

    def _account(self, work: Work) -> None:
        """Note what a local model did; it has made the result until a chat model replies."""
        stage = self._stage
        price = stage.local.prices.get(work.card.name)
        self.costs.append(work_cost(stage.pipeline, stage.stage, self._event, work, price))
        if self.provenance.model is None:
            self.provenance = Provenance(work.card.label)

    async def complete(self, step: str, route: str, request: ChatRequest, prompt: str | None) -> dict[str, Any]:
        """Ask the models of `route`; see `Ports.complete`."""
        models = self._stage.routes.get(route)
        if not models:
            raise UsageError(
                f"step {step!r} asks route {route!r}, which the pipeline does not have",
                remedy=f"Routes: {', '.join(self._stage.routes) or 'none'}",
            )
        if request.schema is None:
            raise UsageError(f"step {step!r} asks without a schema", remedy="Give the JSON Schema of the answer")
        validator = self._stage.validators.of(request.schema)
        asked = call_id(self._event.tenant, self._event.id, step, prompt, request)
        async with self._turn:
            call = self._known.get(asked)
            if call is None:
                call = self._known[asked] = _Call(asked, request, validator, self._costs_of(step, asked, prompt))
            if call.reply is not None:
                return read_answer(call.reply, validator)   # read anew: the step may have changed what it got
            if call.error is not None:
                raise call.error
            try:
                return await self._ask(call, models)
            except EventError as error:
                call.error = error
                raise

    def _costs_of(self, step: str, asked: str, prompt: str | None) -> CallCosts:
        stage = self._stage
        return CallCosts(stage.pipeline, stage.stage, step, self._event, asked, prompt, stage.prices)

    async def _ask(self, call: _Call, models: Sequence[ModelRef]) -> dict[str, Any]:
        """Ask until a model replies or all have failed."""
        budget = TimeBudget(self._stage.deadline)
        usable = [(model, Attempts(self._stage.attempts, budget, self._gate)) for model in models]
        last: CallError | CallFailed | None = None
        waits = 0
        while True:
            away: Unavailable | None = None
            for model, attempts in list(usable):
                if last is not None and budget.remaining < LEAST_SECONDS:
                    raise _failed(call, models, last) from last
                try:
                    return await attempts.run(partial(self._attempt, call, model, attempts, budget))
                except Unavailable as error:
                    away = away or error
                except (CallError, CallFailed) as error:   # CallFailed: this server asks not to be asked again
                    last = error
                    usable.remove((model, attempts))
            if away is None:
                raise _failed(call, models, last) from last
            waits += 1
            await self._gate.wait_open(away, waits)

    async def _attempt(self, call: _Call, model: ModelRef, attempts: Attempts, budget: TimeBudget) -> dict[str, Any]:
        """Send the request once and return the answer."""
        stage = self._stage
        started_at, start = stage.now(), time.monotonic()

        def sent() -> Attempt:
            seconds = time.monotonic() - start
            budget.spend(seconds)
            attempts.made += 1
            call.attempts += 1
            return Attempt(call.attempts, model, started_at, round(seconds * 1000))

        timeout = min(model.timeout.total_seconds(), budget.remaining)
        try:
            reply = await stage.models.complete(model, call.request, timeout)
        except (CallError, EventError) as error:
            self.costs.append(call.costs.of_failure(sent(), error))
            if not isinstance(error, Ambiguous):  # a refusal is an answer: the server is there, and knows the key
                self._server_answered()
            raise
        except asyncio.CancelledError:
            # A step's own timeout, or the end of the event's stay here: sent, and nobody waits for what comes of it.
            self.costs.append(call.costs.of_failure(sent(), Ambiguous("cancelled while in flight")))
            raise
        attempt = sent()
        self._server_answered()
        try:
            answer = read_answer(reply, call.validator)
        except EventError as error:
            self.costs.append(call.costs.of_reply(attempt, reply, error.kind))
            raise
        self.costs.append(call.costs.of_reply(attempt, reply, OK))
        self.provenance = Provenance(served_model(model, reply), call.costs.prompt)
        call.reply = reply
        return answer

    def _server_answered(self) -> None:
        self._gate.opened(ModelUnreachable)
        self._gate.opened(AccountClosed)


def _failed(call: _Call, models: Sequence[ModelRef], last: CallError | CallFailed | None) -> CallFailed:
    asked = ", ".join(f"{model.provider}/{model.model}" for model in models)
    reason = "no model was asked" if last is None else f"the last with {last.kind}: {last.message}"
    return CallFailed(f"{call.attempts} attempts at {asked} failed, {reason}")


class _StepPort:
    """`Ports` for one step of one event."""

    def __init__(self, calls: Calls, step: str) -> None:
        self._calls = calls
        self._step = step

    async def complete(
        self,
        *,
        route: str,
        system: str,
        user: str,
        schema: Mapping[str, Any],
        prompt: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        request = ChatRequest(
            system=storable_text(system),
            user=storable_text(user),
            schema_name=re.sub(r"[^a-zA-Z0-9_-]", "_", self._step)[:64],   # what OpenAI accepts, the narrowest of all
            schema=schema,
            parameters=parameters or {},
        )
        return await self._calls.complete(self._step, route, request, prompt)

    async def encode(self, model: str, texts: Sequence[str]) -> Sequence[Encoded]:
        return await self._calls.local.encode(self._step, model, texts)

    async def split(
        self, model: str, text: str, *, max_tokens: int | None = None, overlap: int = 0
    ) -> Sequence[str]:
        return await self._calls.local.split(model, text, max_tokens, overlap)

    async def infer(self, model: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        return await self._calls.local.infer(self._step, model, inputs)

    async def search(
        self,
        store: str,
        text: str,
        *,
        limit: int = 5,
        min_similarity: float | None = None,
        any_tenant: bool = False,
    ) -> Sequence[Passage]:
        wanted = Wanted(limit, min_similarity, any_tenant)
        return await self._calls.local.search(self._step, store, text, wanted)

    async def unchanged(self, store: str, texts: Sequence[str]) -> bool:
        return await self._calls.local.unchanged(store, texts)

    async def store(self, store: str, chunks: Sequence[Chunk]) -> None:
        await self._calls.local.store(store, chunks)
