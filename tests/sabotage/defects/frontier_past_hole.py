"""The frontier is the end of what was looked at, whatever is still open below it."""

from collections.abc import Set as AbstractSet

from eventmill_streams.settled import SettledSet

_right = SettledSet.proposal


def _too_far(self: SettledSet, batch: AbstractSet[int]) -> tuple[int, str]:
    _right(self, batch)
    return max(self.position, self._inherited_end), ""


SettledSet.proposal = _too_far  # type: ignore[method-assign]
