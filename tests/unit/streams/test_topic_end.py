"""A partition that is shorter than what the group has settled is noticed."""

import asyncio

import pytest

from eventmill_schemas.errors import SetupError
from eventmill_streams.topic_end import check_end
from virtual_time import run_virtually

IN = ("in", 3)


async def _check(*answers: int | Exception, wanted: int = 100) -> int:
    """Check position 10 against these answers, one after the other; return how many were asked for."""
    asked = 0

    async def log_end(_: tuple[str, int]) -> int:
        nonlocal asked
        answer = answers[asked]
        asked += 1
        await asyncio.sleep(0.1)
        if isinstance(answer, Exception):
            raise answer
        return answer

    await check_end(log_end, IN, 10, lambda: asked < wanted)
    return asked


@pytest.mark.parametrize("end", [10, 11, 1 << 40])
def test_a_partition_that_reaches_the_position_is_asked_once(end: int) -> None:
    """Where the end is the position, everything is settled; beyond it there is more to do."""
    assert run_virtually(_check(end)) == 1


def test_a_shorter_partition_is_refused_with_the_command_that_mends_it() -> None:
    """Three times below the position: the error names partition, both offsets and the reset."""
    with pytest.raises(SetupError) as refused:
        run_virtually(_check(9, 9, 9))
    assert "in/3 ends at offset 9, and the group has settled it up to 10" in refused.value.message
    assert "--reset-offsets --to-latest --topic in:3" in str(refused.value.remedy)


def test_an_end_that_a_new_leader_told_too_early_is_no_loss() -> None:
    """Below the position twice, then as far as it: nothing happened."""
    assert run_virtually(_check(9, 8, 10)) == 3


def test_failures_are_no_answer_and_it_ends_with_the_assignment() -> None:
    """Time-outs don't count as short; when the partition is somebody else's nobody asks on, and nothing is raised."""
    assert run_virtually(_check(TimeoutError(), OSError("away"), RuntimeError(), 12)) == 4
    assert run_virtually(_check(*[TimeoutError()] * 9, wanted=5)) == 5
    assert run_virtually(_check(9, 9, wanted=2)) == 2
