"""The stand-in as a process: announces its address, ends on SIGTERM, Ctrl-C or with its parent."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress

import uvloop

from eventmill.dev.model.server import StandIn

_LOOK_AT_PARENT = 0.5   # seconds


def run(stand_in: StandIn, announce: Callable[[StandIn], None], *, parent: int | None = None) -> None:
    """Serve until told to stop, or until the process `parent` is gone. Calls `announce` once it listens.

    Raises: SetupError if the port is taken.
    """
    uvloop.run(_serve(stand_in, announce, parent))


async def _serve(stand_in: StandIn, announce: Callable[[StandIn], None], parent: int | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with stand_in:
        announce(stand_in)
        while not stop.is_set() and (parent is None or _is_there(parent)):
            with suppress(TimeoutError):
                async with asyncio.timeout(None if parent is None else _LOOK_AT_PARENT):
                    await stop.wait()


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:   # it is there, and somebody else's
        return True
    return True
