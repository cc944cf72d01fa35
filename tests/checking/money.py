"""Whether the cost records are right in themselves and agree with what the model's server counted. Pure and exact."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation, localcontext
from typing import Any

from checking.delivery import ERROR_HEADER, Inputs, Outputs, header
from checking.evidence import Call, Expect, Fields, Findings, Rate, Record, Source, plain

COST_PLACES = Decimal("1E-12")   # the finest amount that a cost record holds
DIGITS = 60                      # of intermediate sums: more than any run can need
MILLION = 1_000_000
LOST_ANSWERS = {"timeout", "reset"}   # outcomes of calls that the server worked for, and whose answer never arrived

Prices = Mapping[str, Rate]


def amount(rate: Rate, prompt: int, completion: int, cached: int = 0, stored: int = 0) -> Decimal:
    """Price tokens in USD; those read from the cache (`cached`) and stored in it (`stored`) are part of `prompt`."""
    cached_rate = rate.input if rate.cache_read is None else rate.cache_read
    stored_rate = rate.input if rate.cache_write is None else rate.cache_write
    with localcontext(prec=DIGITS):
        total = (prompt - cached - stored) * rate.input + completion * rate.output
        exact = (total + cached * cached_rate + stored * stored_rate) / MILLION
        return exact if exact == exact.quantize(COST_PLACES) else exact.quantize(COST_PLACES)


def readable_costs(costs: Iterable[Record], found: Findings) -> list[Fields]:
    """Return the values of all cost records. One that repeats a cost_id is a fault, and stays: it would be paid."""
    seen: set[str] = set()
    readable = []
    for record in costs:
        if record.fields is None or "cost_id" not in record.fields:
            found.add("unreadable", record.place)
            continue
        identity = str(record.fields["cost_id"])
        if identity in seen:
            found.add("duplicate_costs", record.place)
        seen.add(identity)
        readable.append(record.fields)
    return readable


def cost_total(costs: Iterable[Fields], prices: Prices | None, found: Findings) -> Decimal:
    """Sum the amounts; with `prices`, each must be its own tokens x price."""
    total = Decimal(0)
    with localcontext(prec=DIGITS):
        for cost in costs:
            claimed = _claimed(cost, found)
            if claimed is not None:
                total += claimed
            _count_open(cost, claimed, found)
            if prices is None or cost["certainty"] == "UNCERTAIN":
                continue
            if is_local(cost):
                _check_local(cost, claimed, prices, found)
                continue
            rate = prices.get(str(cost["model"]))
            tokens = _tokens(cost)
            if rate is None and tokens is not None:
                found.add("mispriced", f"{cost['cost_id']}: no price was given for {cost['model']}")
                continue
            owed = Decimal(0) if rate is None or tokens is None else amount(rate, *tokens)
            if claimed != owed:
                found.add("mispriced", f"{cost['cost_id']}: {plain(claimed)} instead of {plain(owed)}")
    return total


def is_local(cost: Fields) -> bool:
    """Whether a model that runs in the worker was at work: no server counts its calls."""
    return cost.get("device") is not None


def _check_local(cost: Fields, claimed: Decimal | None, prices: Prices, found: Findings) -> None:
    """Ask for seconds x price per hour / 3600, rounded half-even; `model` is name@version, a price goes by the name."""
    rate, seconds = prices.get(str(cost["model"]).partition("@")[0]), cost["compute_seconds"]
    if rate is None or rate.hour is None:
        found.add("mispriced", f"{cost['cost_id']}: no price per hour was given for {cost['model']}")
        return
    owed = (Decimal(seconds) * rate.hour / 3600).quantize(COST_PLACES, ROUND_HALF_EVEN)
    if claimed != owed:
        found.add("mispriced", f"{cost['cost_id']}: {plain(claimed)} instead of {plain(owed)}")


def _claimed(cost: Fields, found: Findings) -> Decimal | None:
    value = cost["cost"]
    if isinstance(value, float):   # an amount that went through binary floating point is not exact
        found.add("mispriced", f"{cost['cost_id']}: {value!r} is a float")
        return Decimal(repr(value))
    return None if value is None else Decimal(value)


def _count_open(cost: Fields, claimed: Decimal | None, found: Findings) -> None:
    if cost["certainty"] == "UNCERTAIN":
        found.counts["uncertain"] += 1
        if claimed is not None:
            found.add("mispriced", f"{cost['cost_id']}: uncertain, and yet it claims {plain(claimed)}")
    elif claimed is None:
        found.counts["unpriced"] += 1


def outcome_costs(
    inputs: Inputs, results: Outputs, dead_letters: Outputs, costs: Outputs, found: Findings
) -> None:
    """Ask that results and dead letters say what their event's cost records add up to; nothing where one is unknown."""
    owed: dict[Source, Decimal | None] = {}
    with localcontext(prec=DIGITS):
        for source, record in costs:
            before, cost = owed.get(source, Decimal(0)), (record.fields or {}).get("cost")
            owed[source] = None if before is None or cost is None else before + Decimal(cost)
    said = [(source, record, (record.fields or {}).get("cost")) for source, record in results]
    for source, record in dead_letters:
        # A dead letter that would be too large leaves out what was spent.
        if header(record, ERROR_HEADER + "attempts") is not None:
            said.append((source, record, header(record, ERROR_HEADER + "cost")))
    for source, record, text in said:
        if source in inputs and not _says(text, owed.get(source, Decimal(0)), called=source in owed):
            found.add("outcome_costs", record.place)


