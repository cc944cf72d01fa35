"""Models that answer what a test says."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from inspect import isawaitable
from typing import Any

from eventmill.trying.tokens import estimated_tokens
from eventmill_schemas.chat import ChatReply, ChatRequest, Finish, Usage
from eventmill_schemas.errors import CallError, EventError, Unavailable, UsageError
from eventmill_schemas.pipeline import ModelRef

Answer = Mapping[str, Any] | str | ChatReply | CallError | EventError | Unavailable
Reply = Answer | Callable[[ChatRequest], Any]
Replies = Sequence[Reply] | Mapping[str, Sequence[Reply] | Callable[[ChatRequest], Any]] | Callable[[ChatRequest], Any]


def reply(
    answer: Mapping[str, Any] | str,
    *,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    finish: Finish = Finish.OK,
    model: str = "",
) -> ChatReply:
    """Return a model's reply: `answer` as JSON, or a text as it is, with the tokens that it costs.

    Tokens that are not given: 0 in, and out about what the text has. `model` "": the model that was asked.
    """
    text = answer if isinstance(answer, str) else _json(answer)
    given = 0 if input_tokens is None else input_tokens
    returned = estimated_tokens(text) if output_tokens is None else output_tokens
    return ChatReply(text, finish, Usage(given, returned), model, None, None)


class ScriptedReplies:
    """Answers from a script. Satisfies eventmill_agents.ports.ChatModels; see `run_stage` for what a script may hold.

    `steps` are the names of the stage's steps. Raises UsageError for a script that is none; so does a call that the
    script has no answer for.
    """

    def __init__(self, script: Replies, steps: Sequence[str]) -> None:
        self._asked = 0
        self._by_step: dict[str | None, _Script] = {}
        if isinstance(script, Mapping):
            for step, own in script.items():
                if step not in steps or isinstance(own, str) or not (callable(own) or isinstance(own, Sequence)):
                    raise UsageError(
                        f"`replies` by step: {step!r} is no step with a list of replies",
                        remedy=f"The steps are {', '.join(steps) or 'none'}; the reply to one call is a list of one: "
                        "replies=[{...}]",
                    )
                self._by_step[_as_sent(step)] = _Script(own, step)
        elif isinstance(script, str) or not (callable(script) or isinstance(script, Sequence)):
            raise UsageError(f"`replies` is a {type(script).__name__}", remedy="Give a list of replies, or a function")
        else:
            self._by_step[None] = _Script(script, None)

    async def complete(self, model: ModelRef, request: ChatRequest, timeout: float) -> ChatReply:  # noqa: ASYNC109 - the port's signature
        """Give the next answer of the script."""
        self._asked += 1
        script = self._by_step.get(request.schema_name, self._by_step.get(None))
        if script is None:
            known = ", ".join(repr(one.step) for one in self._by_step.values())
            raise UsageError(
                f"the step {request.schema_name!r} asked a model, and has no replies",
                remedy=f"There are some for {known}",
            )
        answer = script.next(request)
        while callable(answer):
            answer = answer(request)
            if isawaitable(answer):
                answer = await answer
        return _reply(answer, request)

    def check_used(self) -> None:
        """Raise UsageError where replies are left: the stage asked less often than the test expects."""
        for script in self._by_step.values():
            if script.left:
                whose = f" of step {script.step!r}" if script.step else ""
                raise UsageError(
                    f"{script.left} of {script.length} replies{whose} were not asked for",
                    remedy="Leave them out, or give a function: it answers any number of calls",
                )


class NoModels:
    """Stands for the models where a test gives no replies: who asks learns what is missing."""

    async def complete(self, model: ModelRef, request: ChatRequest, timeout: float) -> ChatReply:  # noqa: ASYNC109 - the port's signature
        """Raise UsageError."""
        raise UsageError(
            f"the step {request.schema_name!r} asked model {model.model!r}, and the test gives no replies",
            remedy="Give them: run_stage(..., replies=[{...}])",
        )

    def check_used(self) -> None:
        """Nothing can be left."""


class _Script:
    """The replies of one step, or of all (`step` None)."""

    def __init__(self, replies: Sequence[Reply] | Callable[[ChatRequest], Any], step: str | None) -> None:
        self._replies = replies
        self._used = 0
        self.step = step

    @property
    def length(self) -> int:
        return 0 if callable(self._replies) else len(self._replies)

    @property
    def left(self) -> int:
        return max(0, self.length - self._used)

    def next(self, request: ChatRequest) -> Reply:
        if callable(self._replies):
            return self._replies
        self._used += 1
        if self._used > self.length:
            raise UsageError(
                f"call {self._used} of step {request.schema_name!r} has no reply: the script has {self.length}",
                remedy="Add one (a repeated attempt needs its own), or give a function: it answers any number",
            )
        return self._replies[self._used - 1]


def _reply(answer: Any, request: ChatRequest) -> ChatReply:
    if isinstance(answer, CallError | EventError | Unavailable):
        raise answer
    if isinstance(answer, ChatReply):
        return answer
    if isinstance(answer, Mapping | str):
        return reply(answer, input_tokens=estimated_tokens(request.system, request.user))
    raise UsageError(
        f"a reply is a {type(answer).__name__}",
        remedy="Give the answer as a dict, a text, what `reply(...)` returns, or an error of eventmill_schemas.errors",
    )


def _json(answer: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(answer), ensure_ascii=False)
    except (TypeError, ValueError) as error:
        remedy = "Write times and decimals as text, as a model does"
        raise UsageError(f"a reply is not JSON: {error}", remedy=remedy) from None


def _as_sent(step: str) -> str:
    """Return a step's name as requests carry it."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", step)[:64]
