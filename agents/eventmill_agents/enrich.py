"""What a stage does to one event: condition, steps in order, computed fields, completeness."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from eventmill_agents.calls import Calls, StageCalls, utc_now
from eventmill_agents.condition import Expression
from eventmill_agents.filling import Filling, filled_before, filling, left_over, working_values
from eventmill_agents.local_calls import LocalParts
from eventmill_agents.names import Known
from eventmill_agents.outcome import DeadLetter, Outcome, Provenance, Result, Skip
from eventmill_agents.ports import ChatModels, Gate, Prices, Step
from eventmill_agents.scope import EVENT, META, META_FIELDS, RESULT, scope_of
from eventmill_agents.steps.classify import Classify
from eventmill_agents.steps.complete import Complete
from eventmill_agents.steps.embed import Embed
from eventmill_agents.steps.infer import Infer
from eventmill_agents.steps.python import Python, StepFunction
from eventmill_agents.steps.retrieve import Retrieve
from eventmill_agents.steps.when import When
from eventmill_schemas.avro_types import record_fields, without_null
from eventmill_schemas.errors import EventError, UnstorableResult, UsageError
from eventmill_schemas.events import Event, Fields
from eventmill_schemas.pipeline import (
    ClassifyStep,
    CompleteStep,
    EmbedStep,
    InferStep,
    Pipeline,
    PythonStep,
    RetrieveStep,
    Stage,
    StepSpec,
)
from eventmill_schemas.result_schema import answer_fields, computed_fields

_BEFORE: Final[Known] = {EVENT: None, META: META_FIELDS}   # what there is to speak of before the first step
_NO_FIELDS: Final[Fields] = {}
_NO_MODEL: Final = Provenance()
_NOT_WHEN: Final = Outcome(Skip("when"))


class Enricher:
    """Enriches the events of one stage. Built once per worker; used for hundreds of events at the same time.

    `functions`: the stage's python steps by target (see `load_functions`). `local`: its local models and stores;
    without them a stage can be examined, and its steps that use them can't run. `now` tells the time in UTC. Raises
    UsageError for everything that can be told without an event: expressions, templates, routes, fields that nobody
    can fill.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        stage: Stage,
        models: ChatModels,
        prices: Prices,
        functions: Mapping[str, StepFunction],
        *,
        local: LocalParts | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        avro, answers = stage.result.avro, answer_fields(stage.result.avro)
        when = _label(stage, "`when`")
        self._when = None if stage.when is None else Expression(stage.when, label=when, names=_BEFORE)
        self._steps = _Assembly(pipeline, stage, functions).steps()
        computed = computed_fields(avro)
        self._working = working_values([filling(step) for step in stage.steps], answers)
        after = {**_BEFORE, RESULT: (*answers, *computed, *self._working)}
        self._computed = tuple(
            (name, Expression(text, label=_label(stage, f"`from` of field {name!r}"), names=after))
            for name, text in computed.items()
        )
        with_default = {field["name"] for field in avro["fields"] if "default" in field}
        self._required = tuple(name for name in answers if name not in with_default)
        self._calls = StageCalls(
            pipeline=pipeline.name,
            stage=stage.name,
            routes=pipeline.routes,
            attempts=stage.attempts,
            deadline=stage.call_deadline.total_seconds(),
            models=models,
            prices=prices,
            now=now,
            local=local or LocalParts(),
        )
        if self._required and not self._steps:
            raise UsageError(
                f"stage {stage.name!r} has no step that fills the field {self._required[0]!r}",
                remedy='Add a step, or give the field a `"from"` or a default',
            )

    def enrich_now(self, event: Event) -> Outcome | None:
        """Enrich without waiting what needs no step: stages without steps, and events that `when` leaves out.

        None: `enrich` must do it. Raises nothing that an event can cause.
        """
        try:
            scope = scope_of(event)
            if self._when is not None and not self._when.test(scope):
                return _NOT_WHEN
            return None if self._steps else Outcome(Result(self._completed({}, scope), _NO_MODEL))
        except EventError as error:
            return Outcome(DeadLetter(error))

    async def enrich(self, event: Event, gate: Gate) -> Outcome:
        """Enrich one event: how it ended, and what every attempt at a model cost on the way.

        Guarantees for the same event and the same replies: the same fields, call ids and cost ids. May be cancelled
        at any await; then nothing of it goes on. Raises nothing that an event can cause: those failures are dead
        letters. What is raised is a defect of eventmill or of its surroundings, and no event's fault.
        """
        at_once = self.enrich_now(event)
        if at_once is not None:
            return at_once
        calls = Calls(self._calls, event, gate)
        fields = _NO_FIELDS
        step = None
        try:
            for step in self._steps:
                added = await step.run(event, fields, calls.port(step.name))
                if isinstance(added, DeadLetter | Skip):
                    return Outcome(added, tuple(calls.costs))
                fields = {**fields, **added}
            step = None
            end: Result | DeadLetter = Result(self._completed(fields, scope_of(event, fields)), calls.provenance)
        except EventError as error:
            end = DeadLetter(error, step.name if step else None)
        return Outcome(end, tuple(calls.costs))

    def _completed(self, fields: Fields, scope: dict[str, Any]) -> Fields:
        """Add the computed fields, in the schema's order; each sees those before it as `result`."""
        if self._computed:
            result = dict(fields)
            scope[RESULT] = result
            for name, expression in self._computed:
                result[name] = expression.evaluate(scope)
            fields = result
        for name in self._required:
            if name not in fields:
                raise UnstorableResult(
                    f"no step has filled the field {name!r}", remedy="Return it from a step, or give it a default"
                )
        if self._working:
            fields = {name: value for name, value in fields.items() if name not in self._working}
        return fields


