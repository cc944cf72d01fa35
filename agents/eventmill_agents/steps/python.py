"""The step `python`: a user's function `module:function` from the pipeline's folder.

    async def f(event, so_far, call) -> dict | DeadLetter | Skip

`event` is the Event, `so_far` the result's fields of the steps before (read-only), `call` the Ports: model calls with
retries, validation and cost, local models, vector stores. Neither may be changed. Calls are made one at a time and must
have ended when the function returns.

A plain `def` works too: it runs in a thread, so that it may block, and its `call.complete(...)` blocks until the
answer is there, as do the other ports. Python's default pool has few threads (processors + 4, at most 32): a function
that asks models should be `async def`. A thread can't be stopped: a plain function whose event is given up runs on to
its end, its calls fail.
"""

import asyncio
import importlib
import inspect
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import CancelledError as BlockingCallCancelled
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from eventmill_agents.outcome import DeadLetter, Skip
from eventmill_agents.ports import Ports
from eventmill_agents.text import shorten
from eventmill_schemas.errors import EventError, StepFailed, UnstorableResult, UsageError
from eventmill_schemas.events import Event, Fields
from eventmill_schemas.pipeline import PythonStep

CLOSING_SECONDS: Final = 5.0   # for a task that does not end when it is cancelled

_PORTS: Final = frozenset(name for name in vars(Ports) if not name.startswith("_"))

StepFunction = Callable[[Event, Fields, Any], Any]


def load_functions(folder: str, steps: Iterable[PythonStep]) -> dict[str, StepFunction]:
    """Import the functions of `steps` and return them by target (`module:function`).

    `folder` is put first on the module search path, for good: a process runs one pipeline, and its modules may import
    each other. Raises UsageError, naming the target and the reason: not of that form, not found, the import fails,
    not callable with three arguments, or the module found is another one of the same name.
    """
    place = str(Path(folder).resolve())
    if place not in sys.path[:1]:
        sys.path.insert(0, place)
    importlib.invalidate_caches()
    return {step.target: _load(step.target, Path(place)) for step in steps}


def _load(target: str, folder: Path) -> StepFunction:
    module_name, colon, function_name = target.partition(":")
    if module_name.partition(".")[0] in sys.stdlib_module_names:
        raise UsageError(
            f"python step {target!r}: {module_name!r} is the name of a module of Python itself",
            remedy="Rename the file",
        )
    if not (colon and function_name.isidentifier() and all(part.isidentifier() for part in module_name.split("."))):
        raise UsageError(f"python step {target!r} is not of the form 'module:function'")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise UsageError(_import_problem(target, module_name, folder, error)) from error
    file = getattr(module, "__file__", None)
    if file is None or not Path(file).resolve().is_relative_to(folder):
        raise UsageError(
            f"python step {target!r}: {module_name!r} is already another module ({file or 'built in'})",
            remedy=f"Give the pipeline's module another name; it is looked for in {folder}",
        )
    function = getattr(module, function_name, None)
    if function is None:
        raise UsageError(f"python step {target!r}: {file} has no {function_name!r}")
    if not callable(function) or not _takes_three(function):
        raise UsageError(
            f"python step {target!r}: {function_name!r} can't be called with (event, so_far, call)",
            remedy=f"Write: async def {function_name}(event, so_far, call)",
        )
    loaded: StepFunction = function
    return loaded


