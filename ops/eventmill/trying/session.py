"""One round of `eventmill try`: the files as they are now, the events, and what becomes of them."""

import asyncio
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

from eventmill.config import load
from eventmill.dev.model.server import StandIn
from eventmill.trying.answering import Answering, answering, at_stand_in, models_of
from eventmill.trying.inputs import Inputs, LocalSchema, own_schema, read_file
from eventmill.trying.local import open_local
from eventmill.trying.running import run
from eventmill.trying.stages import find_stage
from eventmill.trying.trial import Outside, StageTrial, Trial, TrialGate
from eventmill_agents.steps.python import StepFunction, load_functions
from eventmill_connectors.chat.clients import ChatClients
from eventmill_connectors.pricing import PriceList
from eventmill_connectors.registry import SchemaRegistry
from eventmill_schemas.errors import RegistryUnreachable, SetupError, UsageError
from eventmill_schemas.events import RawRecord
from eventmill_schemas.pipeline import Format, Pipeline, PythonStep, Stage
from eventmill_schemas.result_schema import published
from eventmill_schemas.topics import stage_topics
from eventmill_streams.decode import Decoder

AT_ONCE = 8
"""Events that are tried at the same time: as many as somebody can wait for, and few enough for any account."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be tried. `file` "-": standard input; None: the newest `count` records of the stage's inputs.

    `schema` and `key`: how the file's events are encoded. `stand_in`: answers come from a stand-in of this process.
    """

    pipeline: Path
    stage: str
    file: str | None
    count: int
    schema: Path | None = None
    key: str | None = None
    stand_in: bool = False
    kafka: str | None = None
    registry: str | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """What one round tries."""

    pipeline: Pipeline
    stage: Stage
    inputs: Inputs
    functions: Mapping[str, StepFunction]
    answering: Sequence[Answering]


class Session:
    """Tries the same events again and again, each time with the files as they are then.

    `on_notice` is told what a person may want to know meanwhile. Blocks; not for use inside an event loop.
    """

    def __init__(self, wanted: Wanted, environ: Mapping[str, str], on_notice: Callable[[str], None]) -> None:
        self._wanted = wanted
        self._environ = environ
        self._on_notice = on_notice
        self._kept: Sequence[RawRecord] | None = None   # read once: every round is about the same events
        self._typed: Inputs | None = None               # standard input can be read once only
        self._imported: set[str] = set()

    def prepare(self) -> Round:
        """Read the files and the events. Nothing is asked of a model yet.

        Raises UsageError for whatever the user must mend, KafkaUnreachable, RegistryUnreachable.
        """
        wanted = self._wanted
        pipeline = load(wanted.pipeline, self._environ)
        kafka = replace(
            pipeline.kafka,
            bootstrap=wanted.kafka or pipeline.kafka.bootstrap,
            registry=wanted.registry or pipeline.kafka.registry,
        )
        pipeline = replace(pipeline, kafka=kafka)
        stage = find_stage(pipeline, wanted.stage)
        if wanted.stand_in:
            pipeline = at_stand_in(pipeline)
            models = [Answering(model, None, is_stand_in=True) for model in models_of(pipeline, stage)]
        else:
            models = answering(pipeline, stage, self._environ)
        return Round(pipeline, stage, self._inputs(pipeline, stage), self._functions(pipeline, stage), models)

    def run(self, prepared: Round, on_trial: Callable[[str, Trial], None]) -> None:
        """Try the events, some at the same time; `on_trial` is told of each in their order, with its place.

        Raises Unavailable where the models or the registry are away: nothing is waited for.
        """
        run(self._run(prepared, on_trial))

    async def _run(self, prepared: Round, on_trial: Callable[[str, Trial], None]) -> None:
        environ = dict(self._environ)
        async with AsyncExitStack() as opened:
            if self._wanted.stand_in:
                stand_in = await opened.enter_async_context(StandIn())
                environ |= {"OPENAI_BASE_URL": stand_in.base_url, "OPENAI_API_KEY": "no-key-needed"}
            models = await opened.enter_async_context(ChatClients(environ=environ))
            schemas = prepared.inputs.schemas
            if schemas is None:
                registry = SchemaRegistry(prepared.pipeline.kafka.registry)
                opened.push_async_callback(registry.close)
                schemas = registry
            local = open_local(prepared.pipeline, prepared.stage, opened, self._on_notice)
            outside = Outside(models, PriceList(prepared.pipeline.prices), prepared.functions, local)
            trial = StageTrial(prepared.pipeline, prepared.stage, outside, lambda: TrialGate(self._pause))
            await _try_all(trial, Decoder(prepared.stage, schemas), prepared.inputs, on_trial)

    async def _pause(self, seconds: float, reason: str) -> None:
        self._on_notice(f"waiting {seconds:.1f} s before the next attempt: {reason}")
        await asyncio.sleep(seconds)

    def _functions(self, pipeline: Pipeline, stage: Stage) -> dict[str, StepFunction]:
        """Import the stage's python steps, anew where an earlier round did: they may have been changed."""
        for name in self._imported:
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        before = set(sys.modules)
        try:
            with redirect_stdout(sys.stderr):
                return load_functions(pipeline.folder, [s for s in stage.steps if isinstance(s, PythonStep)])
        finally:
            self._imported = {name for name in set(sys.modules) - before if _is_of(name, Path(pipeline.folder))}

    def _inputs(self, pipeline: Pipeline, stage: Stage) -> Inputs:
        wanted = self._wanted
        if wanted.file is None:
            if self._kept is None:
                from eventmill.trying.newest import newest  # noqa: PLC0415 - a file needs no Kafka client

                self._kept = newest(pipeline.kafka, stage, wanted.count)
            return Inputs(self._kept, [str(record.source) for record in self._kept], None)
        if self._typed is not None:
            return self._typed
        inputs = read_file(wanted.file, stage.inputs[0], _schema(pipeline, stage, wanted), wanted.count, wanted.key)
        if wanted.file == "-":
            self._typed = inputs
        return inputs


