"""Blocking calls in a thread of their own: results, deadlines, abandoned calls, the end."""

import asyncio
import gc
import threading
import weakref

import pytest

from eventmill_connectors.kafka.daemon_thread import DaemonThread, dispose


async def test_results_and_exceptions_come_back() -> None:
    """What the function returns or raises arrives where it was called, with its arguments passed on."""
    thread = DaemonThread("test")
    assert await thread.call(5, divmod, 17, 5) == (3, 2)
    assert await thread.call(5, lambda *, a: a, a=1) == 1
    with pytest.raises(ZeroDivisionError):
        await thread.call(5, divmod, 1, 0)
    assert await thread.call(5, threading.current_thread) is not threading.main_thread()
    thread.close()


async def test_calls_run_one_after_another_in_one_thread() -> None:
    """Calls that are made together keep their order and never overlap."""
    thread = DaemonThread("test")
    order: list[int] = []
    turn = threading.Lock()

    def note(number: int) -> int:
        assert turn.acquire(blocking=False), "two calls at the same time"
        order.append(number)
        turn.release()
        return threading.get_ident()

    found = await asyncio.gather(*(thread.call(5, note, number) for number in range(20)))
    assert order == list(range(20))
    assert len(set(found)) == 1
    thread.close()


async def test_a_call_past_its_deadline_is_abandoned_and_blocks_nobody() -> None:
    """The caller has TimeoutError at the deadline; another thread works, and the late end of the call harms nothing."""
    stuck, free = DaemonThread("stuck"), threading.Event()
    with pytest.raises(TimeoutError):
        await stuck.call(0.02, free.wait)
    other = DaemonThread("other")
    assert await other.call(5, lambda: "works") == "works"
    free.set()
    assert await stuck.call(5, lambda: "free again") == "free again"
    stuck.close()
    other.close()


async def test_a_cancelled_caller_leaves_the_thread_usable() -> None:
    """Who no longer waits is not told; the next caller has the next answer, not the old one."""
    thread, free = DaemonThread("test"), threading.Event()
    waiting = asyncio.create_task(thread.call(5, free.wait))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    free.set()
    assert await thread.call(5, lambda: "mine") == "mine"
    thread.close()


async def test_closing_ends_the_thread_after_its_calls() -> None:
    """Calls that were made before are still answered; then the thread is gone."""
    thread = DaemonThread("test")
    ended = await thread.call(5, threading.current_thread)
    last = asyncio.create_task(thread.call(5, lambda: "done"))
    await asyncio.sleep(0)
    thread.close()
    assert await last == "done"
    await asyncio.to_thread(ended.join, 5)
    assert not ended.is_alive()


def test_the_thread_never_keeps_the_process() -> None:
    """It is a daemon: a call that hangs for ever does not hold the process's end up."""
    async def is_daemon() -> bool:
        thread = DaemonThread("test")
        found = await thread.call(5, threading.current_thread)
        thread.close()
        return found.daemon

    assert asyncio.run(is_daemon())


def test_a_call_that_outlives_its_loop_ends_quietly() -> None:
    """The loop is closed when the call returns: the thread ends without a trace on stderr."""
    free = threading.Event()
    seen: list[threading.Thread] = []

    def hang() -> None:
        seen.append(threading.current_thread())
        free.wait()

    async def abandon() -> None:
        with pytest.raises(TimeoutError):
            await DaemonThread("test").call(0.05, hang)

    asyncio.run(abandon())
    free.set()
    seen[0].join(5)
    assert not seen[0].is_alive()


async def test_a_client_does_not_live_on_in_the_threads_frame() -> None:
    """After a call the thread holds neither arguments nor result: the caller decides where a client is freed."""

    class Client:
        pass

    thread, client = DaemonThread("test"), Client()
    seen = weakref.ref(client)
    await thread.call(5, lambda given: given, client)
    await thread.call(5, lambda: None)
    del client
    gc.collect()
    assert seen() is None
    thread.close()


def test_a_disposed_client_is_freed_in_another_thread() -> None:
    """Its destructor may hang, so it never runs in the thread that lets go of it."""
    freed: list[threading.Thread] = []
    done = threading.Event()

    class Client:
        def __del__(self) -> None:
            freed.append(threading.current_thread())
            done.set()

    dispose(Client())
    assert not freed, "not at once, and not here"
    assert done.wait(10)
    assert freed[0] is not threading.current_thread()
    assert freed[0].daemon
