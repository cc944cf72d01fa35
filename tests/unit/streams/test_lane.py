"""One lane: what is taken, what waits beyond the span, what is passed."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill_schemas.events import RawRecord, Source
from eventmill_streams.lane import RECORD_OVERHEAD, Batch, Lane, Work
from eventmill_streams.offset_metadata import MAX_SPAN
from eventmill_streams.settled import SettledSet

PARTITION = ("in", 0)


def opened(committed: int = -1, metadata: str = "") -> Lane[str]:
    """Build a lane whose committed state is known."""
    lane: Lane[str] = Lane(PARTITION)
    lane.settled = SettledSet(committed, metadata)
    return lane


def record(offset: int) -> RawRecord:
    """Build a record."""
    return RawRecord(Source(*PARTITION, offset), None, b"v", (), 0)


def batch(start: int | None, end: int | None, offsets: Sequence[int]) -> Batch:
    """Build a batch of [start, end) with records at `offsets`."""
    return Batch(PARTITION, 1, start, end, [record(offset) for offset in offsets])


def drain(lane: Lane[str]) -> list[int]:
    """Take everything the lane gives, as new work."""
    taken = []
    while (one := lane.next_new()) is not None:
        lane.register(Work(lane, one, None))
        taken.append(one.source.offset)
    return taken


def settle(lane: Lane[str], *offsets: int) -> None:
    """Commit the work at `offsets`."""
    done = set(offsets)
    lane.tracker.settle(done, lane.tracker.proposal(done)[0])
    for offset in offsets:
        lane.discard(lane.work[offset])


def test_a_lane_that_is_not_open_says_so() -> None:
    """Before the committed state is known there is no tracker to ask."""
    with pytest.raises(RuntimeError, match="not open"):
        _ = Lane(PARTITION).tracker
    assert not Lane(PARTITION).commit_due


@given(st.sets(st.integers(0, 40)), st.integers(0, 20))
def test_a_batch_gives_each_new_record_once(offsets: set[int], committed: int) -> None:
    """What is below the committed offset is passed over; the rest comes once, ascending; then the range is known."""
    lane = opened(committed)
    assert lane.take(batch(0, 50, sorted(offsets)))
    wanted = sorted(offset for offset in offsets if offset >= committed)
    assert drain(lane) == wanted
    assert lane.tracker.position == 50
    assert lane.take(batch(0, 50, sorted(offsets)))
    assert drain(lane) == []
    assert list(lane.work) == wanted


@given(st.integers(1, 100), st.integers(0, 50))
def test_a_gap_is_refused_and_changes_nothing(gap: int, position: int) -> None:
    """A batch that starts beyond the position is not taken: what lies between may hold records."""
    lane = opened(position)
    assert not lane.take(batch(position + gap, position + gap + 2, [position + gap]))
    assert lane.tracker.position == position
    assert lane.next_new() is None
    assert lane.take(batch(position, position + 1, [position]))


def test_a_batch_without_a_known_start_begins_at_its_first_record() -> None:
    """When a rebalance came between, records before the first one may be missing: that is a gap too."""
    lane = opened()
    assert not lane.take(batch(None, 4, [3]))
    assert lane.take(batch(None, 1, [0]))
    assert drain(lane) == [0]


def test_control_records_are_passed_and_make_a_commit_due() -> None:
    """A read that met only control records moves the position; with nothing open the offset to commit moves too."""
    lane = opened(0)
    assert lane.take(batch(0, 3, []))
    assert drain(lane) == []
    assert lane.tracker.position == 3
    assert lane.commit_due
    settle(lane)
    assert not lane.commit_due


def test_control_records_behind_open_work_are_not_due() -> None:
    """While an earlier event is open, the frontier can't move, so nothing is due."""
    lane = opened(0)
    lane.take(batch(0, 1, [0]))
    drain(lane)
    lane.take(batch(1, 5, []))
    drain(lane)
    assert not lane.commit_due
    settle(lane, 0)
    assert lane.tracker.frontier == 5


def test_records_beyond_the_span_wait_and_come_when_the_head_is_settled() -> None:
    """An offset too far beyond the lowest open one stays in the backlog; no other batch is taken meanwhile."""
    lane = opened()
    far = MAX_SPAN + 5
    assert lane.take(batch(0, far + 2, [0, 1, far, far + 1]))
    assert drain(lane) == [0, 1]
    assert len(lane.backlog) == 2
    assert lane.tracker.position == 2, "the range is not known as seen before its records are"
    assert not lane.take(batch(far + 2, far + 3, [far + 2]))
    settle(lane, 1)
    assert drain(lane) == [], "the head is still open"
    settle(lane, 0)
    assert drain(lane) == [far, far + 1]
    assert not lane.backlog
    assert lane.tracker.position == far + 2


@given(st.binary(max_size=50), st.binary(max_size=50) | st.none(), st.lists(st.tuples(st.just("h"), st.binary())))
def test_bytes_are_counted_in_and_out(value: bytes, key: bytes | None, headers: list[tuple[str, bytes | None]]) -> None:
    """A registered record counts with key, value and headers; forgotten, nothing of it is left."""
    lane = opened()
    work: Work[str] = Work(lane, RawRecord(Source(*PARTITION, 0), key, value, headers, 0), None)
    lane.register(work)
    assert lane.bytes == RECORD_OVERHEAD + len(value) + len(key or b"") + sum(1 + len(v or b"") for _, v in headers)
    stranger: Work[str] = Work(lane, record(0), None)
    lane.discard(stranger)
    assert lane.work == {0: work}, "another work at the same offset is not this one"
    lane.discard(work)
    lane.discard(work)
    assert lane.bytes == 0
    assert not lane.work
