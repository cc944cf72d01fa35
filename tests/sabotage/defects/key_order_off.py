"""Events of one key run at the same time, as with `order: none`."""

from dataclasses import replace
from typing import Any

from eventmill_streams.window import Window

_right = Window.__init__


def _unordered(self: Any, limits: Any, start: Any) -> None:
    _right(self, replace(limits, keyed=False), start)


Window.__init__ = _unordered  # type: ignore[method-assign]
