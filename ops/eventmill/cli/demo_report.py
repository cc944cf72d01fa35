"""How a run of an example is shown: tables for people, one JSON object for programs."""

from pathlib import Path
from typing import Any

import orjson

from eventmill.cli.output import say, show, show_table
from eventmill.demo.run import DemoReport


def write_figures(report: DemoReport, file: Path) -> None:
    """Write the figures of a run as one JSON object."""
    file.write_bytes(orjson.dumps(figures(report), option=orjson.OPT_INDENT_2) + b"\n")


def figures(report: DemoReport) -> dict[str, Any]:
    """Return what was counted. `results` and `dead_letters` are those of the first stage, which gets all events."""
    first = report.pipeline.stages[0].name
    judgement, output = report.judgements[first], report.outputs.stages[first]
    return {
        "events": report.events,
        "results": output.results,
        "dead_letters": output.dead_letters,
        "cost_records": judgement.cost_records,
        "cost_total": judgement.cost_total,
        "duplicates": sum(j.duplicates for j in report.judgements.values()),
        "lost": sum(j.lost for j in report.judgements.values()),
        "seconds": round(report.seconds, 3),
        "events_per_s": round(report.events / report.seconds, 1),
        "stand_in": report.stand_in,
        "problems": {name: j.problems for name, j in report.judgements.items() if j.problems},
    }


def show_report(report: DemoReport, events: str) -> None:
    """Print results, costs, dead letters and the checker's word. `events` is what they are called."""
    show("")
    rows = [
        (name, output.results, output.dead_letters, report.judgements[name].lost, report.judgements[name].duplicates)
        for name, output in report.outputs.stages.items()
    ]
    show_table(("stage", "results", "dead letters", "lost", "duplicates"), rows)
    show("")
    spent = sorted(report.outputs.spent.items())
    show_table(
        ("stage", "model", "tenant", "calls", "input tokens", "output tokens", "usd"),
        [(*place, s.calls, s.input_tokens, s.output_tokens, s.cost.normalize()) for place, s in spent],
    )
    show("")
    if report.outputs.dead:
        show("Dead letters: the whole event is kept, with why.")
        show_table(
            ("stage", "event", "kind", "message"),
            [(d.stage, d.event_id, d.kind, _short(d.message)) for d in report.outputs.dead],
        )
        show("")
    rate = report.events / report.seconds
    paid = "nobody was paid: a stand-in answered" if report.stand_in else "paid to the provider"
    show(f"{report.events} {events} in {report.seconds:.1f} s ({rate:.0f}/s, start of the workers included); "
         f"{report.outputs.cost.normalize():f} USD at list price, {paid}.")
    for name, judgement in report.judgements.items():
        for problem, count in judgement.problems.items():
            say(f"WRONG: stage {name}: {problem} ({count})")
    if report.clean:
        show("An independent reader counted: nothing lost, nothing twice, order per key kept, costs exact.")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 90 else line[:89] + "…"
