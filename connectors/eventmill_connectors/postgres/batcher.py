"""What many callers ask for one by one, asked together: fewer and larger transactions."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from eventmill_schemas.errors import EventmillError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

Work = Callable[[Sequence[Item]], Awaitable[Sequence[Answer | EventmillError]]]
"""Does the work of some items, and returns an answer for each, in order; what it raises is the answer to all."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """When a batch begins, and how large it may be; `rows` as the batcher's `rows_of` counts them.

    It begins when `enough` rows wait, or when the first has waited for `linger` seconds, and takes at most `most`
    rows, but always one item. 0 for `linger`: a batch begins as soon as the one before has ended.
    """

    enough: int = 200
    most: int = 1000
    linger: float = 0.05


@dataclass(slots=True)
class _Waiting(Generic[Item, Answer]):
    item: Item
    rows: int
    since: float
    answer: asyncio.Future[Answer] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class MicroBatcher(Generic[Item, Answer]):
    """Gathers items into batches, one batch at a time, oldest first.

    Guarantees: each item is in exactly one batch, or in none if its caller has gone before its batch began. There is
    no task while nothing waits. The number of waiting items is bounded by the number of callers.
    """

    def __init__(
        self, work: Work[Item, Answer], limits: BatchLimits, rows_of: Callable[[Item], int] = lambda _: 1
    ) -> None:
        self._work = work
        self._limits = limits
        self._rows_of = rows_of
        self._waiting: deque[_Waiting[Item, Answer]] = deque()
        self._rows = 0
        self._enough = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def ask(self, item: Item) -> Answer:
        """Wait for the answer to `item`; raises what the work raised, or returned, for it."""
        waiting = _Waiting[Item, Answer](item, self._rows_of(item), asyncio.get_running_loop().time())
        self._waiting.append(waiting)
        self._rows += waiting.rows
        if self._rows >= self._limits.enough:
            self._enough.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return await waiting.answer

    async def close(self) -> None:
        """End the batch that is under way. Who still waits is cancelled."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        while self._waiting:
            self._waiting.popleft().answer.cancel()

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._linger()
                if batch := self._take():
                    await self._answer(batch)
        finally:
            self._task = None

    async def _linger(self) -> None:
        oldest = self._waiting[0].since
        if self._rows >= self._limits.enough or self._limits.linger <= 0:
            return
        self._enough.clear()
        try:
            async with asyncio.timeout_at(oldest + self._limits.linger):
                await self._enough.wait()
        except TimeoutError:
            pass

    def _take(self) -> list[_Waiting[Item, Answer]]:
        batch: list[_Waiting[Item, Answer]] = []
        rows = 0
        while self._waiting and (not batch or rows + self._waiting[0].rows <= self._limits.most):
            first = self._waiting.popleft()
            self._rows -= first.rows
            if not first.answer.done():   # else its caller has gone
                batch.append(first)
                rows += first.rows
        return batch

    async def _answer(self, batch: Sequence[_Waiting[Item, Answer]]) -> None:
        answers: Sequence[Answer | BaseException]
        try:
            answers = await self._work([waiting.item for waiting in batch])
        except asyncio.CancelledError:
            for waiting in batch:
                waiting.answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - it belongs to those who asked
            answers = [error] * len(batch)
        for waiting, answer in zip(batch, answers, strict=True):
            if waiting.answer.done():
                continue
            if isinstance(answer, BaseException):
                waiting.answer.set_exception(_own(answer))
            else:
                waiting.answer.set_result(answer)


def _own(error: BaseException) -> BaseException:
    """Return a copy of an error, with a traceback for the one who gets it."""
    if not isinstance(error, EventmillError):
        return error
    copy = type(error)(error.message, remedy=error.remedy)
    copy.__cause__ = error.__cause__
    return copy
