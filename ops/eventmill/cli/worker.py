"""`eventmill worker`: one replica of one stage, in this process."""

import asyncio
import gc
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from eventmill.cli.lazy import command_app
from eventmill.cli.output import FAILED, OK, show_error
from eventmill.config import load
from eventmill.local_parts import open_local
from eventmill_agents.local_calls import LocalParts
from eventmill_agents.steps.python import load_functions
from eventmill_connectors.chat.clients import ChatClients
from eventmill_connectors.pricing import PriceList
from eventmill_connectors.registry import SchemaRegistry
from eventmill_schemas.errors import EventmillError, UsageError
from eventmill_schemas.pipeline import CompleteStep, ModelRef, Pipeline, PythonStep, Stage
from eventmill_streams.local_watch import LocalModelWatch
from eventmill_streams.logs import LogFormat, configure
from eventmill_streams.slot import slot_name
from eventmill_streams.stage import Parts, run_stage
from eventmill_streams.worker import WorkerSettings

app = command_app()

INTERRUPTED = 130

PipelineFile = Annotated[Path, typer.Option("--pipeline", "-p", help="The pipeline file.")]


@app.command(no_args_is_help=True)
def worker(  # noqa: PLR0913, PLR0917 - the options of a command
    stage: Annotated[str, typer.Argument(help="The stage to work on.")],
    pipeline: PipelineFile = Path("pipeline.yaml"),
    slot: Annotated[
        str | None, typer.Option(help="Number of this replica; else EVENTMILL_SLOT, else a pod's ordinal.")
    ] = None,
    http_host: Annotated[str, typer.Option(help="Where /healthz, /readyz and /metrics listen.")] = "127.0.0.1",
    http_port: Annotated[int, typer.Option(help="Their port; 0 takes a free one and logs it.")] = 0,
    shutdown_timeout: Annotated[
        float, typer.Option(help="Seconds that calls in flight get after SIGTERM.", min=0)
    ] = 30.0,
    leave: Annotated[
        bool, typer.Option("--leave", help="At the end leave the group although there is a slot: for scaling in.")
    ] = False,
    log_format: Annotated[LogFormat, typer.Option(help="How logs look.")] = LogFormat.AUTO,
    parent: Annotated[int | None, typer.Option(help="Exit when this process is gone.", hidden=True)] = None,
) -> None:
    """Work on one stage until SIGTERM: read its input, enrich, publish results, costs and dead letters.

    Start as many as there is work for, each with its own slot: partitions are shared among them. SIGTERM drains and
    leaves; a second one exits at once.
    """
    described = load(pipeline, os.environ)
    chosen = _stage(described, stage)
    number = slot_name(slot, os.environ, socket.gethostname())
    configure(log_format, stage, number)
    if parent is not None:
        _exit_with(parent)
    _tune_collector()
    settings = WorkerSettings(
        http_host=http_host, http_port=http_port, shutdown_timeout=shutdown_timeout, leave=leave
    )
    code = OK
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)  # never closed: that waits for steps in threads
    try:
        runner.run(_run(described, chosen, number, settings))
    except EventmillError as error:
        code = show_error(error)
    except KeyboardInterrupt:  # before the worker itself listens for signals
        code = INTERRUPTED
    except Exception:  # noqa: BLE001 - a bug: its report needs the trace, and the process must end all the same
        traceback.print_exc()
        code = FAILED
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # never wait for a Kafka client's thread that hangs


def _tune_collector() -> None:
    """Look for garbage less often: every look costs with the hundreds of calls in flight, which are no garbage."""
    gc.collect()
    gc.freeze()  # what is imported by now stays
    gc.set_threshold(50_000, 20, 20)


async def _run(pipeline: Pipeline, stage: Stage, slot: str | None, settings: WorkerSettings) -> None:
    models = ChatClients()
    prices = PriceList(pipeline.prices)
    routes = [step.route for step in stage.steps if isinstance(step, CompleteStep)]
    asked = [model for route in routes for model in pipeline.routes[route]]
    models.check(asked)
    _check_prices(pipeline, asked, prices)
    functions = load_functions(pipeline.folder, [step for step in stage.steps if isinstance(step, PythonStep)])
    registry = SchemaRegistry(pipeline.kafka.registry)
    async with AsyncExitStack() as opened:
        opened.push_async_callback(models.close)
        opened.push_async_callback(registry.close)

        async def local(watch: LocalModelWatch) -> LocalParts | None:
            return await open_local(pipeline, stage, watch, opened, _warn)

        parts = Parts(models, prices, registry, functions, local)
        await run_stage(pipeline, stage, parts, slot, settings, _started)


def _check_prices(pipeline: Pipeline, models: Iterable[ModelRef], prices: PriceList) -> None:
    for model in models:
        if not pipeline.allow_unpriced and not prices.known(model.provider, model.model):
            raise UsageError(
                f"no price is known for {model.provider} model {model.model}",
                remedy="Add it under `prices`, or set `allow_unpriced: true` to report its tokens without an amount",
            )


def _started(address: str) -> None:
    import structlog  # noqa: PLC0415 - after configure()

    structlog.get_logger().info("listening", health=address)


def _warn(message: str) -> None:
    import structlog  # noqa: PLC0415 - after configure()

    structlog.get_logger().warning(message)


def _stage(pipeline: Pipeline, name: str) -> Stage:
    try:
        return pipeline.stage(name)
    except KeyError:
        known = ", ".join(stage.name for stage in pipeline.stages)
        raise UsageError(f"the pipeline has no stage {name!r}", remedy=f"Its stages: {known}") from None


def _exit_with(parent: int) -> None:
    """Drain and leave when the supervising process is gone, also when it was killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), 15)

    threading.Thread(target=watch, name="parent", daemon=True).start()
