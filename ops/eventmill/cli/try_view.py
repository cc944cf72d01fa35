"""Tried events as text for people and as JSON for programs."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from eventmill.reading.show import json_text, printable
from eventmill.trying.answering import Answering
from eventmill.trying.observed import Exchange
from eventmill.trying.session import Round
from eventmill.trying.trial import Call, Trial
from eventmill_agents.answer import Validators, read_answer
from eventmill_agents.cost import OK
from eventmill_agents.outcome import DeadLetter, Result
from eventmill_schemas.chat import Finish
from eventmill_schemas.cost import Certainty, CostEvent
from eventmill_schemas.dead_letter import cause_text
from eventmill_schemas.errors import EventError, UsageError
from eventmill_schemas.result_schema import ENVELOPE

_BAR = "    | "
_VALIDATORS = Validators()


def lines(place: str, trial: Trial, before: Sequence[str] = ()) -> Iterator[str]:
    """Return an event as lines. System texts in `before` were shown already."""
    yield heading(place, trial)
    shown = set(before)
    calls = {call.cost.cost_id: call for call in trial.calls if call.cost is not None}
    for cost in trial.costs:
        if (call := calls.get(cost.cost_id)) is None:
            yield _local_line(cost)
        else:
            yield from _call_lines(call, shown)
    yield from _end_lines(trial)
    if trial.costs:
        yield f"  cost {amount(trial.costs)}"


def heading(place: str, trial: Trial) -> str:
    """Return the line that says which event it is."""
    if trial.event is None:
        return printable(place)
    tenant = f"  tenant {trial.event.tenant}" if trial.event.tenant is not None else ""
    name = "" if trial.event.id == place else f"{trial.event.id}  "
    return printable(f"{name}{place}{tenant}")


def system_texts(trial: Trial) -> list[str]:
    """Return the system texts that were sent for an event."""
    return [call.exchange.request.system for call in trial.calls]


def totals(trials: Iterable[Trial]) -> dict[str, Any]:
    """Count what became of events, and add up what it cost: `cost` is what is known, `unknown` counts the rest."""
    tried = list(trials)
    costs = [cost for trial in tried for cost in trial.costs]
    usages = [cost.usage for cost in costs if cost.usage is not None]
    return {
        "events": len(tried),
        "results": sum(isinstance(trial.end, Result) for trial in tried),
        "dead_letters": sum(isinstance(trial.end, DeadLetter) for trial in tried),
        "skipped": sum(trial.skip is not None for trial in tried),
        "attempts": sum(len(trial.calls) for trial in tried),
        "input_tokens": sum(usage.input_tokens for usage in usages),
        "output_tokens": sum(usage.output_tokens for usage in usages),
        "cost": _known(costs),
        "unknown": sum(cost.cost is None for cost in costs),
    }


def summary(found: Mapping[str, Any]) -> str:
    """Return totals as one line."""
    ends = [
        _count(found["results"], "result"),
        *([_count(found["dead_letters"], "dead letter")] if found["dead_letters"] else []),
        *([f"{found['skipped']} skipped"] if found["skipped"] else []),
    ]
    parts = [f"{_count(found['events'], 'event')}: {', '.join(ends)}"]
    if found["attempts"]:
        tokens = f"{found['input_tokens']:,} tokens in and {found['output_tokens']:,} out"
        parts.append(f"{_count(found['attempts'], 'model call')}, {tokens}")
    if found["attempts"] or found["cost"] or found["unknown"]:
        unknown = f" and {_count(found['unknown'], 'attempt')} of unknown cost" if found["unknown"] else ""
        parts.append(f"{_usd(found['cost'])}{unknown}")
    return "; ".join(parts)


def document(prepared: Round, places: Sequence[str], trials: Sequence[Trial]) -> dict[str, Any]:
    """Return a round as a JSON object."""
    return {
        "pipeline": prepared.pipeline.name,
        "stage": prepared.stage.name,
        "models": [_answering(one) for one in prepared.answering],
        "events": [_event(place, trial) for place, trial in zip(places, trials, strict=True)],
        "totals": totals(trials),
    }


def amount(costs: Sequence[CostEvent]) -> str:
    """Return what attempts cost, and how far that is known."""
    unknown = [cost for cost in costs if cost.cost is None]
    if not unknown:
        return _usd(_known(costs))
    reason = "no price is known" if unknown[0].certainty is Certainty.UNPRICED else "it is not known what was billed"
    if len(unknown) == len(costs):
        return f"unknown: {reason}"
    return f"{_usd(_known(costs))} and an unknown amount ({reason})"


def _call_lines(call: Call, shown: set[str]) -> Iterator[str]:
    exchange, cost = call.exchange, call.cost
    request = exchange.request
    prompt = f", prompt {cost.prompt}" if cost is not None and cost.prompt else ""
    attempt = f", attempt {cost.attempt}" if cost is not None and cost.attempt > 1 else ""
    step = request.schema_name if cost is None else cost.step
    yield printable(f"  step {step}: {exchange.model.provider} {exchange.model.model}{prompt}{attempt}")
    if request.system in shown:
        yield "    system: as above"
    elif request.system:
        yield "    system"
        yield from _text(request.system)
    shown.add(request.system)
    yield "    user"
    yield from _text(request.user)
    if exchange.reply is None:
        yield printable(f"    no reply after {exchange.seconds:.2f} s: {exchange.error}")
        return
    usage = "" if exchange.reply.usage is None else (
        f", {exchange.reply.usage.input_tokens:,} tokens in and {exchange.reply.usage.output_tokens:,} out"
    )
    price = "" if cost is None else f", {amount([cost])}"
    yield f"    reply after {exchange.seconds:.2f} s{usage}{price}"
    yield from _text(_pretty(exchange.reply.text))
    problem = _problem(exchange)
    yield "    valid: it follows the schema" if problem is None else printable(f"    not usable: {problem}")


def _local_line(cost: CostEvent) -> str:
    """Return a local model's work on one line."""
    tokens = "" if cost.usage is None else f", {cost.usage.input_tokens:,} tokens"
    seconds = "" if cost.compute_seconds is None else f", {cost.compute_seconds:.4f} s of {cost.device}"
    outcome = "" if cost.outcome == OK else f", {cost.outcome}"
    return printable(f"  step {cost.step}: {cost.provider} {cost.model}{tokens}{seconds}, {amount([cost])}{outcome}")


