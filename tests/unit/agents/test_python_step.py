"""The step `python`: loading a user's function and running it."""

import asyncio
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eventmill_agents.calls import Calls
from eventmill_agents.outcome import DeadLetter, Skip
from eventmill_agents.steps.python import Python, load_functions
from eventmill_connectors.testing import ScriptedChat, replied, silence
from eventmill_schemas.chat import ChatReply, ChatRequest
from eventmill_schemas.cost import Certainty
from eventmill_schemas.errors import InvalidReply, StepFailed, UnstorableResult, UsageError
from eventmill_schemas.events import Event
from eventmill_schemas.pipeline import ModelRef, PythonStep

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
ASK = f"call.complete(route='writer', system='s', user='u', schema={SCHEMA!r})"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a pipeline's folder; afterwards the interpreter has forgotten it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def step(folder: Path) -> Callable[[str], Python]:
    """Give a function that makes a step of the body of `f(event, so_far, call)`; the body begins on line 3."""

    def make(body: str, *, kind: str = "async def") -> Python:
        indented = textwrap.indent(textwrap.dedent(body), "    ")
        source = f"import asyncio, time\n{kind} f(event, so_far, call):\n{indented}\n"
        (folder / "user_step.py").write_text(source)
        spec = PythonStep("page", "user_step:f")
        return Python(spec, load_functions(str(folder), [spec])[spec.target], ("a", "b"), str(folder))

    return make


async def run(step: Python, calls: Calls, event: Event, so_far: dict[str, Any] | None = None) -> Any:
    """Run a step with its port."""
    return await step.run(event, so_far or {}, calls.port(step.name))


@pytest.fixture
def go(calls: Callable[..., Calls], event: Callable[..., Event]) -> Callable[..., Any]:
    """Give a function that runs a step on one event, without models."""

    async def make(step: Python, so_far: dict[str, Any] | None = None, **fields: Any) -> Any:
        return await run(step, calls(ScriptedChat()), event(**fields), so_far)

    return make


@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_fields(step: Callable[..., Python], go: Callable[..., Any], kind: str) -> None:
    """A function, async or plain, gets the event and the fields so far, and returns fields."""
    made = step("return {'a': event.fields['n'] + so_far['b']}", kind=kind)
    assert await go(made, {"b": 2}, n=1) == {"a": 3}


@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_ends(step: Callable[..., Python], go: Callable[..., Any], kind: str) -> None:
    """A function may end the event: skip it, or make it a dead letter of this step."""
    skip = step("from eventmill_agents.outcome import Skip\nreturn Skip('not ours')", kind=kind)
    assert await go(skip) == Skip("not ours")


async def test_dead_letter_names_the_step(step: Callable[..., Python], go: Callable[..., Any]) -> None:
    """A dead letter that a function returns is that step's."""
    made = step(
        "from eventmill_agents.outcome import DeadLetter\nfrom eventmill_schemas.errors import EventError\n"
        "return DeadLetter(EventError('too old'))"
    )
    end = await go(made)
    assert isinstance(end, DeadLetter)
    assert (end.step, str(end.error)) == ("page", "too old")


async def test_fields_so_far_are_read_only(step: Callable[..., Python], go: Callable[..., Any]) -> None:
    """A function can't change what the steps before it have made."""
    with pytest.raises(StepFailed, match="does not support item assignment"):
        await go(step("so_far['a'] = 1\nreturn {}"), {"b": 2})


async def test_plain_function_does_not_block_the_loop(step: Callable[..., Python], go: Callable[..., Any]) -> None:
    """A plain function that waits in its thread lets everything else go on."""
    made = step("import threading\nassert event.fields['go'].wait(10)\nreturn {'a': 1}", kind="def")
    go_on = threading.Event()
    running = asyncio.create_task(go(made, go=go_on))
    await asyncio.sleep(0)
    go_on.set()
    assert await running == {"a": 1}


@pytest.mark.parametrize("kind", ["async def", "def"])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ValueError('no such customer')", "raised ValueError: no such customer (user_step.py:3)"),
        ("return {}['x']", "raised KeyError: 'x' (user_step.py:3)"),
        ("1 / 0", "raised ZeroDivisionError: division by zero (user_step.py:3)"),
        ("raise SystemExit(3)", "raised SystemExit: 3 (user_step.py:3)"),
        ("raise ValueError", "raised ValueError (user_step.py:3)"),
        ("raise ValueError('x' * 100000)", "raised ValueError: xxx"),
        ("def g(): return g()\ng()", "raised RecursionError"),
        ("raise MemoryError", "raised MemoryError"),
        ("from eventmill_schemas.errors import UsageError\nraise UsageError('u')", "raised UsageError: u"),
        ("import json\njson.loads('{')", "raised JSONDecodeError"),
        ("return None", "returned a value of type NoneType"),
        ("return [1]", "returned a value of type list"),
        ("from eventmill_agents.outcome import DeadLetter as D\nreturn D('x')", "returned a value of type DeadLetter"),
    ],
)
async def test_failure_is_told_with_the_users_line(
    step: Callable[..., Python], go: Callable[..., Any], kind: str, body: str, message: str
) -> None:
    """Whatever a function raises or returns wrongly is StepFailed, with type, message and the user's line."""
    with pytest.raises(StepFailed) as caught:
        await go(step(body, kind=kind))
    assert f"step 'page' {message}" in str(caught.value)
    assert len(str(caught.value)) < 1_000


