"""Ctrl-C during a production: never inside a callback, never lost."""

import signal
import time
from collections.abc import Iterator
from threading import Thread, get_ident

import pytest

from eventmill.produce.interrupt import Interrupts


@pytest.fixture(autouse=True)
def usual_handler() -> Iterator[None]:
    """Give Python's own handler of Ctrl-C, as a program begins with."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_it_is_raised_at_the_next_check_and_not_before() -> None:
    """What runs meanwhile is not torn apart; afterwards everything is as it was."""
    with Interrupts() as interrupts:
        interrupts.check()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_waits_is_ended_at_once() -> None:
    """Reading from a terminal would never come to a check; one that was asked for before is not forgotten."""
    with Interrupts() as interrupts:
        assert interrupts.at_once(max, 1, 2) == 2
        begun, main = time.monotonic(), get_ident()
        Thread(target=lambda: signal.pthread_kill(main, signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            interrupts.at_once(time.sleep, 30)
        assert time.monotonic() - begun < 20
        with pytest.raises(KeyboardInterrupt):
            interrupts.at_once(max, 1, 2)


def test_a_programs_own_handler_is_left_alone() -> None:
    """A server that embeds this decides about its signals itself."""
    seen = []
    signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
        interrupts.check()
    assert seen == [1]


def test_it_may_be_used_in_any_thread() -> None:
    """Only the main thread may set handlers: elsewhere nothing is changed."""
    found = []

    def use() -> None:
        with Interrupts() as interrupts:
            found.append(interrupts.at_once(max, 1, 2))

    thread = Thread(target=use)
    thread.start()
    thread.join()
    assert found == [2]
