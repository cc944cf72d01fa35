"""`eventmill dev`: Kafka, a schema registry, Postgres and Kafka Connect on this machine, without docker."""

import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, ClassVar

import typer

from eventmill.cli.lazy import Lazy, LazyGroup, command_app
from eventmill.cli.output import FAILED, OK, say, show, show_json, show_table
from eventmill.dev.addresses import Addresses, addresses_from_environment
from eventmill.dev.kafka_tools import TOOLS, kafka_tool, tools_java
from eventmill.dev.parts import KINDS
from eventmill.dev.process import run_attached
from eventmill.dev.stack import DEFAULT_FOLDER, Stack


class _Commands(LazyGroup):
    lazy: ClassVar = {"model": Lazy("eventmill.cli.dev_model", "Run the stand-in for model providers.")}


app = command_app(help="Run Kafka, a schema registry and Postgres on this machine, without docker.", group=_Commands)

Folder = Annotated[Path, typer.Option("--folder", help="Where the stack keeps its data and state.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def up(
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew: wipe all topics, schemas and tables.")] = False,
    connect: Annotated[
        bool, typer.Option("--connect", help="Run Kafka Connect as well, with the JDBC sink and an Avro converter.")
    ] = False,
    iceberg: Annotated[bool, typer.Option("--iceberg", help="Run Kafka Connect with the Iceberg sink too.")] = False,
    folder: Folder = DEFAULT_FOLDER,
    json: Json = False,
) -> None:
    """Start what does not run, wait until all of it works, print the addresses.

    Data is kept from one start to the next. If EVENTMILL_KAFKA, EVENTMILL_REGISTRY and EVENTMILL_POSTGRES are set,
    nothing is started: those servers are used, and EVENTMILL_CONNECT where it is set.
    """
    external = addresses_from_environment()
    if external is not None:
        say("The addresses come from the environment: nothing is started.")
        _show_addresses(external, json)
        return
    with _interruptible():
        addresses = Stack(folder).up(fresh=fresh, connect=connect, iceberg=iceberg, report=say)
    _show_addresses(addresses, json)


@app.command()
def down(
    wipe: Annotated[bool, typer.Option("--wipe", help="Remove all data as well.")] = False,
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Stop everything. Data is kept."""
    Stack(folder).down(wipe=wipe, report=say)


@app.command()
def status(folder: Folder = DEFAULT_FOLDER, json: Json = False) -> None:
    """Ask every part for real work and show how it is. Exit code 0 only if all are ready."""
    parts = Stack(folder).status()
    if json:
        show_json(parts)
    else:
        columns = ("part", "state", "port", "process", "memory MiB", "up s")
        show_table(columns, [(p.name, p.state, p.port, p.pid, p.memory_mib, p.uptime_s) for p in parts])
        for part in parts:
            if part.complaint:
                say(f"{part.name}: {part.complaint}")
    raise typer.Exit(OK if all(part.state == "ready" for part in parts) else FAILED)


@app.command()
def logs(
    part: Annotated[str | None, typer.Argument(help=f"One of {', '.join(KINDS)}; all if not given.")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C; needs PART.")] = False,
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Show what the parts wrote since their start."""
    stack = Stack(folder)
    if part is None and follow:
        raise typer.BadParameter("--follow needs the name of a part")
    for name in [found.name for found in stack.status()] if part is None else [part]:
        if part is None:
            show(f"==> {name} <==")
        for line in stack.logs(name, lines):
            show(line)
    if part is not None and follow:
        for line in stack.follow(part):
            show(line)


@app.command()
def env(folder: Folder = DEFAULT_FOLDER, json: Json = False) -> None:
    """Print the addresses of a running stack as shell variables.

    Use: eval "$(eventmill dev env)".
    KAFKA, REGISTRY and DATABASE_URL are the names that the example pipelines read, CONNECT is read by `connect`.
    """
    addresses = addresses_from_environment() or Stack(folder).addresses()
    values = {"KAFKA": addresses.bootstrap, "REGISTRY": addresses.registry, "DATABASE_URL": addresses.postgres}
    if addresses.connect is not None:
        values["CONNECT"] = addresses.connect
    if json:
        show_json(values)
    else:
        for name, value in values.items():
            show(f"export {name}={shlex.quote(value)}")


@app.command(context_settings={"ignore_unknown_options": True})
def kafka(
    tool: Annotated[str, typer.Argument(help=f"One of {', '.join(TOOLS)}.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="The tool's own arguments, after --.")] = None,
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Run one of Kafka's own tools against the stack.

    For example: eventmill dev kafka topics -- --list.
    """
    addresses = addresses_from_environment() or Stack(folder).addresses()
    command = kafka_tool(tool, arguments or [], java=tools_java(say), bootstrap=addresses.bootstrap)
    raise typer.Exit(run_attached(command))


def _show_addresses(addresses: Addresses, json: bool) -> None:
    values = {"kafka": addresses.bootstrap, "registry": addresses.registry, "postgres": addresses.postgres}
    if addresses.connect is not None:
        values["connect"] = addresses.connect
    if json:
        show_json(values)
    else:
        for name, value in values.items():
            show(f"{name:<9} {value}")


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, so that what it started is ended as well."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise typer.Exit(128 + number)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