async def test_line_of_the_users_own_file(step: Callable[..., Python], go: Callable[..., Any]) -> None:
    """A failure inside a library is told with the line of the user's file that led there."""
    with pytest.raises(StepFailed, match=r"\(user_step\.py:5\)"):
        await go(step("x = 1\nimport json\njson.loads('{')"))


@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_event_errors_pass(step: Callable[..., Python], go: Callable[..., Any], kind: str) -> None:
    """A function may raise the tree's own EventErrors: they are the event's end as they are."""
    with pytest.raises(UnstorableResult, match="mine") as caught:
        await go(step("from eventmill_schemas.errors import UnstorableResult as U\nraise U('mine')", kind=kind))
    assert type(caught.value) is UnstorableResult


@pytest.mark.parametrize("returned", ["{'c': 1, 'a': 2, 'd': 3}", "{'c': 1, 7: 3}"])
async def test_unknown_fields_are_named(step: Callable[..., Python], go: Callable[..., Any], returned: str) -> None:
    """Fields that no step may fill are UnstorableResult, all of them named, with those that are allowed."""
    with pytest.raises(UnstorableResult, match=r"'c'.*It may fill: a, b"):
        await go(step(f"return {returned}"))


@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_model_calls(
    step: Callable[..., Python], calls: Callable[..., Calls], event: Callable[..., Event], kind: str
) -> None:
    """A function asks models with the same port; a plain one blocks for the answer. Each attempt is accounted for."""
    made = calls(ScriptedChat(replied('{"a": 7}')))
    body = f"return {'await ' if kind == 'async def' else ''}{ASK}"
    assert await run(step(body, kind=kind), made, event()) == {"a": 7}
    assert [(cost.step, cost.outcome) for cost in made.costs] == [("page", "ok")]


@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_failed_model_call_passes_or_is_caught(
    step: Callable[..., Python], calls: Callable[..., Calls], event: Callable[..., Event], kind: str
) -> None:
    """A call's failure is the event's end, unless the function has its own answer to it."""
    wait = "await " if kind == "async def" else ""
    with pytest.raises(InvalidReply):
        await run(step(f"return {wait}{ASK}", kind=kind), calls(ScriptedChat(replied("?"))), event())


async def test_own_timeout(
    step: Callable[..., Python], calls: Callable[..., Calls], event: Callable[..., Event]
) -> None:
    """A function may give up a call by a timeout of its own; what was sent is accounted as uncertain."""
    made = calls(ScriptedChat(silence))
    body = f"try:\n    await asyncio.wait_for({ASK}, 0.01)\nexcept TimeoutError:\n    return {{'b': 1}}"
    assert await run(step(body), made, event()) == {"b": 1}
    assert [cost.certainty for cost in made.costs] == [Certainty.UNCERTAIN]


async def test_call_left_running_is_stopped_and_accounted(
    step: Callable[..., Python], calls: Callable[..., Calls], event: Callable[..., Event]
) -> None:
    """A call that is not awaited is an error of the step; it is stopped, and its attempt is in the costs."""
    made = calls(ScriptedChat(silence))
    before = asyncio.all_tasks()
    with pytest.raises(StepFailed, match="await every call"):
        await run(step(f"t = asyncio.ensure_future({ASK})\nawait asyncio.sleep(0.01)\nreturn {{}}"), made, event())
    assert asyncio.all_tasks() == before
    assert [cost.certainty for cost in made.costs] == [Certainty.UNCERTAIN]


async def test_call_after_the_end_is_refused(
    step: Callable[..., Python], calls: Callable[..., Calls], event: Callable[..., Event]
) -> None:
    """Nobody would account for a call that begins after its step has ended: it is refused, nothing is sent."""
    chat = ScriptedChat()
    kept: list[Any] = []
    await run(step("event.fields['kept'].append(call)\nreturn {}"), calls(chat), event(kept=kept))
    with pytest.raises(StepFailed, match="after its step had ended"):
        await kept[0].complete(route="writer", system="s", user="u", schema=SCHEMA)
    assert chat.asked == []


async def test_first_failure_of_several_calls(
    step: Callable[..., Python], calls: Callable[..., Calls], event: Callable[..., Event]
) -> None:
    """When one of several calls fails, its error is the step's, and the others are stopped."""
    made = calls(ScriptedChat(replied("?"), silence))
    before = asyncio.all_tasks()
    with pytest.raises(InvalidReply):
        await run(step(f"await asyncio.gather({ASK}, {ASK.replace(repr('u'), repr('v'))})"), made, event())
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_cancellation_ends_everything(
    step: Callable[..., Python], calls: Callable[..., Calls], event: Callable[..., Event], kind: str
) -> None:
    """A cancelled step is cancelled, not failed; no task of it is left, and what it had sent is accounted for."""
    sent = asyncio.Event()

    async def hang(model: ModelRef, request: ChatRequest) -> ChatReply:
        sent.set()
        return await silence(model, request)

    made = calls(ScriptedChat(hang))
    before = asyncio.all_tasks()
    body = f"return {'await ' if kind == 'async def' else ''}{ASK}"
    task = asyncio.create_task(run(step(body, kind=kind), made, event()))
    await sent.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == before
    assert [cost.certainty for cost in made.costs] == [Certainty.UNCERTAIN]


