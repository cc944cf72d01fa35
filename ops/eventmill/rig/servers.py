"""The servers of a run: those that the environment names, or a local stack for as long as it lasts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from eventmill.dev import guard
from eventmill.dev.addresses import Addresses, addresses_from_environment
from eventmill.dev.stack import Stack


@dataclass(frozen=True, slots=True)
class Servers:
    """Where they are. `external`: they are somebody else's, so topics need names that nobody has."""

    addresses: Addresses
    external: bool


@contextmanager
def servers(folder: Path, say: Callable[[str], None], *, fresh: bool = True, keep: bool = False) -> Iterator[Servers]:
    """Give servers for the block. A local stack in `folder` is stopped at its end, also if this process is killed.

    `fresh` begins with empty servers. `keep` leaves the local stack running where the block ends in order.
    Raises SetupError and StackFailed.
    """
    external = addresses_from_environment()
    if external is not None:
        say(f"using the stack of the environment: Kafka at {external.bootstrap}")
        yield Servers(external, external=True)
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    stack, watchman, kept = Stack(folder, usual_ports=False), guard.start(folder), False
    try:
        say("starting Kafka, the schema registry and Postgres on this machine (the first time loads 0.3 GB)")
        yield Servers(stack.up(fresh=fresh, report=say), external=False)
        kept = keep
    finally:
        if not kept:
            stack.down(report=say)   # the guard is still there: if we are killed in here, it goes on
        watchman.terminate()
        watchman.wait()
