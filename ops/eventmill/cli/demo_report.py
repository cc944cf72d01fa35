"""How a run of an example is shown: tables for people, one JSON object for programs."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson

from eventmill.cli.output import say, show, show_table
from eventmill.demo.run import DemoReport
from eventmill.demo.verdicts import Verdicts


def write_figures(report: DemoReport, file: Path) -> None:
    """Write the figures of a run as one JSON object."""
    file.write_bytes(orjson.dumps(figures(report), option=orjson.OPT_INDENT_2) + b"\n")


def figures(report: DemoReport) -> dict[str, Any]:
    """Return what was counted. `results` and `dead_letters` are those of the first stage, which gets all events."""
    first = report.pipeline.stages[0].name
    output = report.outputs.stages[first]
    return {
        "events": report.events,
        "results": output.results,
        "dead_letters": output.dead_letters,
        "cost_records": sum(j.cost_records for j in report.judgements.values()),
        "cost_total": f"{sum(Decimal(j.cost_total) for j in report.judgements.values()):f}",
        "duplicates": sum(j.duplicates for j in report.judgements.values()),
        "lost": sum(j.lost for j in report.judgements.values()),
        "seconds": round(report.seconds, 3),
        "events_per_s": round(report.events / report.seconds, 1),
        "stand_in": report.stand_in,
        "classified": {name: _classified(v) for name, v in report.outputs.verdicts.items() if v.step is not None},
        "problems": {name: j.problems for name, j in report.judgements.items() if j.problems},
    }


def _classified(verdicts: Verdicts) -> dict[str, Any]:
    """Return accuracy and coverage at 95 % precision, null where nobody said what is right."""
    figures: dict[str, Any] = {"events": len(verdicts.all), "sure": verdicts.sure}
    figures |= {"accuracy": None, "coverage_at_95": None}
    if (measures := verdicts.measures()) is not None:
        figures["accuracy"] = round(measures.accuracy, 4)
        figures["coverage_at_95"] = round(measures.at_precision.coverage, 4) if measures.at_precision else 0.0
    return figures


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
    for name, verdicts in report.outputs.verdicts.items():
        if verdicts.step is not None and verdicts.step.threshold is not None:
            show(f"{name}: the model in the worker was sure of {verdicts.sure} of {len(verdicts.all)} (confidence "
                 f"{verdicts.step.threshold:g} or more); no other model was asked for their {verdicts.step.into}.")
        measures = verdicts.measures()
        if measures is not None:
            from eventmill.cli.head_report import show_measures  # noqa: PLC0415 - brings numpy

            show(f"{name}: the labels of the model in the worker against those that people gave:")
            show_measures(measures)
            show("")
    for found in report.found:
        show(f"Nearest to {found.text!r} in {found.store}:")
        show_table(
            ("similarity", "event", "text"),
            [(Decimal(f"{similarity:.3f}"), event, _short(text)) for similarity, event, text in found.passages],
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
