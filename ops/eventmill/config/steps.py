"""The steps of a stage: their names, routes, prompts and functions."""

from collections.abc import Collection, Iterator, Sequence

from eventmill.config.expressions import check_templates
from eventmill.config.model import CompleteEntry, StepEntry
from eventmill.config.problems import listed, suggestion
from eventmill.config.prompts import load_prompt
from eventmill.config.reading import Reading
from eventmill.config.yaml_nodes import KeyPath
from eventmill_schemas.errors import PipelineFileError
from eventmill_schemas.pipeline import CompleteStep, PythonStep, StepSpec


def load_steps(
    entries: Sequence[StepEntry],
    at: KeyPath,
    routes: Collection[str],
    answers: Collection[str] | None,
    reading: Reading,
) -> tuple[StepSpec, ...]:
    """Return the steps that `entries`, a list at `at`, stand for; notes what is wrong with them.

    `answers`: the fields of the result that steps fill; None: not known, as its schema is wrong.
    """
    names = _names(entries, at, reading)
    steps: list[StepSpec] = []
    for index, (entry, name) in enumerate(zip(entries, names, strict=True)):
        if entry.python is not None:
            steps.append(PythonStep(name, entry.python.function))
        elif entry.complete is not None:
            step = _complete(entry.complete, name, (*at, index, "complete"), routes, answers, reading)
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
    entry: CompleteEntry,
    name: str,
    at: KeyPath,
    routes: Collection[str],
    answers: Collection[str] | None,
    reading: Reading,
) -> CompleteStep | None:
    if entry.route not in routes:
        remedy = suggestion(entry.route, routes) or listed("There are", routes) or "Declare it under `routes`"
        reading.wrong((*at, "route"), f"there is no route `{entry.route}`", remedy)
    found = reading.find(entry.prompt, (*at, "prompt"))
    if found is None:
        return None
    try:
        loaded = load_prompt(found.path, found.file, reading.problems)
    except PipelineFileError as error:
        reading.problems.include(error)
        return None
    check_templates(loaded, name, answers, reading.problems)
    return CompleteStep(name, entry.route, loaded.prompt, None if entry.fields is None else tuple(entry.fields))
