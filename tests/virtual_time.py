"""An event loop whose clock jumps to the next timer: minutes of waiting pass in milliseconds, in a fixed order."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Never sleeps. Where nothing is left that could ever wake it, it says so instead of hanging."""

    def __init__(self) -> None:
        """Start at 0 seconds."""
        super().__init__()
        self._now = 0.0
        self._poll = self._selector.select
        self._selector.select = self._jump

    def time(self) -> float:
        """Return the virtual seconds."""
        return self._now

    def _jump(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise AssertionError("everything waits and nothing can wake it: this would hang for ever")
        self._now += max(0.0, timeout)
        return self._poll(0)


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` in virtual time, and cancel what it leaves behind."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
