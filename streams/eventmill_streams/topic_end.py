"""Whether a partition reaches as far as the group has settled it.

It does not after its log was cut (an unclean leader election, a restored backup), or where somebody has committed an
offset that is too high. Then new records get offsets that count as settled, and would be lost without a word. A topic
that is deleted and made again is no such case: Kafka forgets the group's offsets with it.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from eventmill_schemas.errors import SetupError
from eventmill_streams.lane import Partition

_TRIES = 3
"""Times that the end must be below the offset: a new leader of the partition may tell an older end for a moment."""

_PAUSE = 1.0

_log = structlog.get_logger()


async def check_end(
    log_end: Callable[[Partition], Awaitable[int]], partition: Partition, position: int, wanted: Callable[[], bool]
) -> None:
    """Raise SetupError where `partition` ends before `position`; ask again for as long as `wanted` if it can't be told.

    `log_end` returns the offset of the next record to come.
    """
    shorter = 0
    while wanted() and shorter < _TRIES:
        try:
            end = await log_end(partition)
        except (TimeoutError, OSError, RuntimeError) as error:
            _log.warning("can't tell yet where the partition ends", partition=partition, reason=repr(error))
        else:
            if end >= position:
                return
            shorter += 1
        if shorter < _TRIES:
            await asyncio.sleep(_PAUSE)
    if shorter == _TRIES:
        topic, number = partition
        raise SetupError(
            f"{topic}/{number} ends at offset {end}, and the group has settled it up to {position}: its log was cut, "
            "or somebody has set the offset too high",
            remedy="Stop the group, set its offsets with kafka-consumer-groups --reset-offsets --to-latest "
            f"--topic {topic}:{number} --execute (--to-offset N to read from N), and start again",
        )
