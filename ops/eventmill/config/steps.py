"""The steps of a stage: their names, routes, prompts and functions."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from jinja2 import TemplateSyntaxError

from eventmill.config.model import CompleteEntry, StepEntry
from eventmill.config.problems import suggestion
from eventmill.config.prompts import LoadedPrompt, load_prompt
from eventmill.config.reading import Reading
from eventmill.config.yaml_nodes import KeyPath
from eventmill_agents.prompt import PromptRenderer
from eventmill_schemas.errors import PipelineFileError
from eventmill_schemas.pipeline import CompleteStep, PythonStep, StepSpec


def load_steps(
    entries: Sequence[StepEntry], at: KeyPath, routes: Collection[str], reading: Reading
) -> tuple[StepSpec, ...]:
    """Return the steps that `entries`, a list at `at`, stand for; notes what is wrong with them."""
    names = _names(entries, at, reading)
    steps: list[StepSpec] = []
    for index, (entry, name) in enumerate(zip(entries, names, strict=True)):
        if entry.python is not None:
            steps.append(PythonStep(name, entry.python.function))
        elif entry.complete is not None:
            step = _complete(entry.complete, name, (*at, index, "complete"), routes, reading)
            if step is not None:
                steps.append(step)
    return tuple(steps)


def _names(entries: Sequence[StepEntry], at: KeyPath, reading: Reading) -> list[str]:
    """Return a name for each step: the given one, else the kind or the function's name, numbered from the second on."""
    given: list[str | None] = []
    defaults: list[str] = []
    for index, entry in enumerate(entries):
        kind, name, default = "complete", None, "complete"
        if entry.python is not None:
            kind, name, default = "python", entry.python.name, entry.python.function.rpartition(":")[2]
        elif entry.complete is not None:
            name = entry.complete.name
        if name is not None and name in given:
            reading.wrong((*at, index, kind, "name"), f"two steps have the name `{name}`")
        given.append(name)
        defaults.append(default)
    taken = set(given)
    names = []
    for name, default in zip(given, defaults, strict=True):
        free = name or next(candidate for candidate in _numbered(default) if candidate not in taken)
        taken.add(free)
        names.append(free)
    return names


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}_{number}"
        number += 1


def _complete(
    entry: CompleteEntry, name: str, at: KeyPath, routes: Collection[str], reading: Reading
) -> CompleteStep | None:
    if entry.route not in routes:
        listed = ", ".join(f"`{route}`" for route in routes)
        reading.wrong(
            (*at, "route"), f"there is no route `{entry.route}`",
            suggestion(entry.route, routes) or (f"There are: {listed}" if routes else "Declare it under `routes`"),
        )
    found = reading.find(entry.prompt, (*at, "prompt"))
    if found is None:
        return None
    try:
        loaded = load_prompt(found.path, found.file, reading.problems)
    except PipelineFileError as error:
        reading.problems.include(error)
        return None
    _check_templates(loaded, name, reading)
    return CompleteStep(name, entry.route, loaded.prompt, None if entry.fields is None else tuple(entry.fields))


def _check_templates(loaded: LoadedPrompt, step: str, reading: Reading) -> None:
    """Compile each part alone, so that a mistake gets its line in the prompt file."""
    prompt = loaded.prompt
    system, user = replace(prompt, user=""), replace(prompt, system="")
    for part, first_line in ((system, loaded.system_line), (user, loaded.user_line)):
        try:
            PromptRenderer(part, step)
        except PipelineFileError as error:
            message, line, cause = error.message, first_line, error.__cause__
            if isinstance(cause, TemplateSyntaxError):
                message, line = f"this is no template: {cause.message}", first_line + cause.lineno - 1
            reading.problems.add(message, file=prompt.file, line=line, remedy=error.remedy)
