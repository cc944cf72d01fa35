"""The offset arithmetic against a model, over thousands of random histories."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventmill_schemas.errors import InvariantViolated
from eventmill_streams.offset_metadata import MAX_METADATA, MAX_SPAN, UnreadableMetadataError, decode, encode
from eventmill_streams.settled import SettledSet


@st.composite
def open_sets(draw: st.DrawFn) -> tuple[int, list[int], int]:
    """Draw (frontier, open offsets, end) as a lane may have them."""
    frontier = draw(st.integers(0, 2**53))
    span = draw(st.integers(1, MAX_SPAN))
    steps = draw(st.lists(st.integers(1, 3000), max_size=300))
    offsets, at = [frontier], frontier
    for step in steps:
        at += step
        if at >= frontier + span:
            break
        offsets.append(at)
    return frontier, offsets, frontier + span


@given(open_sets())
@settings(max_examples=300, deadline=None)
def test_metadata_round_trip_fits_kafkas_limit(case: tuple[int, list[int], int]) -> None:
    """Whatever is open within the span is read back exactly, also with librdkafka's NUL, and fits the limit."""
    frontier, offsets, end = case
    text = encode(frontier, offsets, end)
    assert len(text) < MAX_METADATA
    assert decode(frontier, text) == (offsets, end)
    assert decode(frontier, text + "\0") == (offsets, end)


def test_worst_case_metadata_fits() -> None:
    """Half of the largest span open at random is the dearest case, and it fits below 4,096 with the NUL."""
    rng = random.Random(7)
    offsets = [0, *(o for o in range(1, MAX_SPAN) if rng.random() < 0.5)]
    assert len(encode(0, offsets, MAX_SPAN)) + 1 <= MAX_METADATA


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: "1v" + raw.hex()))
@settings(deadline=None)
def test_foreign_metadata_is_refused_or_exact(text: str) -> None:
    """Text that somebody else wrote is refused or read as a well-formed set, never half understood."""
    try:
        offsets, end = decode(100, text)
    except UnreadableMetadataError:
        return
    assert offsets == sorted(set(offsets))
    assert all(100 <= offset < end for offset in offsets)


def test_every_cut_of_a_bitmap_is_refused() -> None:
    """A bitmap cut anywhere is noticed: read on, it would call open offsets settled."""
    text = encode(0, list(range(0, 900, 3)), 900)
    assert text.startswith("1b")
    for cut in range(3, len(text)):
        with pytest.raises(UnreadableMetadataError):
            decode(0, text[:cut])


def test_unknown_version_is_refused() -> None:
    """A later format is not guessed at."""
    with pytest.raises(UnreadableMetadataError, match="unknown"):
        decode(0, "2bAAAA")


@dataclass
class Broker:
    """The model: one partition with holes and retention, what is committed, and what was put out."""

    rng: random.Random
    size: int
    gaps: set[int]
    committed: tuple[int, str] = (-1, "")
    published: list[int] = field(default_factory=list)
    log_start: int = 0
    gone: set[int] = field(default_factory=set)

    def retain(self) -> None:
        """Sometimes retention removes records from the start."""
        if self.rng.random() < 0.05 and self.log_start < self.size:
            self.log_start = self.rng.randrange(self.log_start, min(self.size, self.log_start + 40) + 1)
            self.gone |= set(range(self.log_start))


def run_session(broker: Broker) -> bool:
    """Run one owner of the partition until it crashes or nothing is left; True when drained."""
    rng = broker.rng
    settled = SettledSet(*broker.committed)
    at, work, budget = max(broker.committed[0], 0), [], rng.randrange(1, 120) if rng.random() < 0.9 else 10**9
    if rng.random() < 0.2:
        at = rng.randrange(0, at + 1)  # Faust's own start position may be too early
    while budget > 0:
        budget -= 1
        if rng.random() < 0.55 and at < broker.size and len(work) < 30:
            at = deliver(broker, settled, at, work)
        elif work:
            if not commit(broker, settled, work):
                return False
        elif at >= broker.size:
            settled.skip_to(broker.size)
            return not len(settled)
    return False


