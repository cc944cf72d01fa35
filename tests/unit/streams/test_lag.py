"""The arithmetic of lag: what is left to do, how old it is, how fast it shrinks."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill_connectors.kafka.offsets import Committed
from eventmill_connectors.kafka.positions import Span
from eventmill_streams.lag import GroupLag, PartitionLag, Standing, partition_lag, speed, with_ages
from eventmill_streams.offset_metadata import encode

PLACE = ("mails", 0)


def group(*partitions: PartitionLag) -> GroupLag:
    """Return a group of these partitions."""
    return GroupLag("g", partitions)


def at(offset: int, end: int, number: int = 0) -> PartitionLag:
    """Return a partition with everything below `offset` done."""
    return partition_lag(("mails", number), Committed(offset, ""), Span(0, end, end))


@given(
    frontier=st.integers(0, 50),
    is_open=st.lists(st.booleans(), max_size=40),
    start=st.integers(0, 70),
    more=st.integers(0, 60),
)
def test_backlog_is_the_number_of_unsettled_offsets_there_are(
    frontier: int, is_open: list[bool], start: int, more: int
) -> None:
    """Whatever is settled beyond the frontier, and whatever retention removed: every offset is counted once."""
    known_to = frontier + len(is_open)
    open_offsets = [frontier + index for index, still_open in enumerate(is_open) if still_open]
    end = max(start, frontier + more)
    settled = set(range(frontier)) | (set(range(frontier, known_to)) - set(open_offsets))
    unsettled = [offset for offset in range(start, end) if offset not in settled]

    found = partition_lag(PLACE, Committed(frontier, encode(frontier, open_offsets, known_to)), Span(start, end, end))

    assert found.backlog == len(unsettled)
    assert found.lag == len(range(max(start, frontier), end))
    assert found.lag == found.backlog + (found.settled or 0)


def test_lag_ends_at_the_last_stable_offset() -> None:
    """Records of an open transaction are not lag yet; an offset committed beyond them is no negative lag."""
    span = Span(0, 10, 15)
    assert partition_lag(PLACE, Committed(4, ""), span).lag == 6
    beyond = partition_lag(PLACE, Committed(12, ""), span)
    assert (beyond.lag, beyond.standing) == (0, Standing.WITHIN)


@pytest.mark.parametrize(
    ("committed", "standing"),
    [
        (Committed(4, ""), Standing.BEFORE_START),
        (Committed(5, ""), Standing.WITHIN),
        (Committed(20, ""), Standing.WITHIN),
        (Committed(21, ""), Standing.BEYOND_END),
        (Committed(-1001, ""), Standing.NOTHING),
        (None, Standing.PENDING),
    ],
)
def test_standing_says_what_is_odd(committed: Committed | None, standing: Standing) -> None:
    """In a log of [5, 20) the next record may be any of them or the one after; elsewhere something is lost."""
    assert partition_lag(PLACE, committed, Span(5, 20, 20)).standing == standing


def test_what_retention_removed_is_not_waited_for() -> None:
    """A group that is behind the log's start has to do what is left, not what is gone."""
    assert partition_lag(PLACE, Committed(2, ""), Span(5, 20, 20)).lag == 15


def test_unknown_numbers_stay_unknown() -> None:
    """A pending commit, a leaderless partition, and a foreign group without a commit have no lag that could be told."""
    span = Span(0, 10, 10)
    for found in (
        partition_lag(PLACE, None, span),
        partition_lag(PLACE, Committed(3, ""), None),
        partition_lag(PLACE, Committed(-1001, ""), span, from_start=False),
    ):
        assert (found.lag, found.backlog, found.seconds) == (None, None, None)
        assert group(found).total.unknown == 1


def test_a_group_begins_at_the_first_record() -> None:
    """Without a commit everything that the log still has is to do."""
    assert partition_lag(PLACE, Committed(-1001, ""), Span(5, 20, 20)).backlog == 15


def test_foreign_text_beside_an_offset_hides_nothing() -> None:
    """Text that is not eventmill's is told as such, and counts as nothing settled."""
    found = partition_lag(PLACE, Committed(3, "some consumer's note"), Span(0, 10, 10))
    assert (found.settled, found.lag, found.backlog) == (None, 7, 7)


def test_totals_are_sums_and_the_oldest_age() -> None:
    """By group and by topic: sums of offsets, the age of the oldest record, and how many partitions are unknown."""
    lag = with_ages(
        group(at(0, 10), at(8, 10, 1), replace(at(5, 5, 2), topic="other"), partition_lag(("other", 1), None, None)),
        {("mails", 0): 1_000, ("mails", 1): 4_000},
        now_ms=10_000,
    )
    assert (lag.total.lag, lag.total.seconds, lag.total.unknown, lag.total.partitions) == (12, 9.0, 1, 4)
    assert {topic: (total.lag, total.seconds) for topic, total in lag.by_topic().items()} == {
        "mails": (12, 9.0),
        "other": (0, 0.0),
    }


def test_ages_come_from_the_next_record() -> None:
    """No lag and no record: 0; a record of the future: 0; a record whose time is not known: not told."""
    waiting = at(0, 10)
    key = ("mails", 0)
    assert with_ages(group(at(10, 10)), {}, 5_000).partitions[0].seconds == 0.0
    assert with_ages(group(waiting), {key: None}, 5_000).partitions[0].seconds == 0.0
    assert with_ages(group(waiting), {key: 6_000}, 5_000).partitions[0].seconds == 0.0
    assert with_ages(group(waiting), {key: 3_500}, 5_000).partitions[0].seconds == 1.5
    assert with_ages(group(waiting), {}, 5_000).partitions[0].seconds is None


def test_speed_counts_what_is_settled_beyond_the_frontier() -> None:
    """A slow event at the head does not make the group look stuck: what is done behind it counts."""
    before = partition_lag(PLACE, Committed(0, ""), Span(0, 100, 100))
    after = partition_lag(PLACE, Committed(0, encode(0, [0], 41)), Span(0, 120, 120))
    pace = speed(group(before), group(after), 10)
    assert pace is not None
    assert (pace.settled, pace.arrived) == (4.0, 2.0)
    assert pace.drained_in == pytest.approx(80 / 2)


def test_speed_says_never_when_more_arrives_than_is_done() -> None:
    """No time is promised while the backlog grows; none is needed where it is empty; unknown partitions don't count."""
    growing = speed(group(at(0, 10)), group(at(5, 20)), 1)
    assert growing is not None
    assert growing.drained_in is None
    drained = speed(group(at(0, 10)), group(at(10, 10)), 1)
    assert drained is not None
    assert drained.drained_in == 0.0
    assert speed(group(partition_lag(PLACE, None, None)), group(at(5, 20)), 1) is None
    assert speed(group(at(0, 10)), group(at(5, 20)), 0) is None
