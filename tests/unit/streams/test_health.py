"""What a worker says of itself: ready, stuck, waiting."""

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from eventmill_schemas.events import RawRecord, Source
from eventmill_streams.health import STUCK_AFTER, health
from eventmill_streams.lane import Batch
from eventmill_streams.settled import SettledSet
from eventmill_streams.settlement import End, Settlement
from eventmill_streams.window import Limits, Window

IN = ("in", 0)


def replica(last_commit_ago: float = 0.0) -> Any:
    """Build what health looks at: one lane with one event that is finished at once, and one that runs."""
    window: Window[Settlement] = Window(Limits(5, 5, 5, 1 << 20), lambda _: None)
    lane = window.open([IN])[IN]
    lane.settled = SettledSet(-1)
    window.opened(lane)
    records = [RawRecord(Source(*IN, offset), None, b"", (), 0) for offset in range(2)]
    window.take(lane, Batch(IN, 1, 0, 2, records))
    window.dispatch()
    ticker = SimpleNamespace(last_commit=time.monotonic() - last_commit_ago)
    doors = SimpleNamespace(closed=("model_unreachable",))
    return SimpleNamespace(window=window, ticker=ticker, ready=True, doors=doors)


def finish(of: Any, ago: float) -> None:
    """Let the first event have finished `ago` seconds before now."""
    settlement = Settlement(End.SKIPPED, ())
    of.window.finished(of.window.lanes[IN].work[0], replace(settlement, finished_at=settlement.finished_at - ago))


def test_an_idle_or_waiting_worker_is_healthy() -> None:
    """Neither a long quiet time nor a closed door nor a slow call is a reason to restart it."""
    state = health(replica(last_commit_ago=10 * STUCK_AFTER))
    assert state.problems == ()
    assert state.doors_closed == ("model_unreachable",)
    assert (state.in_flight, state.unsettled) == (2, 2)
    (lane,) = state.lanes
    assert (lane.partition, lane.open, lane.frontier, lane.position, lane.at_work) == ("in/0", True, 0, 2, 2)


def test_the_first_result_after_a_quiet_time_is_no_problem() -> None:
    """What counts is how long a finished event waits, not how long ago the last commit was."""
    quiet = replica(last_commit_ago=10 * STUCK_AFTER)
    finish(quiet, ago=0.0)
    assert health(quiet).problems == ()


def test_finished_events_that_can_not_be_committed_are_a_problem() -> None:
    """Also while the tick holds them in its hands, and the list of what is ready is empty."""
    stuck = replica()
    finish(stuck, ago=STUCK_AFTER + 1)
    stuck.window.ready = []
    assert health(stuck).problems == ("finished events can't be committed",)
