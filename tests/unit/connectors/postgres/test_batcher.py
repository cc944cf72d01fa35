"""Items of many callers in few batches: each once, in order, in time, each with its own answer."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventmill_connectors.postgres.batcher import BatchLimits, MicroBatcher
from eventmill_schemas.errors import EventmillError, PostgresUnreachable, UnstorableVector
from virtual_time import run_virtually

LIMITS = BatchLimits(enough=5, most=8, linger=0.05)


class Recorder:
    """Work that takes its time, and notes which batches it did when."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.batches: list[list[int]] = []
        self.began: list[float] = []
        self.seconds = seconds
        self.running = 0

    async def work(self, items: Sequence[int]) -> list[int | EventmillError]:
        """Answer each with its square; refuse negative ones; fail with all for a batch that holds 13."""
        assert self.running == 0
        self.running += 1
        self.batches.append(list(items))
        self.began.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.seconds)
        self.running -= 1
        if 13 in items:
            raise PostgresUnreachable("away", remedy="wait")
        return [UnstorableVector(f"{item} is negative") if item < 0 else item * item for item in items]


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(-3, 14), st.integers(1, 10), st.booleans()), max_size=40),
    st.floats(0, 0.3),
    st.sampled_from([LIMITS, BatchLimits(1, 6, 0.0), BatchLimits(1000, 3, 0.2)]),
)
def test_each_item_is_in_one_batch_and_each_caller_has_its_answer(
    callers: list[tuple[float, int, int, bool]], seconds: float, limits: BatchLimits
) -> None:
    """Random arrivals, sizes and departures: nobody is lost, doubled, overtaken or answered for another."""
    recorder = Recorder(seconds)
    arrived: list[int] = []

    async def call(batcher: MicroBatcher[tuple[int, int], int], number: int) -> object:
        at, value, _, leaves = callers[number]
        await asyncio.sleep(at)
        arrived.append(number)
        try:
            async with asyncio.timeout(0.01 if leaves else None):
                return await batcher.ask((number, value if not leaves else 0))
        except (EventmillError, TimeoutError) as error:
            return error

    async def main() -> list[object]:
        async def work(items: Sequence[tuple[int, int]]) -> list[int | EventmillError]:
            numbers.append([number for number, _ in items])
            return await recorder.work([value for _, value in items])

        batcher = MicroBatcher[tuple[int, int], int](work, limits, lambda item: callers[item[0]][2])
        answers = await asyncio.gather(*(call(batcher, number) for number in range(len(callers))))
        await asyncio.sleep(10)
        assert batcher._task is None   # nothing runs on when all are served
        return answers

    numbers: list[list[int]] = []
    answers = run_virtually(main())
    done = [number for batch in numbers for number in batch]
    assert done == [number for number in arrived if number in set(done)]   # in order, none twice
    for batch in numbers:
        assert len(batch) == 1 or sum(callers[number][2] for number in batch) <= limits.most
    for number, ((_, value, _, leaves), answer) in enumerate(zip(callers, answers, strict=True)):
        if isinstance(answer, TimeoutError):
            assert leaves
            continue
        batch = next(batch for batch in numbers if number in batch)
        values = [0 if callers[other][3] else callers[other][1] for other in batch]
        asked = 0 if leaves else value
        if 13 in values:
            assert isinstance(answer, PostgresUnreachable)
        elif asked < 0:
            assert isinstance(answer, UnstorableVector)
            assert str(answer) == f"{asked} is negative"
        else:
            assert answer == asked * asked


def ask(limits: BatchLimits, arrivals: Sequence[float], seconds: float = 0.0) -> Recorder:
    """Let an item arrive at each of these times."""
    recorder = Recorder(seconds)

    async def main() -> None:
        batcher = MicroBatcher[int, int](recorder.work, limits)

        async def call(at: float) -> None:
            await asyncio.sleep(at)
            await batcher.ask(1)

        await asyncio.gather(*(call(at) for at in arrivals))

    run_virtually(main())
    return recorder


@pytest.mark.parametrize(
    ("arrivals", "began"),
    [
        ([0.0], [0.05]),                            # one alone waits for others, not for long
        ([0.0, 0.02, 0.04], [0.05]),
        ([0.0, 0.01, 0.02, 0.03, 0.04], [0.04]),    # enough: at once
        ([0.0, 0.06], [0.05, 0.11]),
        ([0.0] * 20, [0.0, 0.0, 0.05]),             # 8, 8, and 4 that wait for a fifth
    ],
)
def test_when_a_batch_begins(arrivals: list[float], began: list[float]) -> None:
    """When enough wait, or when the first has lingered; a rest waits as long as it would have alone."""
    assert ask(LIMITS, arrivals).began == pytest.approx(began)


def test_without_lingering_items_gather_only_while_a_batch_is_under_way() -> None:
    """The first goes at once, alone; those that come meanwhile go together when it ends."""
    recorder = ask(BatchLimits(1, 100, 0.0), [0.0, 0.1, 0.2, 0.3], seconds=0.25)
    assert recorder.batches == [[1], [1, 1], [1]]
    assert recorder.began == pytest.approx([0.0, 0.25, 0.5])


def test_each_caller_has_a_traceback_of_its_own() -> None:
    """An error for all of a batch is a copy for each, with the cause of the first."""

    async def main() -> list[object]:
        async def away(items: Sequence[int]) -> list[int | EventmillError]:
            raise PostgresUnreachable("away", remedy="wait") from OSError("cut")

        batcher = MicroBatcher[int, int](away, LIMITS)
        return await asyncio.gather(batcher.ask(1), batcher.ask(2), return_exceptions=True)

    first, second = run_virtually(main())
    assert isinstance(first, PostgresUnreachable)
    assert isinstance(second, PostgresUnreachable)
    assert first is not second
    assert str(first) == str(second) == "away. wait"
    assert isinstance(second.__cause__, OSError)


def test_closing_cancels_who_waits() -> None:
    """Nobody waits for ever for a batcher that was closed, neither in the batch under way nor behind it."""

    async def main() -> list[object]:
        batcher = MicroBatcher[int, int](Recorder(1000.0).work, LIMITS)
        calls = [asyncio.create_task(batcher.ask(number)) for number in range(20)]
        await asyncio.sleep(1)
        await batcher.close()
        return await asyncio.gather(*calls, return_exceptions=True)

    assert all(isinstance(answer, asyncio.CancelledError) for answer in run_virtually(main()))