class _Assembly:
    """Makes the steps of a stage. `functions`: see Enricher. Raises UsageError for a step that can't work."""

    def __init__(self, pipeline: Pipeline, stage: Stage, functions: Mapping[str, StepFunction]) -> None:
        self._pipeline = pipeline
        self._stage = stage
        self._functions = functions
        self._answers = answer_fields(stage.result.avro)
        self._fillings: Sequence[Filling] = [filling(step) for step in stage.steps]
        _check_named(stage, self._fillings, self._answers)
        self._rest = left_over(self._fillings, self._answers)

    def steps(self) -> tuple[Step, ...]:
        """Return the steps in their order."""
        made: list[Step] = []
        for index, spec in enumerate(self._stage.steps):
            step = self._step(index, spec)
            if spec.when is not None:
                label = _label(self._stage, f"`when` of step {spec.name!r}")
                step = When(step, Expression(spec.when, label=label, names=self._names(index)))
            made.append(step)
        return tuple(made)

    def _names(self, index: int) -> Known:
        """Return what the step at `index` may speak of: also the working values of those before it."""
        working = working_values(self._fillings[:index], self._answers)
        return {**_BEFORE, RESULT: (*self._answers, *working)}

    def _step(self, index: int, spec: StepSpec) -> Step:
        result, names = self._stage.result, self._names(index)
        match spec:
            case CompleteStep():
                return self._complete(index, spec)
            case PythonStep():
                return self._python(spec)
            case ClassifyStep():
                return Classify(spec, names=names)
            case EmbedStep():
                return Embed(spec, nullable=_takes_null(result.avro, spec.into), names=names)
            case InferStep():
                return Infer(spec, result, self._answers, names=names)
            case RetrieveStep():
                return Retrieve(spec, result, names=names)

    def _complete(self, index: int, spec: CompleteStep) -> Step:
        if not self._pipeline.routes.get(spec.route):
            raise UsageError(
                f"{_label(self._stage, f'step {spec.name!r}')} asks route {spec.route!r}, which does not exist",
                remedy=f"Routes: {', '.join(self._pipeline.routes) or 'none'}",
            )
        fields = self._rest if spec.fields is None else spec.fields
        if not fields:
            raise UsageError(f"{_label(self._stage, f'step {spec.name!r}')} has no field left to fill")
        filled = filled_before(self._fillings, index, self._answers)
        return Complete(spec, self._stage.result, fields, filled=filled, names=self._names(index))

    def _python(self, spec: PythonStep) -> Step:
        if spec.target not in self._functions:
            name = _label(self._stage, f"step {spec.name!r}")
            raise UsageError(f"{name} needs {spec.target!r}, which is not loaded")
        return Python(spec, self._functions[spec.target], self._answers, self._pipeline.folder)


def _takes_null(avro: Mapping[str, Any], name: str | None) -> bool:
    """Whether null may be put under `name`: a working value takes it."""
    field = record_fields(avro).get(name or "")
    return field is None or without_null(field["type"])[1]


def _check_named(stage: Stage, fillings: Sequence[Filling], answers: tuple[str, ...]) -> None:
    """Refuse two steps that would fill what is left over, and fields that are none for steps."""
    asking = [one for one in fillings if one.asks]
    if sum(one.fields is None for one in asking) > 1:
        raise UsageError(
            f"stage {stage.name!r} has more than one `complete` step without `fields`",
            remedy="Say with `fields` which step fills which fields of the result",
        )
    named = {name for one in asking for name in one.fields or ()}
    if strangers := sorted(named.difference(answers)):
        raise UsageError(
            f"stage {stage.name!r}: a `complete` step names the field {strangers[0]!r}, which no step fills",
            remedy=f"Fields for steps: {', '.join(answers) or 'none'}",
        )


def _label(stage: Stage, part: str) -> str:
    return f"stage {stage.name!r}, {part}"
