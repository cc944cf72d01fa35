"""Texts for local models: a template and an event become plain text, without the fences of prompts."""

from typing import Final

from jinja2 import TemplateSyntaxError

from eventmill_agents.condition import Scope, as_event_error
from eventmill_agents.names import ALL_NAMES, Known, check_names
from eventmill_agents.sandbox import Sandbox
from eventmill_agents.text import shorten, text_of
from eventmill_schemas.errors import TemplateFailed, UsageError
from eventmill_schemas.storable_text import storable_text

MAX_CHARACTERS: Final = 4_000_000   # a text of 1 MB passes; models and chunks take what they can

_SANDBOX: Final = Sandbox(finalize=text_of, keep_trailing_newline=False)


class TextTemplate:
    """One template such as `{{ event.subject }}: {{ event.body }}`, compiled once and rendered for every event.

    `label` says in messages what the text is for, `names` which names and fields it may use. Raises UsageError for what
    can be told without an event: syntax, unknown names, fields and filters.
    """

    __slots__ = ("_label", "_template")

    def __init__(self, source: str, *, label: str = "the text", names: Known = ALL_NAMES) -> None:
        self._label = label
        try:
            check_names(_SANDBOX, _SANDBOX.parse(source), names)
            self._template = _SANDBOX.from_string(source)
        except TemplateSyntaxError as error:
            raise UsageError(f"{label} {shorten(source)!r}: {error.message}") from error
        except (RecursionError, ValueError, MemoryError) as error:   # nested without end; a number of 5,000 digits
            raise UsageError(f"{label} {shorten(source)!r} is too long or nested too deeply") from error

    def render(self, scope: Scope) -> str:
        """Return the text for `scope` (see `scope_of`), free of U+0000 and lone surrogates.

        Raises MissingEventField and TemplateFailed.
        """
        chunks, length = [], 0
        try:
            for chunk in self._template.generate(scope):
                length += len(chunk)
                if length > MAX_CHARACTERS:
                    raise TemplateFailed(   # noqa: TRY301 - what is rendered so far must not be rendered on
                        f"{self._label} is longer than {MAX_CHARACTERS:,} characters"
                    )
                chunks.append(chunk)
        except Exception as error:   # whatever fails here fails because of this event's data
            raise as_event_error(error, self._label) from error
        return storable_text("".join(chunks))