def deliver(broker: Broker, settled: SettledSet, at: int, work: list[int]) -> int:
    """Let the fetcher hand over what stands at `at`; return the next position."""
    if broker.rng.random() < 0.03:
        at = broker.rng.randrange(min(at, max(broker.committed[0], 0)), at + 1)  # redelivery
    if at < broker.log_start:
        settled.skip_to(broker.log_start)
        return broker.log_start
    if at in broker.gaps:
        if broker.rng.random() < 0.5 and at + 1 >= settled.position:
            settled.skip_to(at + 1)
        return at + 1
    if settled.room(at):
        known = settled.is_settled(at)
        if settled.arrive(at):
            assert not known
            work.append(at)
        return at + 1
    return at


def commit(broker: Broker, settled: SettledSet, work: list[int]) -> bool:
    """End a transaction: committed, aborted, or unknown because the process dies; False: the session is over."""
    rng = broker.rng
    batch = set(rng.sample(work, rng.randrange(1, len(work) + 1)))
    frontier, metadata = settled.proposal(batch)
    holes, _ = decode(frontier, metadata)
    assert not set(holes) & batch
    fate = rng.random()
    if fate < 0.9 or rng.random() < 0.5:
        if 0.8 <= fate < 0.9:
            return True  # aborted
        broker.committed = (frontier, metadata)
        broker.published += batch
    if fate >= 0.9:
        return False
    settled.settle(batch, frontier)
    work[:] = [offset for offset in work if offset not in batch]
    return True


@pytest.mark.parametrize("block", range(6))
def test_random_histories_lose_and_double_nothing(block: int) -> None:
    """500 histories of commits, aborts, crashes, redelivery, holes and retention: each record is put out once."""
    for seed in range(block * 500, block * 500 + 500):
        rng = random.Random(seed)
        size = rng.randrange(1, 300)
        density = rng.choice((0, 0.1, 0.5))
        broker = Broker(rng, size, {o for o in range(size) if rng.random() < density})
        for _ in range(5000):
            broker.retain()
            if run_session(broker):
                break
        else:
            pytest.fail(f"seed {seed} never drained")
        wanted = set(range(size)) - broker.gaps - broker.gone
        assert wanted <= set(broker.published), f"seed {seed} lost {sorted(wanted - set(broker.published))[:5]}"
        assert len(broker.published) == len(set(broker.published)), f"seed {seed} doubled"


def test_settling_twice_is_refused() -> None:
    """An offset that is settled already can't be settled again: that would be a duplicate result."""
    settled = SettledSet(-1)
    settled.arrive(0)
    settled.arrive(1)
    settled.settle({0}, settled.proposal({0})[0])
    with pytest.raises(InvariantViolated, match="not at work"):
        settled.proposal({0})


def test_frontier_that_moves_back_is_refused() -> None:
    """A commit below the committed frontier would deliver settled events again."""
    settled = SettledSet(10)
    settled.arrive(10)
    with pytest.raises(InvariantViolated, match="moved back"):
        settled.settle({10}, 5)


def test_slow_head_holds_nothing_back() -> None:
    """With the first event open and 5,000 settled behind it, a successor repeats exactly the first."""
    settled = SettledSet(-1)
    for offset in range(5001):
        settled.arrive(offset)
    frontier, metadata = settled.proposal(set(range(1, 5001)))
    successor = SettledSet(frontier, metadata)
    assert [offset for offset in range(5001) if successor.arrive(offset)] == [0]
    assert successor.drained_to == 0


def test_span_closes_the_door_and_opens_again() -> None:
    """An offset too far beyond the lowest open one has no room until that one is settled."""
    settled = SettledSet(-1)
    settled.arrive(0)
    settled.skip_to(MAX_SPAN)
    assert not settled.room(MAX_SPAN)
    settled.settle({0}, settled.proposal({0})[0])
    assert settled.room(MAX_SPAN)


def test_drained_lane_passes_control_records() -> None:
    """Control records at the end move the offset to commit beyond them, so that lag reaches 0."""
    settled = SettledSet(-1)
    settled.arrive(0)
    settled.settle({0}, settled.proposal({0})[0])
    settled.skip_to(3)
    assert settled.frontier == 1
    assert settled.drained_to == 3
    assert settled.proposal(set()) == (3, "")