def _import_problem(target: str, module_name: str, folder: Path, error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name and module_name.startswith(error.name):
        return f"python step {target!r}: there is no module {module_name!r} in {folder}"
    return f"python step {target!r} can't be imported: {describe(error, folder)}"


def _takes_three(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(None, None, None)
    except TypeError:
        return False
    except ValueError:   # some callables written in C tell no signature
        return True
    return True


class Python:
    """Runs one user function. `allowed` are the result fields a step may fill."""

    def __init__(self, spec: PythonStep, function: StepFunction, allowed: Iterable[str], folder: str) -> None:
        self._name = spec.name
        self._function = function
        self._allowed = frozenset(allowed)
        self._folder = Path(folder).resolve()
        self._is_async = inspect.iscoroutinefunction(inspect.unwrap(function)) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)   # noqa: B004 - an object with an async __call__ is a function here
        )

    @property
    def name(self) -> str:
        """The step's name."""
        return self._name

    async def run(self, event: Event, so_far: Fields, call: Ports) -> Fields | DeadLetter | Skip:
        """Call the function and check what it returns.

        Raises StepFailed (it raised, returned something else, or left a model call running; with the line in the user's
        file), UnstorableResult (fields that no step may fill), EventErrors of its own or of its calls as they are.
        """
        guard = _Guard(call)
        try:
            returned = await self._call(event, MappingProxyType(dict(so_far)), guard)
        except EventError:
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise StepFailed(f"step {self._name!r}: something it awaited was cancelled") from error
        except (Exception, SystemExit, BlockingCallCancelled) as error:
            raise StepFailed(f"step {self._name!r} raised {describe(error, self._folder)}") from error
        finally:
            left_running = await guard.close()
        if left_running:
            raise StepFailed(f"step {self._name!r} ended while a model call of it was running: await every call")
        return self._checked(returned)

    async def _call(self, event: Event, so_far: Fields, guard: "_Guard") -> Any:
        if self._is_async:
            return await self._function(event, so_far, guard)
        return await asyncio.to_thread(self._function, event, so_far, _Blocking(guard, asyncio.get_running_loop()))

    def _checked(self, returned: Any) -> Fields | DeadLetter | Skip:
        if isinstance(returned, Skip):
            return returned
        if isinstance(returned, DeadLetter) and isinstance(returned.error, EventError):
            return replace(returned, step=self._name)
        if inspect.iscoroutine(returned):
            returned.close()   # a plain function that wraps an async one without saying so
        if not isinstance(returned, Mapping):
            raise StepFailed(
                f"step {self._name!r} returned a value of type {type(returned).__name__}",
                remedy="Return a dict of result fields (it may be empty), DeadLetter(an EventError) or Skip",
            )
        if unknown := [name for name in returned if name not in self._allowed]:
            raise UnstorableResult(
                f"step {self._name!r} returned fields it may not fill: {', '.join(sorted(map(repr, unknown)))}",
                remedy=f"It may fill: {', '.join(sorted(self._allowed)) or 'none'}",
            )
        return returned


class _Guard:
    """`Ports` for a user's function: knows what is still running when the function has ended, and stops it."""

    def __init__(self, call: Ports) -> None:
        self._call = call
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False

    def __getattr__(self, port: str) -> Callable[..., Awaitable[Any]]:
        if port not in _PORTS:
            raise AttributeError(f"there is no call.{port}; there are: {', '.join(sorted(_PORTS))}")
        return partial(self._run, getattr(self._call, port))

    async def _run(self, port: Callable[..., Awaitable[Any]], *args: Any, **asked: Any) -> Any:
        if self._closed:
            raise StepFailed("a model call was asked for after its step had ended")
        task = asyncio.current_task()
        if task is None:
            raise StepFailed("a model call was asked for outside of a task")
        self._running.add(task)
        try:
            return await port(*args, **asked)
        finally:
            self._running.discard(task)

    async def close(self) -> bool:
        """Refuse further calls, cancel what is running and wait for its end. Return whether there was any."""
        self._closed = True
        left = {task for task in self._running if task is not asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=CLOSING_SECONDS)
        return bool(left)


class _Blocking:
    """`Ports` for a plain function in its thread."""

    def __init__(self, guard: _Guard, loop: asyncio.AbstractEventLoop) -> None:
        self._guard = guard
        self._loop = loop

    def __getattr__(self, port: str) -> Callable[..., Any]:
        call = getattr(self._guard, port)

        async def asked(*args: Any, **asked: Any) -> Any:
            return await call(*args, **asked)

        return lambda *args, **named: asyncio.run_coroutine_threadsafe(asked(*args, **named), self._loop).result()


def describe(error: BaseException, folder: Path) -> str:
    """Say type, message and the last line of the pipeline's own files that led to `error`."""
    text = f"{type(error).__name__}: {shorten(str(error), 300)}".rstrip(": ")
    if isinstance(error, SyntaxError) and error.filename:
        return f"{text} ({Path(error.filename).name}:{error.lineno})"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_relative_to(folder):
            return f"{text} ({file.relative_to(folder)}:{frame.lineno})"
    return text