def _end_lines(trial: Trial) -> Iterator[str]:
    end = trial.end
    if isinstance(end, DeadLetter):
        yield printable(f"  DEAD LETTER {end.error.kind}" + (f" in step {end.step}" if end.step else ""))
        yield printable(f"    {end.error.message}")
        cause = cause_text(end.error)
        if cause and cause not in end.error.message:
            yield printable(f"    because: {cause}")
        if end.error.remedy:
            yield printable(f"    {end.error.remedy}")
    elif isinstance(end, Result):
        yield "  result"
        fields = {name: value for name, value in (trial.result or {}).items() if name not in ENVELOPE}
        width = max(map(len, fields), default=0)
        for name, value in fields.items():
            yield f"    {name.ljust(width)}  {json_text(value)}"
    else:
        yield printable(f"  skipped: {_REASONS.get(end.reason, end.reason)}")


_REASONS = {"when": "`when` is false", "tombstone": "a tombstone; workers pass it on"}


def _text(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        yield f"{_BAR}{printable(line)}".rstrip()


def _pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return text


def _problem(exchange: Exchange) -> str | None:
    """Return why a reply can't be used: what the call itself found, worked out again."""
    if exchange.reply is None:
        return None if exchange.error is None else str(exchange.error)
    if exchange.request.schema is None:
        return None
    try:
        read_answer(exchange.reply, _VALIDATORS.of(exchange.request.schema))
    except (EventError, UsageError) as error:
        return error.message
    return None


def _event(place: str, trial: Trial) -> dict[str, Any]:
    end, event = trial.end, trial.event
    dead = isinstance(end, DeadLetter)
    shown: dict[str, Any] = {
        "place": place,
        "event_id": None if event is None else event.id,
        "tenant": None if event is None else event.tenant,
        "outcome": "dead_letter" if dead else "result" if isinstance(end, Result) else "skipped",
        "result": trial.result,
        "dead_letter": None,
        "skipped": None if trial.skip is None else trial.skip.reason,
        "calls": [_call(call) for call in trial.calls],
        "local": [_local(cost) for cost in trial.costs if cost.compute_seconds is not None],
        "cost": trial.cost,
    }
    if isinstance(end, DeadLetter):
        shown["dead_letter"] = {
            "step": end.step,
            "kind": end.error.kind,
            "message": end.error.message,
            "remedy": end.error.remedy,
            "cause": cause_text(end.error),
        }
    return shown


def _call(call: Call) -> dict[str, Any]:
    exchange, cost, reply = call.exchange, call.cost, call.exchange.reply
    usage = None if reply is None else reply.usage
    return {
        "step": exchange.request.schema_name if cost is None else cost.step,
        "attempt": None if cost is None else cost.attempt,
        "provider": exchange.model.provider,
        "model": exchange.model.model if cost is None else cost.model,
        "prompt": None if cost is None else cost.prompt,
        "system": exchange.request.system,
        "user": exchange.request.user,
        "schema": exchange.request.schema,
        "parameters": dict(exchange.request.parameters),
        "reply": None if reply is None else reply.text,
        "finish": None if reply is None else Finish(reply.finish).value,
        "problem": _problem(exchange),
        "seconds": round(exchange.seconds, 3),
        "input_tokens": None if usage is None else usage.input_tokens,
        "output_tokens": None if usage is None else usage.output_tokens,
        "cost": None if cost is None else cost.cost,
        "certainty": None if cost is None else cost.certainty.value,
    }


def _local(cost: CostEvent) -> dict[str, Any]:
    return {
        "step": cost.step,
        "model": cost.model,
        "device": cost.device,
        "tokens": None if cost.usage is None else cost.usage.input_tokens,
        "seconds": cost.compute_seconds,
        "cost": cost.cost,
        "outcome": cost.outcome,
    }


def _answering(one: Answering) -> dict[str, Any]:
    return {
        "provider": one.model.provider,
        "model": one.model.model,
        "address": one.address,
        "stand_in": one.is_stand_in,
    }


def _known(costs: Iterable[CostEvent]) -> Decimal:
    return sum((cost.cost for cost in costs if cost.cost is not None), Decimal(0))


def _usd(value: Decimal) -> str:
    text = f"{value.normalize():f}" if value else "0"
    return f"{text} USD"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
