"""Expressions and templates, compiled once while the pipeline is read, so that a mistake is told with its line."""

from collections.abc import Collection
from dataclasses import replace

from jinja2 import TemplateSyntaxError

from eventmill.config.problems import Problems
from eventmill.config.prompts import LoadedPrompt
from eventmill_agents.condition import Expression
from eventmill_agents.names import Known
from eventmill_agents.prompt import PromptRenderer
from eventmill_agents.scope import EVENT, META, META_FIELDS, RESULT
from eventmill_schemas.errors import PipelineFileError

_BEFORE: Known = {EVENT: None, META: META_FIELDS}


def check_condition(text: str, label: str) -> None:
    """Compile `when`, which sees the event. Raises UsageError, speaking of `label`."""
    Expression(text, label=label, names=_BEFORE)


def names_within(fields: Collection[str] | None) -> Known:
    """Return what expressions and templates within a stage see; `fields` of the result, None: not known."""
    return {**_BEFORE, RESULT: fields}


def check_expression(text: str, label: str, fields: Collection[str] | None) -> None:
    """Compile an expression that sees the event and the `fields` of the result. Raises UsageError about `label`."""
    Expression(text, label=label, names=names_within(fields))


def check_templates(loaded: LoadedPrompt, step: str, fields: Collection[str] | None, problems: Problems) -> None:
    """Compile both parts of a prompt; note mistakes at their lines. `fields`: of the result; None: not known."""
    prompt = loaded.prompt
    system, user = replace(prompt, user=""), replace(prompt, system="")
    for part, first_line in ((system, loaded.system_line), (user, loaded.user_line)):
        try:
            PromptRenderer(part, step, names=names_within(fields))
        except PipelineFileError as error:
            message, line, cause = error.message, first_line, error.__cause__
            if isinstance(cause, TemplateSyntaxError):
                message, line = f"this is no template: {cause.message}", first_line + cause.lineno - 1
            problems.add(message, file=prompt.file, line=line, remedy=error.remedy)