async def _try_all(
    trial: StageTrial, decoder: Decoder, inputs: Inputs, on_trial: Callable[[str, Trial], None]
) -> None:
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(record: RawRecord) -> Trial:
        async with turns:
            return await trial.run_record(record, decoder)

    running = [asyncio.create_task(one(record)) for record in inputs.records]
    try:
        for place, task in zip(inputs.places, running, strict=True):
            with redirect_stdout(sys.stderr):   # what python steps print is not what the command says
                done = await task
            on_trial(place, done)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _schema(pipeline: Pipeline, stage: Stage, wanted: Wanted) -> LocalSchema:
    """Return the schema of a file's events: the one given, that of the stage before, the registry's, the file's own."""
    if stage.format == Format.JSON:
        if wanted.schema is not None:
            raise UsageError(f"stage {stage.name!r} reads JSON, which has no schema", remedy="Leave out `--schema`")
        return LocalSchema(None)
    if wanted.schema is not None:
        return LocalSchema.read(wanted.schema)
    topic = stage.inputs[0]
    for other in pipeline.stages:
        if stage_topics(pipeline.name, other.name, other.topics).results == topic:
            return LocalSchema(published(other.result.avro, other.result.file))
    from eventmill.produce.schema import latest  # noqa: PLC0415 - asked only where nobody gives the schema

    remedy = "Give it with `--schema FILE.avsc`, as in `eventmill produce`"
    own = own_schema(wanted.file or "-")
    try:
        found = latest(pipeline.kafka.registry, topic)
    except RegistryUnreachable as error:
        if own is not None:
            return own
        raise RegistryUnreachable(f"the schema of {topic} is not known: {error.message}", remedy=remedy) from None
    except SetupError as error:
        raise SetupError(error.message, remedy=remedy) from None
    if found is not None:
        return LocalSchema(found.avro)
    if own is not None:
        return own
    raise SetupError(f"the registry has no schema for {topic}", remedy=remedy)


def _is_of(module: str, folder: Path) -> bool:
    """Whether a module is one of the user's, in the pipeline's folder, and no installed package there."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or module.partition(".")[0].startswith("eventmill"):
        return False
    path, place = Path(file).resolve(), folder.resolve()
    return path.is_relative_to(place) and "site-packages" not in path.relative_to(place).parts
