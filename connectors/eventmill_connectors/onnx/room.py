"""A queue's bound as a door: who comes while it is full waits outside, first come first served."""

import asyncio
from collections import deque

from eventmill_schemas.local_models import Waiting


class Room:
    """Counts what is queued, in any unit, against `limit`. Used on one event loop.

    Whoever comes while less than `limit` is there gets in, whatever he brings: so one request larger than the bound
    passes, and the bound is overstepped by one request at most.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    async def enter(self, amount: int, waiting: Waiting) -> None:
        """Take room for `amount`, waiting by `waiting` while there is none or others wait before. Cancel at will."""
        if not self._waiting and self.used < self.limit:
            self.used += amount
            return
        ticket: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((ticket, amount))
        try:
            await waiting(_until(ticket))
        except BaseException:
            if ticket.done() and not ticket.cancelled():   # let in, and gone before he noticed
                self.leave(amount)
            ticket.cancel()
            raise

    def leave(self, amount: int) -> None:
        """Give room back, and let in who waits."""
        self.used -= amount
        while self._waiting and self.used < self.limit:
            ticket, wanted = self._waiting.popleft()
            if not ticket.done():
                self.used += wanted
                ticket.set_result(None)


async def _until(ticket: asyncio.Future[None]) -> None:
    await ticket
