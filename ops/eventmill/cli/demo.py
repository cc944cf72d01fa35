"""`eventmill demo`: example mails through all stages, with what they cost and what failed."""

import signal
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from eventmill.cli.lazy import command_app
from eventmill.cli.output import FAILED, say, show, show_table
from eventmill.demo.run import Demo, DemoOptions, DemoReport

app = command_app()


@app.command()
def demo(
    events: Annotated[
        int | None, typer.Option(min=1, help="Repeat the mails with new ids up to this number.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the local stack running at the end.")] = False,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures as one JSON object.")] = None,
) -> None:
    """Send example mails through two stages and show results, costs and dead letters.

    Starts a local stack and a model stand-in, runs the same commands that you would, and stops everything again. With
    OPENAI_API_KEY set the real provider answers; with EVENTMILL_KAFKA, EVENTMILL_REGISTRY and EVENTMILL_POSTGRES set
    those servers are used. Exit 1 if anything was lost or doubled.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    report = Demo(Path.cwd(), DemoOptions(events, keep), say).run()
    if json is not None:
        json.write_bytes(orjson.dumps(_figures(report), option=orjson.OPT_INDENT_2) + b"\n")
    _show(report)
    if not report.clean:
        raise typer.Exit(FAILED)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _figures(report: DemoReport) -> dict[str, Any]:
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


def _show(report: DemoReport) -> None:
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
        show("Dead letters: the whole mail is kept, with why.")
        show_table(
            ("stage", "event", "kind", "message"),
            [(d.stage, d.event_id, d.kind, _short(d.message)) for d in report.outputs.dead],
        )
        show("")
    rate = report.events / report.seconds
    paid = "nobody was paid: a stand-in answered" if report.stand_in else "paid to the provider"
    show(f"{report.events} mails in {report.seconds:.1f} s ({rate:.0f}/s, start of the workers included); "
         f"{report.outputs.cost.normalize():f} USD at list price, {paid}.")
    for name, judgement in report.judgements.items():
        for problem, count in judgement.problems.items():
            say(f"WRONG: stage {name}: {problem} ({count})")
    if report.clean:
        show("An independent reader counted: nothing lost, nothing twice, order per key kept, costs exact.")
    _next(report)


def _next(report: DemoReport) -> None:
    show("")
    show("Next:")
    if report.kept:
        environ = f"KAFKA={report.addresses.bootstrap} REGISTRY={report.addresses.registry}"
        show(f"  export {environ}")
        show(f"  eventmill tail triage --pipeline {report.file} --last 3 --no-follow")
        show(f"  eventmill dlq list --pipeline {report.file}")
        show(f"  eventmill lag {report.file}")
        show("  eventmill dev down --folder .eventmill/demo/stack    # when you are done")
    else:
        show('  make demo ARGS="--events 2000 --keep"     # more mails, and leave the stack up to look around')
        show("  docs/how-to/quickstart.md                 # your own topic")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 90 else line[:89] + "…"
