"""How often and after what wait a request is repeated."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill_agents.retry import LEAST_SECONDS, Attempts, TimeBudget, server_hint
from eventmill_schemas.errors import Ambiguous, CallError, ModelUnreachable, Overloaded, RateLimited, RequestRefused


class Sender:
    """Fails as told, then answers; every request takes `seconds` of the budget."""

    def __init__(self, failures: Sequence[Exception], budget: TimeBudget, seconds: float = 0.0) -> None:
        self._failures = list(failures)
        self._budget = budget
        self._seconds = seconds
        self.attempts: Attempts | None = None

    async def __call__(self) -> str:
        """Make one attempt."""
        assert self.attempts is not None
        self.attempts.made += 1
        self._budget.spend(self._seconds)
        if self._failures:
            raise self._failures.pop(0)
        return "answer"


def attempts(
    gate: Any, failures: Sequence[Exception], *, limit: int = 3, budget: float = 300, seconds: float = 0.0
) -> tuple[Attempts, Sender]:
    """Return the attempts at a model that fails as told, and what sends its requests."""
    time = TimeBudget(budget)
    sender = Sender(failures, time, seconds)
    sender.attempts = Attempts(limit, time, gate)
    return sender.attempts, sender


@pytest.mark.parametrize("error", [RateLimited("a"), Overloaded("b"), Ambiguous("c")])
async def test_a_failed_attempt_is_repeated(gate: Any, error: CallError) -> None:
    """What may go better the next time is tried again, after a pause that is named after the failure."""
    tries, sender = attempts(gate, [error])
    assert await tries.run(sender) == "answer"
    assert tries.made == 2
    assert [reason for _, reason in gate.pauses] == [error.kind]


@pytest.mark.parametrize("error", [RequestRefused("a"), ModelUnreachable("b"), RuntimeError("c")])
async def test_everything_else_is_not(gate: Any, error: Exception) -> None:
    """What can't go better, or is no attempt, is raised at once."""
    tries, sender = attempts(gate, [error])
    with pytest.raises(type(error)):
        await tries.run(sender)
    assert (tries.made, gate.pauses) == (1, [])


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_attempts_are_limited(gate: Any, limit: int) -> None:
    """The last failure is raised once the attempts are used up."""
    failures = [Overloaded(f"failure {n}") for n in range(10)]
    tries, sender = attempts(gate, failures, limit=limit)
    with pytest.raises(Overloaded, match=f"failure {limit - 1}"):
        await tries.run(sender)
    assert (tries.made, len(gate.pauses)) == (limit, limit - 1)


@given(hint=st.floats(0, 30), number=st.integers(1, 8))
async def test_wait_is_the_servers_or_full_jitter(
    make_gate: Callable[[], Any], hint: float, number: int
) -> None:
    """Each wait is at least what the server asks for, and within the bound of full jitter where that is larger."""
    gate = make_gate()
    tries, sender = attempts(gate, [RateLimited("x", retry_after=hint)] * number, limit=number + 1, budget=10_000)
    await tries.run(sender)
    for n, (seconds, _) in enumerate(gate.pauses):
        assert hint <= seconds <= max(hint, min(30.0, 2.0**n))


async def test_jitter_is_spread(gate: Any) -> None:
    """Waits without a hint differ: a crowd does not come back at the same moment."""
    tries, sender = attempts(gate, [RateLimited("x")] * 50, limit=60, budget=1e6)
    await tries.run(sender)
    late = [seconds for seconds, _ in gate.pauses[10:]]
    assert len(set(late)) == len(late)
    assert min(late) < 15 < max(late)


async def test_case_04_a_wait_beyond_the_time_left_ends_the_call(gate: Any) -> None:
    """A day's retry-after is not slept through: the failure is raised at once."""
    tries, sender = attempts(gate, [RateLimited("x", retry_after=86_400)], budget=300)
    with pytest.raises(RateLimited):
        await tries.run(sender)
    assert gate.pauses == []


@pytest.mark.parametrize("hint", [None, float("nan"), float("inf"), -5.0, float("-inf"), 0.0])
def test_case_04_a_hint_that_is_no_time_is_none(hint: float | None) -> None:
    """Nonsense in retry-after is as good as nothing."""
    assert server_hint(RateLimited("x", retry_after=hint)) == 0.0


async def test_time_is_one_budget_for_attempts_and_waits(gate: Any) -> None:
    """The attempts' own time and the waits add up; what is left after a wait must be worth an attempt."""
    failures = [Ambiguous("slow", retry_after=10)] * 9
    tries, sender = attempts(gate, failures, limit=9, budget=100, seconds=30)
    with pytest.raises(Ambiguous):
        await tries.run(sender)
    assert tries.made == 3   # 30 + 10 + 30 + 10 + 20 of 100: after the third attempt no 10 + 1 are left


async def test_no_attempt_with_next_to_no_time(gate: Any) -> None:
    """A repeated attempt needs a second: a shorter one would be paid for and cut off."""
    for left, made in ((LEAST_SECONDS - 0.01, 1), (LEAST_SECONDS + 0.01, 2)):
        tries, sender = attempts(gate, [Ambiguous("x", retry_after=5.0)], budget=5.0 + left)
        if made == 1:
            with pytest.raises(Ambiguous):
                await tries.run(sender)
        else:
            await tries.run(sender)
        assert tries.made == made
