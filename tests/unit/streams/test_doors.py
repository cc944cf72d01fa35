"""Doors and gates: who waits, who is woken, and what the window's counters say meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter

from eventmill_schemas.errors import AccountClosed, ModelUnreachable, RegistryUnreachable
from eventmill_schemas.events import RawRecord, Source
from eventmill_streams.doors import MAX_WAIT, Doors, EventGate, backoff
from eventmill_streams.lane import Batch, State, Work
from eventmill_streams.settled import SettledSet
from eventmill_streams.window import Limits, Window
from virtual_time import run_virtually

PARTITION = ("in", 0)


class Site:
    """A window with room for one event at a time, two events in it, and doors that note what they say."""

    def __init__(self) -> None:
        """Begin the first event."""
        self.registry = CollectorRegistry()
        self.blocked = Counter("blocked", "", ["door", "reason"], registry=self.registry)
        self.said: list[tuple[str, str | None]] = []
        self.doors = Doors(self.blocked, lambda kind, message: self.said.append((kind, message)))
        self.started: list[Work[str]] = []
        self.window: Window[str] = Window(Limits(1, 10, 10, 1 << 20), self.started.append)
        lane = self.window.open([PARTITION])[PARTITION]
        lane.settled = SettledSet(-1)
        self.window.opened(lane)
        records = [RawRecord(Source(*PARTITION, offset), None, b"v", (), 0) for offset in range(2)]
        self.window.take(lane, Batch(PARTITION, 1, 0, 2, records))
        self.window.dispatch()

    def gate(self, number: int = 0) -> EventGate:
        """Return the gate of an event that has begun."""
        return EventGate(self.started[number], self.window, self.doors, self.blocked)

    def seconds(self, door: str, reason: str) -> float | None:
        """Return what the metric says."""
        return self.registry.get_sample_value("blocked_total", {"door": door, "reason": reason})


def test_a_door_says_once_that_it_closes_and_opens() -> None:
    """However many events meet it, a closed door is told once; so is its opening."""
    site = Site()
    first = site.doors.close(ModelUnreachable("refused"))
    assert site.doors.close(ModelUnreachable("refused again")) is first
    assert site.doors.closed == ("model_unreachable",)
    site.doors.open("model_unreachable")
    site.doors.open("model_unreachable")
    assert first.is_set()
    assert site.doors.closed == ()
    assert site.said == [("model_unreachable", "refused"), ("model_unreachable", None)]
    assert site.seconds("lane", "model_unreachable") is not None


def test_doors_are_independent_until_a_reset() -> None:
    """Opening one leaves the others closed; a reset opens all, and lets go who waits at each."""
    site = Site()
    waits = [site.doors.close(error) for error in (ModelUnreachable("m"), RegistryUnreachable("r"), AccountClosed("a"))]
    site.doors.open("registry_unreachable")
    assert set(site.doors.closed) == {"model_unreachable", "account_closed"}
    site.doors.reset()
    assert site.doors.closed == ()
    assert all(wait.is_set() for wait in waits)
    assert site.doors.close(ModelUnreachable("m")) is not waits[0], "a door that closes anew is waited for anew"


@given(st.integers(1, 10_000))
def test_backoff_grows_within_its_bounds(attempt: int) -> None:
    """Never below the jitter's floor, never above the bound of its attempt, never above MAX_WAIT."""
    seconds = backoff(attempt)
    assert 0.125 <= seconds <= min(MAX_WAIT, 0.25 * 2 ** min(attempt, 20))


async def pause(gate: EventGate) -> None:
    """Wait between attempts."""
    await gate.pause(60, "rate_limited")


async def door(gate: EventGate) -> None:
    """Wait at a door."""
    await gate.wait_open(ModelUnreachable("away"), 20)


async def queue(gate: EventGate) -> None:
    """Wait at a queue."""
    await gate.wait(asyncio.sleep(60), "local_model_queue")