def _says(text: Any, owed: Decimal | None, *, called: bool) -> bool:
    """Whether an outcome's amount is the one owed; where no model was called, it may also be left out."""
    if text is None:
        return owed is None or not called
    try:
        return owed is not None and Decimal(text) == owed
    except InvalidOperation:
        return False


def _tokens(cost: Fields) -> tuple[int, int, int, int] | None:
    """Prompt and completion tokens, and those of the prompt read from and stored in a cache; None: nothing served."""
    if cost["input_tokens"] is None or cost["output_tokens"] is None:
        return None
    read, stored = (int(cost.get(f"cache_{name}_tokens") or 0) for name in ("read", "write"))
    return (int(cost["input_tokens"]), int(cost["output_tokens"]), read, stored)


def against_ledger(
    costs: Sequence[Fields], total: Decimal, calls: Sequence[Call], prices: Prices | None, found: Findings
) -> Decimal | None:
    """Compare with what the server counted; return the ledger's tokens x price, None without prices.

    The work of local models is left out: no server knows of it.
    A served call without a cost record is counted as unreported, unless a cost record says that one may have been
    billed. Where every served call has its cost record, tokens and amounts must be equal; else not more than the
    ledger's.
    """
    costs, local = [cost for cost in costs if not is_local(cost)], [cost for cost in costs if is_local(cost)]
    with localcontext(prec=DIGITS):
        total -= sum((Decimal(cost["cost"]) for cost in local if cost["cost"] is not None), Decimal(0))
    served = [call for call in calls if call.served]
    billed = [tokens for cost in costs if (tokens := _tokens(cost)) is not None and any(tokens)]
    missing = len(served) - len(billed)
    unreported = missing - found.counts["uncertain"]
    if unreported > 0:
        found.add("calls_unreported", f"{len(served)} served, {len(billed)} billed, and uncertain ones", unreported)
    if missing < 0:
        found.add("cost_vs_ledger", f"{len(billed)} cost records with tokens for {len(served)} served calls")
    pairs = {
        "prompt tokens": (sum(tokens[0] for tokens in billed), sum(call.prompt_tokens for call in served)),
        "completion tokens": (sum(tokens[1] for tokens in billed), sum(call.completion_tokens for call in served)),
    }
    for name, (said, counted) in pairs.items():
        if said > counted or (missing == 0 and said != counted):
            found.add("cost_vs_ledger", f"{name}: cost records {said}, ledger {counted}")
    if prices is None:
        return None
    owed = _ledger_total(served, prices, found)
    if total > owed or (missing == 0 and not found.counts["unpriced"] and total != owed):
        found.add("cost_vs_ledger", f"USD: cost records {plain(total)}, ledger {plain(owed)}")
    return owed


def _ledger_total(served: Iterable[Call], prices: Prices, found: Findings) -> Decimal:
    total = Decimal(0)
    with localcontext(prec=DIGITS):
        for call in served:
            rate = prices.get(call.model)
            if rate is None:
                found.add("cost_vs_ledger", f"no price was given for {call.model}")
            else:
                total += amount(rate, call.prompt_tokens, call.completion_tokens)
    return total


def count_calls(calls: Iterable[Call], found: Findings) -> None:
    """Count the calls, and those served again after the same text had been answered.

    A call after one that was not served, or whose answer never arrived, is a retry, not a repetition.
    """
    answered: set[tuple[str, str]] = set()
    for call in sorted(calls, key=lambda call: call.sequence):
        found.counts["calls"] += 1
        if not call.served:
            continue
        found.counts["calls_served"] += 1
        question = (call.model, call.sha256)
        if question in answered:
            found.add("calls_repeated", f"call {call.sequence} of {call.sha256[:12]}")
        if call.outcome not in LOST_ANSWERS:
            answered.add(question)


def too_many_calls(expect: Expect, found: Findings) -> dict[str, int]:
    """Return the counts about calls that exceed what is allowed."""
    allowed = {"calls_repeated": expect.repeated_calls, "calls_unreported": expect.unreported_calls}
    return {name: found.counts[name] for name, limit in allowed.items() if found.counts[name] > limit}
