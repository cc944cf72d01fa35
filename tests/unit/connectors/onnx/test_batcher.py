"""Texts of many callers in batches: each computed once, given to its caller, within the bounds."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventmill_connectors.onnx.batcher import Batcher, Sizes, Tokens
from eventmill_connectors.onnx.parts import compute_in_parts, shares
from eventmill_connectors.onnx.room import Room
from eventmill_schemas.errors import EventmillError, InferenceFailed, LocalModelAway, ModelFailed, OutOfMemory
from eventmill_schemas.local_models import Encoded


@dataclass
class FakeEncoder:
    """A text's tokens are its characters, its label is the text. It remembers its batches.

    `held`: computing waits for this. `memory`: tokens with padding that fit. Texts with "bad" can't be computed, those
    with "nan" give nothing; while `broken`, nothing can.
    """

    held: threading.Event | None = None
    memory: int = 1_000_000
    broken: bool = False
    batches: list[list[str]] = field(default_factory=list)
    computing: int = 0
    most_computing: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def estimate(self, text: str) -> int:
        """Guess, a little wrong."""
        return len(text) // 2 + 1

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Take characters for tokens."""
        return [Tokens([ord(one) for one in text], -(-max(1, len(text)) // 8) * 8, cut="cut" in text) for text in texts]

    def compute(self, batch: Sequence[Tokens]) -> list[Encoded | EventmillError]:
        """Give each text back."""
        with self.lock:
            self.computing += 1
            self.most_computing = max(self.most_computing, self.computing)
        try:
            if self.held is not None:
                assert self.held.wait(10)
            texts = ["".join(map(chr, one.ids)) for one in batch]
            if self.broken or any("bad" in text for text in texts):
                raise ModelFailed("it can't")
            if len(batch) * batch[0].width > self.memory:
                raise OutOfMemory("too much")
            with self.lock:
                self.batches.append(texts)
            assert len({one.width for one in batch}) == 1, "a batch has one width"
            return [InferenceFailed("NaN") if "nan" in text else Encoded(0, label=text) for text in texts]
        finally:
            with self.lock:
                self.computing -= 1

    def probe(self) -> None:
        """Fail while everything does."""
        if self.broken:
            raise ModelFailed("device lost")


@dataclass
class Counted:
    """A watch that adds up."""

    batches: list[tuple[int, int]] = field(default_factory=list)
    waiting: int = 0
    most_waiting: int = 0

    def computed(self, model: str, texts: int, tokens: int, seconds: float) -> None:
        """Note the batch."""
        assert seconds >= 0
        self.batches.append((texts, tokens))

    def queued(self, model: str, amount: int) -> None:
        """Note the queue."""
        self.waiting = amount
        self.most_waiting = max(self.most_waiting, amount)


async def wait(until: Awaitable[None]) -> None:
    """Wait as a caller does that holds nothing."""
    await until


def batcher(encoder: FakeEncoder, **sizes: int) -> tuple[Batcher, Counted]:
    """Make a batcher and its watch."""
    watch = Counted()
    return Batcher("fake", encoder, Sizes(**sizes), watch), watch


async def until(reached: Callable[[], bool]) -> None:
    """Let threads and callbacks run until something is so."""
    async with asyncio.timeout(5):
        while not reached():  # noqa: ASYNC110 - what is awaited has no event
            await asyncio.sleep(0.0005)


TEXTS = st.text("uvwxyz", max_size=60)


@given(
    requests=st.lists(st.lists(TEXTS, max_size=5), max_size=40),
    workers=st.integers(1, 3),
    batch_tokens=st.sampled_from([1, 64, 512]),
    queue_tokens=st.sampled_from([1, 100, 10_000]),
)
@settings(max_examples=60, deadline=None)
async def test_every_text_is_computed_once_for_its_caller(
    requests: list[list[str]], workers: int, batch_tokens: int, queue_tokens: int
) -> None:
    """Whatever the sizes: each caller gets its own texts in order, no text is computed twice, bounds hold."""
    encoder = FakeEncoder()
    subject, watch = batcher(encoder, workers=workers, batch_tokens=batch_tokens, queue_tokens=queue_tokens)
    found = await asyncio.gather(*(subject.encode(texts, wait) for texts in requests))
    assert [[one.label for one in answer] for answer in found] == requests
    assert sorted(text for batch in encoder.batches for text in batch) == sorted(sum(requests, []))  # noqa: RUF017 - short lists
    assert encoder.most_computing <= workers
    assert all(texts == 1 or tokens <= batch_tokens for texts, tokens in watch.batches)
    assert subject.waiting_tokens == 0
    subject.close()


@given(
    texts=st.lists(st.tuples(TEXTS, st.sampled_from(["", "", "", "bad", "nan"])), min_size=1, max_size=30),
    memory=st.sampled_from([8, 64, 200, 10_000]),
)
@settings(max_examples=60, deadline=None)
async def test_what_fails_fails_alone(texts: list[tuple[str, str]], memory: int) -> None:
    """A text that can't be computed, is too large or gives NaN fails alone, however it was batched."""
    encoder = FakeEncoder(memory=memory)
    subject, _ = batcher(encoder, workers=1)
    given_texts = [text + mark for text, mark in texts]
    found = await asyncio.gather(*(subject.encode([text], wait) for text in given_texts), return_exceptions=True)
    for text, answer in zip(given_texts, found, strict=True):
        width = -(-max(1, len(text)) // 8) * 8
        if "bad" in text or "nan" in text or width > memory:
            assert isinstance(answer, InferenceFailed), text
        else:
            assert not isinstance(answer, BaseException)
            assert answer[0].label == text
    assert subject.waiting_tokens == 0
    subject.close()


async def test_a_model_that_computes_nothing_is_away() -> None:
    """Where even the probe fails, no event is to blame; when the device is back, work goes on."""
    encoder = FakeEncoder(broken=True)
    subject, _ = batcher(encoder)
    with pytest.raises(LocalModelAway, match="device lost"):
        await subject.encode(["one", "two"], wait)
    encoder.broken = False
    assert [one.label for one in await subject.encode(["one"], wait)] == ["one"]
    subject.close()


async def test_after_want_of_memory_batches_are_made_to_fit() -> None:
    """The bound is learnt: later batches of that width are small enough from the start."""
    encoder = FakeEncoder(memory=64)
    subject, watch = batcher(encoder, workers=1, batch_tokens=512)
    await asyncio.gather(*(subject.encode(["abc"], wait) for _ in range(100)))
    first = max(texts for texts, _ in watch.batches)
    assert first > 8, "at first a batch did not fit"
    watch.batches.clear()
    await asyncio.gather(*(subject.encode(["abc"], wait) for _ in range(100)))
    assert max(tokens for _, tokens in watch.batches) <= 64
    subject.close()


async def test_the_queue_is_a_door() -> None:
    """Beyond the bound callers wait by the way they gave, first come first served, and hold no place inside."""
    encoder = FakeEncoder(held=threading.Event())
    subject, _ = batcher(encoder, workers=1, queue_tokens=40)
    outside: list[str] = []

    async def note(until: Awaitable[None], name: str) -> None:
        outside.append(name)
        await until

    calls = [
        asyncio.create_task(subject.encode(["x" * 16], lambda until, name=f"{n}": note(until, name)))  # type: ignore[misc]  # a default argument
        for n in range(12)
    ]
    await asyncio.sleep(0)
    assert outside == [f"{n}" for n in range(12 - len(outside), 12)], "the later ones wait, in order"
    assert 4 <= len(outside) <= 10
    assert subject.waiting_tokens < 40 + 9
    assert encoder.held is not None
    encoder.held.set()
    assert len(await asyncio.gather(*calls)) == 12
    subject.close()


async def test_a_caller_that_goes_costs_nothing() -> None:
    """Cancelled before dispatch, a text is not computed and gives its room back, also outside the door."""
    encoder = FakeEncoder(held=threading.Event())
    subject, _ = batcher(encoder, workers=1, queue_tokens=60)
    first = asyncio.create_task(subject.encode(["first"], wait))
    await until(lambda: encoder.computing == 1)
    inside = [asyncio.create_task(subject.encode(["y" * 20], wait)) for _ in range(4)]
    outside = [asyncio.create_task(subject.encode(["z" * 20], wait)) for _ in range(4)]
    last = asyncio.create_task(subject.encode(["last"], wait))
    await asyncio.sleep(0)
    for task in (*inside, *outside):
        task.cancel()
    assert encoder.held is not None
    encoder.held.set()
    assert [[one.label for one in answer] for answer in await asyncio.gather(first, last)] == [["first"], ["last"]]
    assert encoder.batches == [["first"], ["last"]]
    await until(lambda: not subject.waiting_tokens)
    subject.close()


async def test_the_oldest_width_is_next() -> None:
    """A rare long text is not passed over by an endless stream of short ones."""
    encoder = FakeEncoder(held=threading.Event())
    subject, _ = batcher(encoder, workers=1, batch_tokens=16)
    calls = [asyncio.create_task(subject.encode(["a"], wait))]
    await until(lambda: encoder.computing == 1)
    calls += [asyncio.create_task(subject.encode([text], wait)) for text in ("b", "c" * 30, *"defghijk")]
    assert encoder.held is not None
    encoder.held.set()
    await asyncio.gather(*calls)
    order = [batch[0][0] for batch in encoder.batches]
    assert order.index("c") == 2, "behind what was there before, and before all that came later"
    subject.close()


async def test_idle_workers_share_what_waits() -> None:
    """Two idle workers take half each of what would fit into one batch."""
    encoder = FakeEncoder(held=threading.Event())
    subject, watch = batcher(encoder, workers=2, batch_tokens=512)
    call = asyncio.create_task(subject.encode(["abcdefgh"] * 16, wait))
    await until(lambda: encoder.computing == 2)
    assert encoder.held is not None
    encoder.held.set()
    await call
    assert watch.batches == [(8, 64), (8, 64)]
    subject.close()


async def test_seconds_of_a_batch_are_shared_by_tokens() -> None:
    """The shares of all texts add up to the batch's time exactly, and grow with the tokens."""
    encoder = FakeEncoder()
    watch = Counted()
    taken: list[float] = []
    subject = Batcher("fake", encoder, Sizes(workers=1), watch)
    watch.computed = lambda model, texts, tokens, seconds: taken.append(seconds)  # type: ignore[method-assign]  # the double's own
    found = await subject.encode(["ab", "abcdef"], wait)
    assert sum((one.seconds for one in found), Decimal(0)) == Decimal(f"{taken[0]:.9f}")
    assert [one.tokens for one in found] == [2, 6]
    assert abs(found[1].seconds - 3 * found[0].seconds) < Decimal("1e-9")
    subject.close()


@given(total=st.integers(0, 10**15), weights=st.lists(st.integers(1, 10**6), min_size=1, max_size=50))
def test_shares_add_up(total: int, weights: list[int]) -> None:
    """No picosecond is lost or made, and nobody's share is off by more than what is left over."""
    parts = shares(total, weights)
    assert sum(parts) == total
    fair = [total * weight // sum(weights) for weight in weights]
    assert all(0 <= part - least <= len(weights) for part, least in zip(parts, fair, strict=True))


@given(amounts=st.lists(st.integers(0, 50), min_size=1, max_size=40), limit=st.integers(1, 60), data=st.data())
@settings(max_examples=60, deadline=None)
async def test_room_histories(amounts: list[int], limit: int, data: Any) -> None:
    """Any order of coming, leaving and giving up: who is let in came first, and at the end nothing is used."""
    room = Room(limit)
    inside: list[int] = []

    async def visit(number: int, amount: int, leave: "Future[None] | asyncio.Future[None]") -> None:
        await room.enter(amount, wait)
        inside.append(number)
        try:
            await asyncio.wrap_future(leave) if isinstance(leave, Future) else await leave
        finally:
            room.leave(amount)

    loop = asyncio.get_running_loop()
    leaves = [loop.create_future() for _ in amounts]
    visits = [
        asyncio.create_task(visit(number, amount, leave))
        for number, (amount, leave) in enumerate(zip(amounts, leaves, strict=True))
    ]
    gone: set[int] = set()
    for number in data.draw(st.permutations(range(len(amounts)))):
        await asyncio.sleep(0)
        assert room.used < limit + 50
        if data.draw(st.booleans()):
            visits[number].cancel()
            gone.add(number)
        elif not leaves[number].done():
            leaves[number].set_result(None)
    await asyncio.gather(*visits, return_exceptions=True)
    assert room.used == 0
    assert inside == sorted(inside)


def test_a_batch_without_memory_is_halved_down_to_one() -> None:
    """Every size between the whole and one is tried, and the smallest failure is told."""
    encoder = FakeEncoder(memory=16)
    tokens = encoder.tokenize(["a", "b", "c", "d", "e"])
    parts = compute_in_parts(encoder, tokens)
    assert [row.label for row in parts.rows if isinstance(row, Encoded)] == ["a", "b", "c", "d", "e"]
    assert parts.too_large == 3


@pytest.mark.parametrize("error", [ModelFailed("device lost"), OutOfMemory("taken by others")])
def test_what_fails_once_is_not_to_blame(error: ModelFailed) -> None:
    """A lost model may have got a new session from another thread, and memory may be free again."""
    encoder = FakeEncoder()
    tokens = encoder.tokenize(["a"])
    there, failures = encoder.compute, [error]

    def once(batch: Sequence[Tokens]) -> list[Encoded | EventmillError]:
        if failures:
            raise failures.pop()
        return there(batch)

    encoder.compute = once  # type: ignore[method-assign]  # the double has no failure that passes
    (row,) = compute_in_parts(encoder, tokens).rows
    assert isinstance(row, Encoded)
    assert row.label == "a"


async def test_closing_ends_quietly() -> None:
    """What is being computed comes to its end, nothing new begins, and nothing is left to complain."""
    encoder = FakeEncoder(held=threading.Event())
    subject, _ = batcher(encoder, workers=1)
    calls = [asyncio.create_task(subject.encode([text * 9], wait)) for text in "xyz"]
    await until(lambda: encoder.computing == 1)
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    subject.close()
    assert encoder.held is not None
    encoder.held.set()
    await until(lambda: len(encoder.batches) == 1 and not encoder.computing)
    for call in calls:
        call.cancel()
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(one, list) for one in done) <= len(encoder.batches[0])
    assert complaints == []


@given(
    requests=st.lists(st.tuples(st.lists(TEXTS, min_size=1, max_size=4), st.integers(0, 6)), min_size=1, max_size=25),
    queue_tokens=st.sampled_from([1, 60, 10_000]),
)
@settings(max_examples=40, deadline=None)
async def test_callers_that_go_take_nothing_from_others(
    requests: list[tuple[list[str], int]], queue_tokens: int
) -> None:
    """Whoever is cancelled at whatever moment: the others get their texts, and no room is lost."""
    encoder = FakeEncoder()
    subject, _ = batcher(encoder, workers=2, batch_tokens=64, queue_tokens=queue_tokens)
    calls = [asyncio.create_task(subject.encode(texts, wait)) for texts, _ in requests]
    for moment in range(6):
        for call, (_, leaves) in zip(calls, requests, strict=True):
            if leaves == moment:
                call.cancel()
        await asyncio.sleep(0.0002 if moment % 2 else 0)
    done = await asyncio.gather(*calls, return_exceptions=True)
    for answer, (texts, leaves) in zip(done, requests, strict=True):
        if leaves == 6 or not isinstance(answer, BaseException):
            assert not isinstance(answer, BaseException)
            assert [one.label for one in answer] == texts
        else:
            assert isinstance(answer, asyncio.CancelledError)
    assert subject.waiting_tokens == 0
    subject.close()
