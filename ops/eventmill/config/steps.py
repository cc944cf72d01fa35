"""The steps of a stage: their names, routes, prompts, functions and models."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from eventmill.config.expressions import check_expression, check_templates, names_within
from eventmill.config.local_steps import Around, load_local, load_python
from eventmill.config.problems import listed, suggestion
from eventmill.config.prompts import load_prompt
from eventmill.config.reading import Reading
from eventmill.config.step_entries import CompleteEntry, PythonEntry, StepEntry
from eventmill.config.yaml_nodes import KeyPath
from eventmill_agents.filling import left_over, working_values
from eventmill_schemas.errors import PipelineFileError, UsageError
from eventmill_schemas.pipeline import Cite, CompleteStep, ResultSchema, StepSpec
from eventmill_schemas.result_schema import answer_fields


@dataclass(frozen=True, slots=True)
class StepsOf:
    """The steps of a stage as they are written, the list at `at`, and what they may name.

    `routes`, `models` and `stores` (with the model of each) hold also those that are wrong. `result` None: it is wrong.
    """

    entries: Sequence[StepEntry]
    at: KeyPath
    routes: Collection[str]
    models: Collection[str]
    stores: Mapping[str, str | None]
    has_tenant: bool
    result: ResultSchema | None

    def fields(self, index: int) -> tuple[str, ...] | None:
        """Return what the step at `index` sees as `result`: fields, and working values of the steps before it."""
        if self.result is None:
            return None
        answers = answer_fields(self.result.avro)
        return (*answers, *working_values([one.entry.filling for one in self.entries[:index]], answers))


def load_steps(given: StepsOf, reading: Reading) -> tuple[StepSpec, ...]:
    """Return the steps that are `given`; notes what is wrong with them."""
    names = _names(given, reading)
    _check_stores(given, reading)
    steps: list[StepSpec] = []
    for index, (entry, name) in enumerate(zip(given.entries, names, strict=True)):
        at = (*given.at, index, entry.kind)
        chosen, fields = entry.entry, given.fields(index)
        if chosen.when is not None:
            try:
                check_expression(chosen.when, "`when`", fields)
            except UsageError as error:
                reading.wrong((*at, "when"), error.message, error.remedy)
        around = Around(given.models, given.stores, given.has_tenant, names_within(fields), given.result, reading)
        step: StepSpec | None
        if isinstance(chosen, PythonEntry):
            step = load_python(chosen, name, at, around)
        elif isinstance(chosen, CompleteEntry):
            step = _complete(chosen, name, index, given, reading)
        else:
            step = load_local(chosen, name, at, around)
        if step is not None:
            steps.append(step)
    return tuple(steps)


def _names(given: StepsOf, reading: Reading) -> list[str]:
    """Return a name for each step: the given one, else the kind or the function's name, numbered from the second on."""
    named: list[str | None] = []
    defaults: list[str] = []
    for index, step in enumerate(given.entries):
        entry = step.entry
        if entry.name is not None and entry.name in named:
            reading.wrong((*given.at, index, step.kind, "name"), f"two steps have the name `{entry.name}`")
        named.append(entry.name)
        defaults.append(entry.function.rpartition(":")[2] if isinstance(entry, PythonEntry) else step.kind)
    taken = set(named)
    names = []
    for name, default in zip(named, defaults, strict=True):
        free = name or next(candidate for candidate in _numbered(default) if candidate not in taken)
        taken.add(free)
        names.append(free)
    return names


def _check_stores(given: StepsOf, reading: Reading) -> None:
    """Note an `embed` step that always puts its chunks in place of those that a step before has stored."""
    used: set[str] = set()
    for index, step in enumerate(given.entries):
        if step.embed is None or step.embed.store is None:
            continue
        store = step.embed.store
        if store in used and step.embed.when is None:
            reading.wrong(
                (*given.at, index, "embed", "store"),
                f"a step before keeps the event's chunks in `{store}` already, and this one would replace them",
                "Embed both texts in one step, give each its own store, or leave one out by `when`",
            )
        used.add(store)


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}_{number}"
        number += 1


def _complete(
    entry: CompleteEntry, name: str, index: int, given: StepsOf, reading: Reading
) -> CompleteStep | None:
    at = (*given.at, index, "complete")
    if entry.route not in given.routes:
        remedy = (
            suggestion(entry.route, given.routes)
            or listed("There are", given.routes)
            or "Declare it under `routes`"
        )
        reading.wrong((*at, "route"), f"there is no route `{entry.route}`", remedy)
    _check_citations(entry, index, given, reading)
    found = reading.find(entry.prompt, (*at, "prompt"))
    if found is None:
        return None
    try:
        loaded = load_prompt(found.path, found.file, reading.problems)
    except PipelineFileError as error:
        reading.problems.include(error)
        return None
    check_templates(loaded, name, given.fields(index), reading.problems)
    fields = None if entry.fields is None else tuple(entry.fields)
    cite = None if entry.cite is None else Cite(entry.cite.field, entry.cite.from_)
    return CompleteStep(name, entry.route, loaded.prompt, fields, cite, entry.when)


def _check_citations(entry: CompleteEntry, index: int, given: StepsOf, reading: Reading) -> None:
    """Note a field that the step does not fill, and passages that no step before has found."""
    if entry.cite is None or given.result is None:
        return
    at = (*given.at, index, "complete", "cite")
    answers = answer_fields(given.result.avro)
    asked = entry.fields or left_over([one.entry.filling for one in given.entries], answers)
    if entry.cite.field not in asked:
        remedy = suggestion(entry.cite.field, asked) or listed("It fills", asked)
        reading.wrong((*at, "field"), f"the step does not fill `{entry.cite.field}`", remedy)
    found = [one.retrieve.into for one in given.entries[:index] if one.retrieve is not None]
    if entry.cite.from_ not in found:
        remedy = suggestion(entry.cite.from_, found) or "Put a `retrieve` step with this `into` before it"
        reading.wrong((*at, "from"), f"no `retrieve` step before puts passages into `{entry.cite.from_}`", remedy)