async def test_cancelled_by_itself_is_a_failure(step: Callable[..., Python], go: Callable[..., Any]) -> None:
    """A cancellation that nobody asked for is the function's own mistake, not the end of the event's stay here."""
    with pytest.raises(StepFailed, match="something it awaited was cancelled"):
        await go(step("t = asyncio.ensure_future(asyncio.sleep(9))\nt.cancel()\nawait t"))


async def test_plain_function_must_not_return_a_coroutine(folder: Path, go: Callable[..., Any]) -> None:
    """A plain function that hands out a coroutine is told so, without a warning about it."""
    (folder / "wrapped.py").write_text("async def g(call): return {}\ndef f(event, so_far, call): return g(call)\n")
    spec = PythonStep("page", "wrapped:f")
    made = Python(spec, load_functions(str(folder), [spec])[spec.target], (), str(folder))
    with pytest.raises(StepFailed, match="coroutine"):
        await go(made)


async def test_async_callables(folder: Path, go: Callable[..., Any]) -> None:
    """Decorated and partial async functions, and objects with an async __call__, are async functions."""
    (folder / "callables.py").write_text(textwrap.dedent("""
        import functools
        def decorated(f):
            @functools.wraps(f)
            def g(*args): return f(*args)
            return g
        @decorated
        async def a(event, so_far, call): return {"a": 1}
        async def four(x, event, so_far, call): return {"a": x}
        b = functools.partial(four, 2)
        class C:
            async def __call__(self, event, so_far, call): return {"a": 3}
        c = C()
    """))
    for number, name in enumerate("abc", 1):
        spec = PythonStep("page", f"callables:{name}")
        made = Python(spec, load_functions(str(folder), [spec])[spec.target], ("a",), str(folder))
        assert await go(made) == {"a": number}


def test_modules_of_the_folder_import_each_other(folder: Path) -> None:
    """A step's module may use its neighbours and packages of the folder."""
    (folder / "parts").mkdir()
    (folder / "parts" / "__init__.py").write_text("")
    (folder / "parts" / "deep.py").write_text("from neighbour_module import N\ndef f(e, s, c): return {'a': N}\n")
    (folder / "neighbour_module.py").write_text("N = 4\n")
    spec = PythonStep("page", "parts.deep:f")
    loaded = load_functions(str(folder), [spec])
    assert loaded["parts.deep:f"](None, {}, None) == {"a": 4}
    assert sys.path[0] == str(folder)
    load_functions(str(folder), [spec])
    assert sys.path.count(str(folder)) == 1


@pytest.mark.parametrize(
    ("target", "part"),
    [
        ("no_colon", "not of the form 'module:function'"),
        (":f", "not of the form"),
        ("broken_a:", "not of the form"),
        ("broken a:f", "not of the form"),
        ("../evil:f", "not of the form"),
        ("nowhere_module:f", "there is no module 'nowhere_module' in"),
        ("broken_syntax:f", "broken_syntax.py:2"),
        ("broken_import:f", "No module named 'not_installed_anywhere' (broken_import.py:1)"),
        ("broken_exit:f", "SystemExit: 4 (broken_exit.py:1)"),
        ("fine_module:g", "fine_module.py has no 'g'"),
        ("fine_module:N", "can't be called with (event, so_far, call)"),
        ("fine_module:two", "can't be called with (event, so_far, call)"),
        ("json:loads", "is the name of a module of Python itself"),
        ("jinja2:Template", "is already another module"),
    ],
)
def test_load_failure_names_target_and_reason(folder: Path, target: str, part: str) -> None:
    """A function that can't be loaded is a UsageError that names it and says why, before the first event."""
    (folder / "broken_syntax.py").write_text("x = 1\ndef f(:\n")
    (folder / "broken_import.py").write_text("import not_installed_anywhere\n")
    (folder / "broken_exit.py").write_text("raise SystemExit(4)\n")
    (folder / "fine_module.py").write_text("N = 1\ndef two(event, call): return {}\n")
    with pytest.raises(UsageError) as caught:
        load_functions(str(folder), [PythonStep("page", target)])
    assert repr(target) in str(caught.value)
    assert part in str(caught.value)


def test_every_step_is_loaded(folder: Path) -> None:
    """All targets are returned, by name."""
    (folder / "two_functions.py").write_text("def f(e, s, c): return {}\ndef g(e, s, c): return {}\n")
    steps = [PythonStep("x", "two_functions:f"), PythonStep("y", "two_functions:g")]
    assert set(load_functions(str(folder), steps)) == {"two_functions:f", "two_functions:g"}
