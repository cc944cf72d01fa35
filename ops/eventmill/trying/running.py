"""Running a coroutine so that Ctrl-C ends it in order at any moment."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` in an event loop of its own and return what it returns.

    As asyncio.run, but an interrupt while the loop is being made waits until it runs: a half-made loop would complain
    when it is thrown away. Raises KeyboardInterrupt once everything has ended, and what `main` raises.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    async def begun() -> T:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)   # from here on asyncio's own handler cancels us
        return await main

    try:
        return asyncio.run(begun())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
