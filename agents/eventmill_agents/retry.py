"""When one more attempt of a model call is made, and after what wait. The only place that repeats a request."""

import math
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from eventmill_agents.ports import Gate
from eventmill_schemas.errors import CallError, is_retryable

T = TypeVar("T")

LEAST_SECONDS: Final = 1.0   # a repeated attempt with less time than this would be paid for and cut off

# Full jitter: uniform between 0 and min(30, 2^(n-1)) s before attempt n+1.
# (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015)
_FULL_JITTER: Final = wait_random_exponential(multiplier=1, max=30)


class TimeBudget:
    """The seconds that a call may take: its attempts and the waits between them.

    What others cause does not count: waiting at a door, and queueing for an in-flight slot.
    """

    __slots__ = ("remaining",)

    def __init__(self, seconds: float) -> None:
        self.remaining = seconds

    def spend(self, seconds: float) -> None:
        """Take `seconds` off."""
        self.remaining -= seconds


class Attempts:
    """Repeats the requests to one model of a route, within `limit` attempts and the call's `budget`.

    Owns no clock of its own: whoever sends the request takes its duration off the budget and raises `made`.
    """

    def __init__(self, limit: int, budget: TimeBudget, gate: Gate) -> None:
        self._limit = limit
        self._budget = budget
        self._gate = gate
        self._reason = ""
        self.made = 0

    async def run(self, send: Callable[[], Awaitable[T]]) -> T:
        """Return what `send` returns. Between attempts the event holds no in-flight slot (`Gate.pause`).

        Raises the last CallError once the attempts or the time are used up, or the server asks for a longer wait than
        there is time; and every other error of `send` at once.
        """
        try:
            return await send()
        except CallError as error:
            failures = [error]

        async def again() -> T:
            # Setting tenacity up costs as much as all other bookkeeping of a call: only what has failed pays for it.
            if failures:
                raise failures.pop()
            return await send()

        retrying = AsyncRetrying(
            retry=retry_if_exception(is_retryable), wait=self._wait, stop=self._stop, sleep=self._pause, reraise=True
        )
        return await retrying(again)

    def _wait(self, state: RetryCallState) -> float:
        error = _failure(state)
        self._reason = error.kind
        return max(server_hint(error), _FULL_JITTER(state))

    def _stop(self, state: RetryCallState) -> bool:
        return self.made >= self._limit or state.upcoming_sleep + LEAST_SECONDS > self._budget.remaining

    async def _pause(self, seconds: float) -> None:
        self._budget.spend(seconds)
        await self._gate.pause(seconds, self._reason)


def server_hint(error: CallError) -> float:
    """Return how many seconds the server asks to wait; 0 where it says nothing, or nothing that is a time."""
    hint = error.retry_after
    return hint if hint is not None and math.isfinite(hint) and hint > 0 else 0.0


def _failure(state: RetryCallState) -> CallError:
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(error, CallError):
        raise TypeError(f"{error!r} is not repeated")
    return error
