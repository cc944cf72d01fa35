"""Rows N1, N2, N3 and N6: what the runs of enrich.py say about rate, CPU, memory and delay."""

from statistics import median

from eventmill.bench.enrich import LATENCY, Outcome
from eventmill.bench.rows import Row
from eventmill_streams.tick import INTERVAL

_GOAL_RATE, _GOAL_CPU, _GOAL_MEMORY = 97.0, 0.5, 200.0
_COMMITS = 3   # commit times that a result may wait for, beside one tick


def rows(outcome: Outcome, wanted: set[str]) -> list[Row]:
    """Return the wanted rows: medians over the rounds."""
    makers = {"n1": _rate, "n2": _cpu, "n3": _memory, "n6": _visible}
    return [make(outcome) for name, make in makers.items() if name in wanted]


def _rate(outcome: Outcome) -> Row:
    ideal = outcome.size.ideal
    share = median(100 * a.rate / b.rate for a, b in zip(outcome.ours, outcome.bare, strict=True))
    ours, bare = median(m.rate for m in outcome.ours), median(m.rate for m in outcome.bare)
    return Row(
        "N1",
        f"rate, {outcome.size.in_flight} in flight, {LATENCY[0]:g}-{LATENCY[1]:g} s",
        f">= {_GOAL_RATE:g} % of the bare loop",
        f"{share:.1f} % ({ours:.0f}/s = {100 * ours / ideal:.1f} % of ideal; "
        f"bare loop {bare:.0f}/s = {100 * bare / ideal:.1f} %)",
        share,
        share >= _GOAL_RATE,
        {
            "events": outcome.size.events,
            "ideal_per_s": ideal,
            "eventmill_per_s": [m.rate for m in outcome.ours],
            "bare_loop_per_s": [m.rate for m in outcome.bare],
        },
    )


def _cpu(outcome: Outcome) -> Row:
    ours, bare = median(m.cpu_ms for m in outcome.ours), median(m.cpu_ms for m in outcome.bare)
    return Row(
        "N2",
        "CPU per event in N1, Avro and costs",
        f"<= {_GOAL_CPU:g} ms",
        f"{ours:.3f} ms (bare loop {bare:.3f})",
        ours,
        ours <= _GOAL_CPU,
        {"eventmill_ms": [m.cpu_ms for m in outcome.ours], "bare_loop_ms": [m.cpu_ms for m in outcome.bare]},
    )


def _memory(outcome: Outcome) -> Row:
    ours, bare = max(m.peak_mib for m in outcome.ours), max(m.peak_mib for m in outcome.bare)
    return Row(
        "N3",
        "largest memory of the worker in N1",
        f"<= {_GOAL_MEMORY:g} MB",
        f"{ours:.0f} MiB (bare loop {bare:.0f})",
        ours,
        ours * 1.048576 <= _GOAL_MEMORY,
        {"eventmill_mib": [m.peak_mib for m in outcome.ours], "bare_loop_mib": [m.peak_mib for m in outcome.bare]},
    )


def _visible(outcome: Outcome) -> Row:
    p50, p99, commit = (median(getattr(d, name) for d in outcome.delays) for name in ("p50", "p99", "commit"))
    tick = 1000 * INTERVAL
    goal = tick + _COMMITS * commit
    return Row(
        "N6",
        "reply received to visible, read_committed",
        f"p50 <= tick + {_COMMITS} commits = {goal:.0f} ms",
        f"p50 {p50:.0f} ms, p99 {p99:.0f} ms (tick {tick:.0f}, commit {commit:.1f})",
        p50,
        p50 <= goal,
        {"p50_ms": p50, "p99_ms": p99, "tick_ms": tick, "commit_ms": commit},
    )
