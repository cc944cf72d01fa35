"""Ctrl-C at safe points only.

Python raises KeyboardInterrupt wherever it is, also inside a callback of the Kafka client: the acknowledgement that was
told is lost then, and the client's call ends with SystemError (seen with confluent-kafka 2.16).
"""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import ParamSpec, Self, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Interrupts:
    """Remembers Ctrl-C during the block, and raises KeyboardInterrupt from `check`, or where `at_once` waits.

    Where the program has a handler of its own, or this is not the main thread, nothing is changed.
    """

    def __init__(self) -> None:
        self._asked = False
        self._raises = False
        self._is_installed = False

    def __enter__(self) -> Self:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
            self._is_installed = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def check(self) -> None:
        """Raise KeyboardInterrupt where Ctrl-C was pressed since the block began."""
        if self._asked:
            raise KeyboardInterrupt

    def at_once(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call what may wait for ever, such as reading from a terminal, and let Ctrl-C end it."""
        self._raises = True
        try:
            self.check()
            return function(*args, **kwargs)
        finally:
            self._raises = False

    def _note(self, _: int, __: FrameType | None) -> None:
        self._asked = True
        if self._raises:
            self._raises = False
            raise KeyboardInterrupt
