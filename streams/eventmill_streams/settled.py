"""Which offsets of one input partition are settled. Pure: no I/O, no clock, no threads.

Events finish in any order. Kafka stores one number per group and partition, the *frontier* (the lowest offset that is
not settled), and beside it the open offsets beyond (offset_metadata.py). `SettledSet` is the only place that does this
arithmetic; every loss that was ever seen while this design was proven was an error in it.
"""

import itertools
from collections.abc import Set as AbstractSet

from eventmill_schemas.errors import InvariantViolated
from eventmill_streams.offset_metadata import MAX_SPAN, decode, encode


class SettledSet:
    """The settled offsets of one lane, started from what the group has committed.

    Invariant: an offset below max(position, inherited end) is either open or settled. Open offsets are the keys of an
    insertion-ordered dict: inherited ones come first and ascending, arrivals are appended in ascending order, so that
    the first key is the frontier and iteration is sorted without sorting.

    `committed` is the group's offset, below 0 where there is none; `metadata` the text beside it.
    Raises UnreadableMetadataError where the text can't be read.
    """

    __slots__ = ("_inherited_end", "_last", "_open", "_unseen", "frontier", "position")

    def __init__(self, committed: int, metadata: str = "") -> None:
        self.frontier = self.position = max(committed, 0)  # position: the next offset that the lane has not looked at
        inherited, self._inherited_end = decode(self.frontier, metadata) if committed >= 0 else ([], 0)
        self._last = self._inherited_end - 1  # the newest settled offset that was ever committed
        self._open = dict.fromkeys(inherited, False)  # False: inherited, True: arrived since
        self._unseen = list(reversed(inherited))

    def __len__(self) -> int:
        """Count the open offsets."""
        return len(self._open)

    @property
    def drained_to(self) -> int:
        """The offset to commit as things stand: the lowest open one, else the end of everything looked at."""
        return next(iter(self._open), max(self.position, self._inherited_end))

    def room(self, offset: int) -> bool:
        """Whether `offset` may arrive: the metadata written later must still fit."""
        return not self._open or offset - next(iter(self._open)) < MAX_SPAN

    def arrive(self, offset: int) -> bool:
        """Take note that the record at `offset` was delivered.

        True: it is new, and the caller must register its work before anything else runs. False: settled or seen before.
        """
        if offset < self.position:
            return False
        self.skip_to(offset)
        self.position = offset + 1
        if offset < self._inherited_end:
            if not self._unseen or self._unseen[-1] != offset:
                return False
            self._unseen.pop()
        self._open[offset] = True
        return True

    def skip_to(self, offset: int) -> None:
        """Take note that [position, offset) holds no records: control records, compaction, retention.

        Offsets that were open there can never come, so they are no longer waited for.
        """
        while self._unseen and self._unseen[-1] < offset:
            del self._open[self._unseen.pop()]
        self.position = max(self.position, offset)

    def is_settled(self, offset: int) -> bool:
        """Whether a result, dead letter or hold of `offset` is committed (or there is no such record)."""
        return offset not in self._open and offset < max(self.position, self._inherited_end)

    def proposal(self, batch: AbstractSet[int]) -> tuple[int, str]:
        """Return (offset, metadata) to commit when exactly `batch` is settled by this transaction. Changes nothing.

        Raises InvariantViolated when `batch` holds an offset that is not at work, or the frontier would move back.
        """
        if not all(map(self._open.get, batch)):
            raise InvariantViolated(f"settling offsets that are not at work: {sorted(batch - self._open.keys())[:5]}")
        end = max(self._last, max(batch, default=-1)) + 1
        still_open = [offset for offset in self._open if offset not in batch]
        frontier = still_open[0] if still_open else max(self.position, self._inherited_end)
        if frontier < self.frontier:
            raise InvariantViolated(f"the frontier would move back from {self.frontier} to {frontier}")
        return frontier, encode(frontier, list(itertools.takewhile(end.__gt__, still_open)), end)

    def settle(self, batch: AbstractSet[int], frontier: int) -> None:
        """Take note that the transaction of `proposal(batch)` committed, with `frontier` as its offset."""
        if frontier < self.frontier:
            raise InvariantViolated(f"the committed frontier moved back from {self.frontier} to {frontier}")
        for offset in batch:
            del self._open[offset]
        self._last = max(self._last, max(batch, default=-1))
        self.frontier = frontier
