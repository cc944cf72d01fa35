"""Blocking librdkafka calls away from the event loop, each with a deadline.

librdkafka can hang for good in a transaction call after a broker restart. A call past its deadline is abandoned with
its thread and its client; the threads are daemons, so the process can exit whatever they are doing.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_DISPOSAL_DELAY = 1.0
"""Seconds until a client's last reference is dropped: the callers' frames must be gone by then."""


class DaemonThread:
    """Runs calls one after another in a thread of its own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[tuple[asyncio.AbstractEventLoop, asyncio.Future[Any], Callable[..., Any], Any] | None]
        self._calls = SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    async def call(self, deadline: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function` in the thread. Raises what it raises, or TimeoutError after `deadline` seconds.

        After a TimeoutError the thread is still busy: use another one.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._calls.put((loop, future, function, (args, kwargs)))
        return await asyncio.wait_for(future, deadline)

    def close(self) -> None:
        """End the thread after the calls it already has."""
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            loop, future, function, (args, kwargs) = call
            result, error = None, None
            try:
                result = function(*args, **kwargs)
            except BaseException as raised:  # noqa: BLE001 - handed to the caller, whatever it is
                error = raised
            try:
                loop.call_soon_threadsafe(_resolve, future, result, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return
            del call, loop, future, function, args, kwargs, result, error  # a client must not live in this frame


def _resolve(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


def dispose(client: object) -> None:
    """Free a librdkafka client in a daemon thread: its destructor waits for ever when one of its calls hangs."""
    box = [client]

    def drop() -> None:
        time.sleep(_DISPOSAL_DELAY)
        box.clear()

    threading.Thread(target=drop, name="dispose", daemon=True).start()
