"""Prompts: a template and an event become the text that a model is asked."""

from collections.abc import Mapping
from typing import Any, Final

from jinja2 import Template, TemplateSyntaxError
from jinja2.sandbox import safe_range
from jinja2.utils import Namespace

from eventmill_agents.condition import as_event_error
from eventmill_agents.fence import FENCE, Fence, data, fence_notice, output, plain
from eventmill_agents.names import ALL_NAMES, Known, check_names
from eventmill_agents.sandbox import Sandbox
from eventmill_agents.scope import scope_of
from eventmill_schemas.errors import PipelineFileError, TemplateFailed
from eventmill_schemas.events import Event, Fields
from eventmill_schemas.pipeline import Prompt
from eventmill_schemas.storable_text import storable_text

MAX_CHARACTERS: Final = 1_000_000


def _environment() -> Sandbox:
    sandbox = Sandbox(finalize=output, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=False)
    sandbox.filters |= {"data": data, "plain": plain}
    sandbox.globals |= {"range": safe_range, "namespace": Namespace}
    return sandbox


_SANDBOX: Final = _environment()


class PromptRenderer:
    """Renders one prompt for the events of one step.

    `names`: which names and fields the templates may use. `max_characters` bounds system and user text together;
    None: no bound. Raises PipelineFileError for what can be told without an event: syntax, unknown names, unknown
    filters.
    """

    def __init__(
        self, prompt: Prompt, step: str, *, names: Known = ALL_NAMES, max_characters: int | None = MAX_CHARACTERS
    ) -> None:
        self.prompt = prompt
        self._step = step
        self._max_characters = max_characters
        self._notice = fence_notice()
        self._system = _template(prompt.system, prompt, "system text", names)
        self._user = _template(prompt.user, prompt, "user text", names)

    @property
    def label(self) -> str:
        """The prompt's `name@version`, as it stands in results and cost events."""
        return f"{self.prompt.name}@{self.prompt.version}"

    def render(self, event: Event, so_far: Fields) -> tuple[str, str]:
        """Return system and user text for `event` and the result fields `so_far`; the same input gives the same texts.

        What comes from the event is rendered once, never evaluated, fenced as `fence.py` says, and free of U+0000 and
        lone surrogates. The system text ends with the sentence about fences. Raises MissingEventField and
        TemplateFailed.
        """
        scope = scope_of(event, so_far)
        scope[FENCE] = Fence(event.id, self._step)
        system = self._text(self._system, scope, "system text", 0)
        if self._notice not in system:
            system = f"{system.rstrip()}\n\n{self._notice}" if system.strip() else self._notice
        return system, self._text(self._user, scope, "user text", len(system))

    def _text(self, template: Template, scope: Mapping[str, Any], part: str, used: int) -> str:
        chunks = []
        length = used
        subject = f"the {part} of prompt {self.prompt.name!r}"
        try:
            for chunk in template.generate(scope):
                length += len(chunk)
                if self._max_characters is not None and length > self._max_characters:
                    raise TemplateFailed(   # noqa: TRY301 - what is rendered so far must not be rendered on
                        f"{subject} is longer than {self._max_characters:,} characters",
                        remedy="Shorten the event's text in the template, for example by `| truncate(20000)`",
                    )
                chunks.append(chunk)
        except Exception as error:   # whatever fails here fails because of this event's data
            raise as_event_error(error, subject) from error
        return storable_text("".join(chunks))


def _template(source: str, prompt: Prompt, part: str, names: Known) -> Template:
    subject = f"the {part} of prompt {prompt.name!r}"
    file = prompt.file or prompt.name
    try:
        check_names(_SANDBOX, _SANDBOX.parse(source), names)
        return _SANDBOX.from_string(source)
    except TemplateSyntaxError as error:
        message = f"{subject}, line {error.lineno}: {error.message}"
        raise PipelineFileError(message, file=file) from error
    except (RecursionError, ValueError, MemoryError) as error:   # nested without end; a number of 5,000 digits
        raise PipelineFileError(f"{subject} is too long or nested too deeply", file=file) from error
