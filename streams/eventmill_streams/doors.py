"""Doors: why a replica takes nothing new, and how events wait without holding a slot.

A door is named by the `kind` of the Unavailable error that closed it. While any door is closed the lanes take nothing
(Kafka's lag grows, which is the signal people watch); events that are already begun wait here and try again.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from prometheus_client import Counter

from eventmill_schemas.errors import Unavailable
from eventmill_streams.lane import Work
from eventmill_streams.window import Window

MAX_WAIT = 30.0
"""Seconds between two tries at most: how late a recovery may be noticed."""

_FIRST_WAIT = 0.25


class Doors:
    """The lane doors of a replica. `changed` is called with (kind, message) on closing and (kind, None) on opening."""

    def __init__(self, blocked: Counter, changed: Callable[[str, str | None], None]) -> None:
        self._blocked = blocked
        self._changed = changed
        self._closed: dict[str, tuple[asyncio.Event, float]] = {}

    @property
    def closed(self) -> tuple[str, ...]:
        """The kinds that are closed now."""
        return tuple(self._closed)

    def close(self, error: Unavailable) -> asyncio.Event:
        """Close the door named by `error.kind`; return the event that is set when it opens."""
        kind = error.kind
        if kind not in self._closed:
            self._closed[kind] = (asyncio.Event(), time.monotonic())
            self._changed(kind, str(error))
        return self._closed[kind][0]

    def open(self, kind: str) -> None:
        """Open a door, and let go who waits at it."""
        closed = self._closed.pop(kind, None)
        if closed is None:
            return
        event, since = closed
        self._blocked.labels(door="lane", reason=kind).inc(time.monotonic() - since)
        event.set()
        self._changed(kind, None)

    def reset(self) -> None:
        """Open every door: who waited there may be gone with its assignment, and nobody would try again."""
        for kind in self.closed:
            self.open(kind)


def backoff(attempt: int) -> float:
    """Seconds to wait before try `attempt` + 1: full jitter over an exponential bound."""
    return random.uniform(_FIRST_WAIT / 2, min(MAX_WAIT, _FIRST_WAIT * 2 ** min(attempt, 20)))


class EventGate:
    """How one event waits. Satisfies eventmill_agents.ports.Gate."""

    __slots__ = ("_blocked", "_doors", "_window", "_work")

    def __init__(self, work: Work[Any], window: Window[Any], doors: Doors, blocked: Counter) -> None:
        self._work = work
        self._window = window
        self._doors = doors
        self._blocked = blocked

    async def pause(self, seconds: float, reason: str) -> None:
        """Wait `seconds` without a slot, then take one again."""
        async with self._without_slot(reason):
            await asyncio.sleep(seconds)

    async def wait(self, until: Awaitable[None], reason: str) -> None:
        """Await `until` without a slot, then take one again."""
        async with self._without_slot(reason):
            await until

    async def wait_open(self, unavailable: Unavailable, attempt: int) -> None:
        """Wait at the lane door of `unavailable`, until it opens or it is worth another try."""
        event = self._doors.close(unavailable)
        async with self._without_slot(unavailable.kind):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff(attempt)):
                    await event.wait()

    def opened(self, kind: type[Unavailable]) -> None:
        """Open the lane door of `kind`."""
        self._doors.open(kind.kind)

    @contextlib.asynccontextmanager
    async def _without_slot(self, reason: str) -> AsyncIterator[None]:
        """Give the slot back for the block. A block that is broken off has it again at once: the step may go on."""
        began = time.monotonic()
        self._window.pause(self._work)
        try:
            yield
        except asyncio.CancelledError:
            self._window.reclaim(self._work)
            raise
        finally:
            self._blocked.labels(door="call", reason=reason).inc(time.monotonic() - began)
        await self._window.resume(self._work)
