"""`run_stage`: events through one stage, with scripted replies in place of models."""

import asyncio
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from eventmill.config import load
from eventmill.testing.replies import NoModels, Replies, ScriptedReplies
from eventmill.trying.inputs import LocalSchema
from eventmill.trying.local import local_parts, models_used, stores_used
from eventmill.trying.stages import find_stage
from eventmill.trying.trial import Outside, StageTrial, Trial, TrialGate
from eventmill_agents.cost import total_cost
from eventmill_agents.outcome import DeadLetter, Skip
from eventmill_agents.ports import ChatModels, LocalModels, VectorStores
from eventmill_agents.steps.python import load_functions
from eventmill_connectors.pricing import PriceList
from eventmill_schemas import ids
from eventmill_schemas.chat import ChatRequest
from eventmill_schemas.cost import CostEvent
from eventmill_schemas.errors import EventError, UsageError
from eventmill_schemas.events import Event, RawRecord, Source
from eventmill_schemas.pipeline import Format, Pipeline, PythonStep, Stage
from eventmill_streams.decode import Decoder

_WAITS = 100   # how often an event may find the models away before a test ends


@dataclass(frozen=True, slots=True)
class Incoming:
    """An event with what surrounds it in Kafka. `fields` may be the value's bytes instead, or None for a tombstone."""

    fields: Mapping[str, Any] | bytes | None
    key: str | bytes | None = None
    headers: Mapping[str, str | bytes] = field(default_factory=dict)
    timestamp: datetime | None = None   # None: now


@dataclass(frozen=True, slots=True)
class StageRun:
    """What became of the events, in their order. `trials` has everything of each."""

    trials: tuple[Trial, ...]

    @property
    def only(self) -> Trial:
        """What became of the only event. Raises UsageError where there are more, or none."""
        if len(self.trials) != 1:
            raise UsageError(f"`only` is for one event, and there were {len(self.trials)}", remedy="Use `trials`")
        return self.trials[0]

    @property
    def results(self) -> list[Mapping[str, Any]]:
        """The records that would be published, with their envelopes, as their readers see them."""
        return [trial.result for trial in self.trials if trial.result is not None]

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """How events failed for good: `error` (with `kind`, `message` and `remedy`) and `step`."""
        return [trial.end for trial in self.trials if isinstance(trial.end, DeadLetter)]

    @property
    def skips(self) -> list[Skip]:
        """Why events need no result."""
        return [trial.end for trial in self.trials if isinstance(trial.end, Skip)]

    @property
    def prompts(self) -> list[ChatRequest]:
        """What was sent to models, every attempt: `system`, `user`, `schema`, `parameters`."""
        return [call.exchange.request for trial in self.trials for call in trial.calls]

    @property
    def costs(self) -> list[CostEvent]:
        """The cost events that would be written."""
        return [cost for trial in self.trials for cost in trial.costs]

    @property
    def cost(self) -> Decimal | None:
        """USD for all of it, exactly; None where a part is not known."""
        return total_cost(self.costs)


