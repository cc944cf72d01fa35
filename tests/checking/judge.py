"""Judge everything that was read about one stage. Pure: evidence in, report out."""

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal

from checking.delivery import (
    ERROR_HEADER,
    answered,
    beside_input,
    header,
    in_order,
    settled_once,
    source_in_headers,
    source_in_value,
    tombstones_passed,
    untouched,
    with_source,
)
from checking.evidence import FAULTS, Evidence, Expect, Findings, Rate, Report
from checking.money import against_ledger, cost_total, count_calls, outcome_costs, readable_costs, too_many_calls

EVERYTHING = Expect()


def judge(evidence: Evidence, expect: Expect = EVERYTHING, prices: Mapping[str, Rate] | None = None) -> Report:
    """Count what is there and what is wrong with it. `prices`: by model name; None: amounts are summed, not judged."""
    found = Findings()
    for place in evidence.open_transactions:
        found.add("behind_open_transaction", place)
    inputs = {record.place: record for record in evidence.inputs}
    results = with_source(evidence.results, source_in_value, found)
    dead_letters = with_source(evidence.dead_letters, source_in_headers, found)
    outcomes = [*results, *dead_letters]
    settled_once(inputs, outcomes, expect, found)
    in_order(inputs, results, found)
    beside_input(inputs, outcomes, evidence.partitions, found)
    untouched(inputs, dead_letters, found)
    tombstones_passed(inputs, results, found)
    if expect.answers is not None:
        answered(inputs, results, expect.answers, found)
    total, ledger_total = _judge_money(evidence, prices, found)
    if evidence.costs is not None:
        costs = with_source(evidence.costs, source_in_value, found)
        beside_input(inputs, costs, evidence.partitions, found)
        outcome_costs(inputs, results, dead_letters, costs, found)
    for name, seen, wanted in (
        ("results", len(evidence.results) - found.counts["tombstones_passed"], expect.results),
        ("dead_letters", len(evidence.dead_letters), expect.dead_letters),
    ):
        if wanted is not None and seen != wanted:
            found.add("unexpected_counts", f"{name}: {seen} instead of {wanted}")
    excess = too_many_calls(expect, found)
    allowed = {"calls_repeated", "calls_unreported"} - excess.keys()
    return Report(
        counts={
            "events": len(inputs),
            "tombstones": sum(record.value is None for record in inputs.values()),
            "undecodable": sum(record.value is not None and record.fields is None for record in inputs.values()),
            "tombstones_passed": found.counts["tombstones_passed"],
            "results": len(evidence.results) - found.counts["tombstones_passed"],
            "dead_letters": len(evidence.dead_letters),
            "cost_records": len(evidence.costs or ()) + len(evidence.other_costs),
            **{name: found.counts[name] for name in ("skipped", "uncertain", "unpriced", "calls", "calls_served")},
            **{name: found.counts[name] for name in FAULTS},
        },
        faults={name: found.counts[name] for name in FAULTS if found.counts[name] and name not in allowed},
        samples=dict(found.samples),
        dead_letter_kinds=Counter(header(letter, ERROR_HEADER + "kind") or "?" for letter in evidence.dead_letters),
        cost_total=total,
        ledger_total=ledger_total,
    )


def _judge_money(
    evidence: Evidence, prices: Mapping[str, Rate] | None, found: Findings
) -> tuple[Decimal | None, Decimal | None]:
    if evidence.calls is not None:
        count_calls(evidence.calls, found)
    if evidence.costs is None:
        return None, None
    costs = readable_costs([*evidence.costs, *evidence.other_costs], found)
    total = cost_total(costs, prices, found)
    if evidence.calls is None:
        return total, None
    return total, against_ledger(costs, total, evidence.calls, prices, found)
