"""`eventmill dev model`: a stand-in for model providers on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from eventmill.cli.lazy import command_app
from eventmill.cli.output import show, show_json
from eventmill.dev.model.faults import ErrorRates, Fates, Latency
from eventmill.dev.model.run import run
from eventmill.dev.model.server import StandIn

app = command_app()


@app.command(no_args_is_help=False)
def model(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Where to listen; 0 takes a free port.")] = 0,
    seed: Annotated[int, typer.Option("--seed", help="Another seed draws other latencies and errors.")] = 1,
    latency: Annotated[
        str,
        typer.Option(
            "--latency",
            help="Seconds: fixed:S, uniform:LOW:HIGH, lognormal:MEDIAN:SIGMA, or lognormal:MEDIAN:SIGMA:P:SLOW, "
            "where a share P of the calls takes SLOW.",
        ),
    ] = "lognormal:0.3:0.3",
    errors: Annotated[
        str,
        typer.Option(
            "--errors",
            help="NAME=PROBABILITY,...: truncated, refusal, invalid, timeout and reset are billed; "
            "400, 401, 402, 429, 500, 502, 503 and 529 are not.",
        ),
    ] = "",
    ledger: Annotated[
        Path | None, typer.Option("--ledger", help="Keep the account of calls in this file, JSON lines.")
    ] = None,
    parent: Annotated[int | None, typer.Option("--parent", help="End when the process of this id is gone.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run a stand-in for model providers: it speaks OpenAI's chat completions and answers without a model.

    Set OPENAI_BASE_URL to the address it prints. Every answer is derived from the text that was sent, follows the
    schema asked for, and says that it comes from a stand-in. Latency and errors follow from the seed and the text, not
    from chance. A text with [[stand-in:NAME]] in it forces an outcome: refuse, truncate, or a name of --errors; 429,
    503 and 529 only at the first attempt. GET /_ledger shows what was served, ?entries=1 every call of it; DELETE
    /_ledger begins anew. Ends on Ctrl-C.
    """
    fates = Fates(seed, Latency.parse(latency), ErrorRates.parse(errors))
    run(
        StandIn(fates, ledger=ledger, port=port),
        (lambda stand_in: show_json({"url": stand_in.url, "base_url": stand_in.base_url}))
        if json
        else (lambda stand_in: show(f"model stand-in (no model answers here): {stand_in.base_url}")),
        parent=parent,
    )
