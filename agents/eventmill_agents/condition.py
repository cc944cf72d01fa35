"""Conditions and `from` expressions: one Jinja expression, compiled once, evaluated for every event."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from jinja2 import TemplateError, TemplateSyntaxError, Undefined, nodes
from jinja2.parser import Parser
from jinja2.runtime import Context

from eventmill_agents.names import ALL_NAMES, Known, Path, check_names, path_of
from eventmill_agents.sandbox import FieldMissing, Sandbox
from eventmill_agents.text import shorten
from eventmill_schemas.errors import EventError, MissingEventField, TemplateFailed, UsageError

Scope = Mapping[str, Any]

_SANDBOX: Final = Sandbox()

_SCALARS: Final = frozenset({str, int, float, bool, type(None), bytes, Decimal, UUID, date, datetime, time})

_WHITESPACE: Final = "whitespace"   # the only token of an expression that the parser does not see


class Expression:
    """One expression over the names of `scope.py`, such as `event.category == 'URGENT' and meta.tenant`.

    `text` is compiled once; evaluating changes nothing. `label` says in messages what the expression is for, `names`
    which names and fields it may use. Raises UsageError for what can be told without an event: syntax, unknown names,
    fields and filters.
    """

    __slots__ = ("_evaluate", "label", "text")

    def __init__(self, text: str, *, label: str = "the expression", names: Known = ALL_NAMES) -> None:
        self.text = text
        self.label = label
        try:
            tree = _parse(text)
            check_names(_SANDBOX, nodes.Template([nodes.Output([tree])]), names)
            path = path_of(tree)
            self._evaluate: Callable[[Scope], Any] = _compile(tree) if path is None else _walk(path)
        except TemplateSyntaxError as error:
            raise UsageError(f"{label} {shorten(text)!r}: {error.message}") from error
        except (RecursionError, ValueError, MemoryError) as error:   # nested without end; a number of 5,000 digits
            raise UsageError(f"{label} {shorten(text)!r} is too long or nested too deeply") from error

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    @property
    def _subject(self) -> str:
        return f"{self.label} {self.text!r}"

    def evaluate(self, scope: Scope) -> Any:
        """Return the expression's value for `scope` (see `scope_of`): JSON-like values, dates, Decimal, UUID or bytes.

        Raises MissingEventField where a field is used that is not there, and TemplateFailed for every other failure.
        """
        try:
            value = self._evaluate(scope)
            return value if type(value) in _SCALARS else _finished(value)
        except Exception as error:   # whatever fails here fails because of this event's data
            raise as_event_error(error, self._subject) from error

    def test(self, scope: Scope) -> bool:
        """Return whether the value counts as true: as in Python, empty, zero and null do not. Raises as `evaluate`."""
        return bool(self.evaluate(scope))


def as_event_error(error: Exception, subject: str) -> EventError:
    """Return the error of the tree for `error`, raised while `subject` was evaluated or rendered."""
    if isinstance(error, EventError):
        return error
    reason = shorten(str(error))
    if isinstance(error, FieldMissing):
        return MissingEventField(f"{subject}: {reason}")
    if not isinstance(error, TemplateError):
        reason = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    return TemplateFailed(f"{subject} can't be evaluated: {reason}")


def _parse(text: str) -> nodes.Expr:
    parser = Parser(_SANDBOX, text, state="variable")
    try:
        tree = parser.parse_expression()
        if not parser.stream.eos:
            raise TemplateSyntaxError(f"unexpected {parser.stream.current.value!r}", 1)   # noqa: TRY301 - placed below
    except TemplateSyntaxError as error:
        message = str(error.message).replace("end of template", "end")
        raise TemplateSyntaxError(message + _place(text, parser), error.lineno) from error
    tree.set_environment(_SANDBOX)
    return tree


def _place(text: str, parser: Parser) -> str:
    """Where the parser stopped. Jinja's tokens know only their line: so the tokens that are left over are counted."""
    try:
        left = len(list(parser.stream))
        tokens = list(_SANDBOX.lexer.tokeniter(text, None, state="variable"))
    except TemplateSyntaxError:
        return ""   # a character that starts no token: Jinja's message says where
    column = len(text.rstrip("\n"))
    while left:
        _, kind, source = tokens.pop()
        column -= len(source)
        left -= kind != _WHITESPACE
    return f" at column {column + 1}"


def _compile(tree: nodes.Expr) -> Callable[[Scope], Any]:
    assignment = nodes.Assign(nodes.Name("value", "store"), tree, lineno=1)
    run = _SANDBOX.from_string(nodes.Template([assignment], lineno=1)).root_render_func

    def evaluate(scope: Scope) -> Any:
        # Template.render would copy the scope and join text that nobody wants: a third of the time.
        context = Context(_SANDBOX, dict(scope), None, {})
        deque(run(context), maxlen=0)
        return context.vars["value"]

    return evaluate


def _walk(path: Path) -> Callable[[Scope], Any]:
    """Evaluate a bare path without Jinja's machinery: the same lookups in the same order."""
    (_, root), *steps = path
    getters = tuple((_SANDBOX.getitem if is_item else _SANDBOX.getattr, name) for is_item, name in steps)

    def evaluate(scope: Scope) -> Any:
        value = scope[root]
        for get, name in getters:
            value = value[name] if type(value) is dict and name in value else get(value, name)
        return value

    return evaluate


def _finished(value: Any) -> Any:
    """Return `value` with what is lazy computed; raise where something undefined or no value at all is in it."""
    if isinstance(value, Undefined):
        return str(value)   # raises FieldMissing
    if isinstance(value, Iterator):
        value = list(value)
    if isinstance(value, Mapping):
        for part in value.values():
            _finished(part)
    elif isinstance(value, list | tuple):
        for part in value:
            if type(part) not in _SCALARS:
                _finished(part)
    elif callable(value):
        raise TypeError("the value is a method: call it with ()")
    return value
