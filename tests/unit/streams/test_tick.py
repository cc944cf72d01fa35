"""What a tick sends: which offsets of which lanes, and whose record was refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill_connectors.kafka.group_metadata import Member
from eventmill_connectors.kafka.transaction import OutRecord
from eventmill_schemas.events import RawRecord, Source
from eventmill_streams.lane import Lane, Work
from eventmill_streams.metrics import Metrics
from eventmill_streams.offset_metadata import decode
from eventmill_streams.session import Session
from eventmill_streams.settled import SettledSet
from eventmill_streams.settlement import End, Settlement
from eventmill_streams.tick import Ticker, _by_lane, _due, _offsets, _outcome, _owner, _records
from eventmill_streams.window import Limits, Window

COUNTS = st.lists(st.integers(0, 4), min_size=1, max_size=20)


def lane_with(partition: int, arrived: int) -> tuple[Lane[Settlement], list[Work[Settlement]]]:
    """Build a lane whose first `arrived` offsets are at work."""
    lane: Lane[Settlement] = Lane(("in", partition))
    lane.settled = SettledSet(-1)
    works = []
    for offset in range(arrived):
        lane.settled.arrive(offset)
        works.append(Work(lane, RawRecord(Source("in", partition, offset), None, b"", (), 0), None))
    return lane, works


def with_records(counts: list[int]) -> list[Work[Settlement]]:
    """Build finished works that have so many records each."""
    _, works = lane_with(0, len(counts))
    for work, count in zip(works, counts, strict=True):
        name = str(work.offset).encode()
        work.outcome = Settlement(End.RESULT, tuple(OutRecord("t", None, name, None) for _ in range(count)))
    return works


@given(COUNTS)
def test_the_owner_of_each_record_is_found(counts: list[int]) -> None:
    """Whatever number of records events have, record n of the transaction leads to the event that it is of."""
    works = with_records(counts)
    records = _records(works)
    assert len(records) == sum(counts)
    for index, record in enumerate(records):
        assert str(_owner(works, index).offset).encode() == record.key
    with pytest.raises(IndexError):
        _owner(works, sum(counts))


def test_a_work_without_an_outcome_is_not_committed() -> None:
    """Ready without an outcome is a mistake that must not become an empty commit."""
    _, works = lane_with(0, 1)
    with pytest.raises(RuntimeError, match="in/0@0"):
        _outcome(works[0])


@given(st.lists(st.sets(st.integers(0, 9)), min_size=1, max_size=4), st.sets(st.integers(0, 3)))
def test_every_lane_that_is_touched_or_due_sends_its_offset(done: list[set[int]], due: set[int]) -> None:
    """One offset per lane; its text and frontier call settled exactly what this tick settles."""
    lanes, works = [], []
    for partition, offsets in enumerate(done):
        lane, arrived = lane_with(partition, 10)
        lanes.append(lane)
        works += [work for work in arrived if work.offset in offsets]
    waiting = [lanes[i] for i in due if i < len(lanes)]
    batches = _by_lane(works, waiting)
    assert set(batches) == {lane for lane, offsets in zip(lanes, done, strict=True) if offsets or lane in waiting}
    for topic, partition, offset, metadata in _offsets(batches):
        assert topic == "in"
        open_offsets, end = decode(offset, metadata)
        settled = {o for o in range(10) if o < offset or (o < end and o not in open_offsets)}
        assert settled == done[partition]


def test_only_lanes_that_can_move_are_due() -> None:
    """A lane that is not open, one with open work and one that is drained already have nothing to commit."""
    shut: Lane[Settlement] = Lane(("in", 0))
    busy, _ = lane_with(1, 1)
    drained, _ = lane_with(2, 0)
    passed, _ = lane_with(3, 0)
    passed.tracker.skip_to(5)
    lanes = {lane.partition: lane for lane in (shut, busy, drained, passed)}
    assert _due(Session(Member("g", 1, "m"), lanes)) == [passed]


def test_a_late_verdict_on_an_old_assignment_stops_nothing_of_the_new_one() -> None:
    """A tick that learns, after a rebalance, that its own assignment is over leaves the present one at work."""
    window: Window[Settlement] = Window(Limits(1, 2, 8, 1000), lambda _: None)
    ticker = Ticker(window, None, None, None, Metrics())
    old, present = (Session(Member("g", generation, "m")) for generation in (1, 2))
    ticker.session = present
    ticker._close(old)
    assert old.closed
    assert window.accepting
    ticker._close(present)
    assert not window.accepting