WAITS = pytest.mark.parametrize("wait", [pause, door, queue])
Wait = Callable[[EventGate], Awaitable[None]]


@WAITS
def test_a_wait_gives_the_slot_to_another_and_takes_it_again(wait: Wait) -> None:
    """While one event waits the next one runs; the first goes on when the slot is free."""

    async def body() -> None:
        site = Site()
        assert [work.offset for work in site.started] == [0]
        waiting = asyncio.create_task(_run(wait(site.gate())))
        await asyncio.sleep(0)
        assert site.started[0].state == State.PAUSED
        assert [work.offset for work in site.started] == [0, 1]
        assert site.window.running == 1
        await asyncio.sleep(MAX_WAIT + 60)
        assert not waiting.done(), "the slot is taken"
        site.window.finished(site.started[1], "done")
        await waiting
        assert site.started[0].state == State.RUNNING
        assert site.window.running == 1
        site.window.finished(site.started[0], "done")
        assert site.window.running == 0

    run_virtually(body())


def test_who_waits_at_a_door_is_woken_when_it_opens() -> None:
    """An opening ends the wait at once, long before the next try would have been."""

    async def body() -> None:
        site = Site()
        waiting = asyncio.create_task(_run(door(site.gate())))
        await asyncio.sleep(0)
        site.window.finished(site.started[1], "done")
        assert site.doors.closed == ("model_unreachable",)
        site.gate(1).opened(ModelUnreachable)
        for _ in range(10):
            await asyncio.sleep(0)
        assert waiting.done()
        assert site.seconds("call", "model_unreachable") is not None

    run_virtually(body())


def test_without_an_opening_the_wait_ends_by_itself() -> None:
    """Somebody must try: after the backoff the event does, and the door stays closed until it succeeds."""

    async def body() -> None:
        site = Site()
        began = asyncio.get_running_loop().time()
        waiting = asyncio.create_task(_run(site.gate().wait_open(ModelUnreachable("away"), 1)))
        await asyncio.sleep(0)
        site.window.finished(site.started[1], "done")
        await waiting
        assert 0.125 <= asyncio.get_running_loop().time() - began <= 0.6
        assert site.doors.closed == ("model_unreachable",)

    run_virtually(body())



@WAITS
@pytest.mark.parametrize("moment", ["waiting", "resuming"])
def test_a_step_that_breaks_its_wait_off_still_finishes(wait: Wait, moment: str) -> None:
    """A time-out of the step's own, during the wait or in the queue for a slot: the event runs on, counted once."""

    async def body() -> None:
        site = Site()
        waiting = asyncio.create_task(_run(wait(site.gate())))
        await asyncio.sleep(0.01 if moment == "waiting" else MAX_WAIT + 60)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert site.started[0].state == State.RUNNING
        assert site.window.running == 2, "over the budget for a moment, and never lost"
        for work in list(site.started):
            site.window.finished(work, "done")
        assert site.window.running == 0
        assert [work.offset for work in site.window.ready] == [0, 1]

    run_virtually(body())


@WAITS
@pytest.mark.parametrize("moment", ["waiting", "resuming", "given"])
def test_an_event_dropped_in_its_wait_leaves_the_counters_right(wait: Wait, moment: str) -> None:
    """Its partition went elsewhere: its wait is cancelled and no slot is lost or left, whenever it happens."""

    async def body() -> None:
        site = Site()
        first = site.started[0]
        first.task = asyncio.create_task(_run(wait(site.gate())))
        await asyncio.sleep(0.01 if moment == "waiting" else MAX_WAIT + 60)
        if moment == "given":
            site.window.finished(site.started[1], "done")
        task = first.task
        site.window.close()
        site.window.open([])
        with pytest.raises(asyncio.CancelledError):
            await task
        assert site.window.running == 0
        assert site.window.unsettled == 0

    run_virtually(body())


async def _run(waiting: Awaitable[None]) -> None:
    await waiting