def run_stage(  # noqa: PLR0913 - what surrounds a stage, each by its name
    pipeline: str | Path | Pipeline,
    stage: str,
    events: Iterable[Mapping[str, Any] | Incoming],
    *,
    replies: Replies | None = None,
    models: ChatModels | None = None,
    local_models: LocalModels | None = None,
    stores: VectorStores | None = None,
    schema: str | Path | Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> StageRun:
    """Run `events` through the steps of `stage`, one after the other, by the code that workers run.

    For tests that are plain functions; takes and returns what `run_stage_async` does.
    """
    running = run_stage_async(
        pipeline,
        stage,
        events,
        replies=replies,
        models=models,
        local_models=local_models,
        stores=stores,
        schema=schema,
        environ=environ,
    )
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(running)
    running.close()
    raise UsageError("`run_stage` was called in an event loop", remedy="Write `await run_stage_async(...)` there")


async def run_stage_async(  # noqa: PLR0913 - as above
    pipeline: str | Path | Pipeline,
    stage: str,
    events: Iterable[Mapping[str, Any] | Incoming],
    *,
    replies: Replies | None = None,
    models: ChatModels | None = None,
    local_models: LocalModels | None = None,
    stores: VectorStores | None = None,
    schema: str | Path | Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> StageRun:
    """Run `events` through the steps of `stage`, one after the other, by the code that workers run.

    `pipeline`: a pipeline file. `replies`: what models answer, in the order of calls: a list of answers (a dict),
    texts, what `reply(...)` returns, errors to raise, and functions of the ChatRequest that return one of these; or
    such a list for each step by its name; or one function for all calls. `models`: models of your own in their place.
    `local_models` and `stores` compute and keep vectors for the steps that need them: `WordModels` and
    `VectorsInMemory` of this package are quick, and need no files.

    `schema`: the Avro schema of the events, a file or its content: times and decimals may then be text, and defaults
    are filled in, as in `eventmill produce`. Without it a step sees the fields as they are given. `environ`: for
    `${VAR}` in the pipeline file; None: this process's.

    Nothing is waited for between attempts. Costs are those of the price list for the tokens that replies say they have.
    What fails because of an event is a dead letter, and raises nothing. Raises UsageError: the pipeline or an event is
    wrong, a call has no reply, a reply is left over; and what `models` raise that no event is to blame for.
    """
    variables = os.environ if environ is None else environ
    described = pipeline if isinstance(pipeline, Pipeline) else load(pipeline, variables)
    found = find_stage(described, stage)
    script = _script(found, replies, models)
    functions = load_functions(described.folder, [step for step in found.steps if isinstance(step, PythonStep)])
    _check_doubles(described, found, local_models, stores)
    local = local_parts(described, local_models, stores)
    outside = Outside(models or script, PriceList(described.prices), functions, local)
    trial = StageTrial(described, found, outside, lambda: TrialGate(_at_once, _WAITS))
    incoming = _Incoming(found, schema)
    trials = tuple([await incoming.run(trial, event, number) for number, event in enumerate(events)])
    script.check_used()
    return StageRun(trials)


def _check_doubles(
    pipeline: Pipeline, stage: Stage, local_models: LocalModels | None, stores: VectorStores | None
) -> None:
    if local_models is None and (models := models_used(pipeline, stage)):
        raise UsageError(
            f"the stage {stage.name!r} uses the local model {models[0]!r}, and the test gives none",
            remedy=f"Give a double: run_stage(..., local_models=WordModels({', '.join(map(repr, models))}))",
        )
    if stores is None and (names := stores_used(stage)):
        raise UsageError(
            f"the stage {stage.name!r} uses the store {names[0]!r}, and the test gives none",
            remedy=f"Give a double: run_stage(..., stores=VectorsInMemory({', '.join(map(repr, names))}))",
        )


def _script(stage: Stage, replies: Replies | None, models: ChatModels | None) -> ScriptedReplies | NoModels:
    if replies is None:
        return NoModels()
    if models is not None:
        raise UsageError("`replies` and `models` both say what answers", remedy="Give one of them")
    return ScriptedReplies(replies, [step.name for step in stage.steps])


class _Incoming:
    """Makes events of what a test gives, as the stage's decoder would."""

    def __init__(self, stage: Stage, schema: str | Path | Mapping[str, Any] | None) -> None:
        if schema is not None and stage.format == Format.JSON:
            raise UsageError(f"the stage {stage.name!r} reads JSON, which has no schema", remedy="Leave out `schema`")
        self._stage = stage
        self._schema = LocalSchema.read(Path(schema)) if isinstance(schema, str | Path) else LocalSchema(schema)
        self._decoder = Decoder(stage, self._schema)

    async def run(self, trial: StageTrial, given: Mapping[str, Any] | Incoming, number: int) -> Trial:
        incoming = given if isinstance(given, Incoming) else Incoming(given)
        fields = incoming.fields
        if not isinstance(fields, Mapping | bytes | None):
            raise UsageError(f"event {number + 1} is a {type(fields).__name__}", remedy="Give its fields as a dict")
        if not isinstance(fields, Mapping) or self._stage.format == Format.JSON or self._schema.writer is not None:
            return await trial.run_record(self._record(incoming, number, self._value(fields, number)), self._decoder)
        record = self._record(incoming, number, b"")
        try:
            identity = ids.event_id(record, fields, self._stage.id_field)
            event = Event(identity, ids.tenant(fields, self._stage.tenant_field), fields, record)
        except EventError as error:
            return Trial(record, None, DeadLetter(error))
        return await trial.run(event)

    def _value(self, fields: Mapping[str, Any] | bytes | None, number: int) -> bytes | None:
        if not isinstance(fields, Mapping):
            return fields
        try:
            if self._stage.format == Format.JSON:
                return json.dumps(dict(fields), ensure_ascii=False).encode("utf-8", "surrogatepass")
            return self._schema.encode(fields)
        except (TypeError, ValueError) as error:
            raise UsageError(f"event {number + 1} is no JSON: {error}") from None
        except UsageError as error:
            raise UsageError(f"event {number + 1} does not fit the schema: {error.message}") from None

    def _record(self, incoming: Incoming, number: int, value: bytes | None) -> RawRecord:
        key, moment = incoming.key, incoming.timestamp or datetime.now(UTC)
        return RawRecord(
            Source(self._stage.inputs[0], 0, number),
            key.encode() if isinstance(key, str) else key,
            value,
            tuple((name, text.encode() if isinstance(text, str) else text) for name, text in incoming.headers.items()),
            round(moment.timestamp() * 1000),
        )


async def _at_once(seconds: float, reason: str) -> None:
    """Wait for nothing: a test has no time, and no server that needs any."""
