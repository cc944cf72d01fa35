"""An example from beginning to end. It runs the commands that a user would, and shows them."""

import json
import os
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from eventmill.config import load
from eventmill.demo.models import built
from eventmill.demo.outputs import Outputs
from eventmill.demo.placement import Example, Placement, placed
from eventmill.demo.progress import Display
from eventmill.dev.addresses import Addresses
from eventmill.fleet import Fleet, replicas
from eventmill.rig.commands import run_command
from eventmill.rig.judgement import CHECKER, Judgement, judge
from eventmill.rig.left import events_left
from eventmill.rig.model import Model, stand_in
from eventmill.rig.prices import price_rows
from eventmill.rig.servers import servers
from eventmill_schemas.errors import StackFailed, UsageError
from eventmill_schemas.pipeline import Pipeline
from eventmill_streams.lag import LagReader

_STUCK_AFTER = 180.0
"""Seconds without any new record after which the run gives up and says where the logs are."""

_STOP_SECONDS = 25.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the user may choose. `folder`: where the local stack, logs and copies of this run are."""

    folder: Path
    events: int | None = None
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What a search of `store` for `text` gave: similarity, event id and passage, nearest first."""

    store: str
    text: str
    passages: tuple[tuple[float, str, str], ...]


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What happened."""

    pipeline: Pipeline
    outputs: Outputs
    events: int
    seconds: float
    judgements: dict[str, Judgement]
    stand_in: bool
    work: Placement
    found: tuple[Found, ...]

    @property
    def clean(self) -> bool:
        """Whether the checker found nothing wrong."""
        return not any(judgement.problems for judgement in self.judgements.values())


class Demo:
    """One run of `example` in the repository at `root`. `say` tells the user what is going on."""

    def __init__(self, root: Path, example: Example, options: Options, say: Callable[[str], None]) -> None:
        self._root = root
        self._example = example
        self._options = options
        self._say = say

    def run(self) -> DemoReport:
        """Run everything; whatever was started is stopped at the end, however it ends."""
        options = self._options
        with ExitStack() as open_things:
            found = open_things.enter_context(servers(options.folder / "stack", self._say, keep=options.keep))
            work = open_things.enter_context(
                placed(self._example, options.folder, found, keep=options.keep)
            )
            work.environ.update(built(self._example.model, options.folder / "models", self._say))
            run_command(self._say, work.environ, "apply", str(work.file), "--inputs")
            pipeline = load(work.file, {**os.environ, **work.environ})
            events = self._produce(work)
            model = open_things.enter_context(self._model())
            outputs = Outputs(pipeline)
            open_things.callback(outputs.close)
            seconds = self._process(work, pipeline, model, outputs, events)
            judgements = self._judge(pipeline, found.addresses, model, outputs)
            return DemoReport(
                pipeline,
                outputs,
                events,
                seconds,
                judgements,
                model.ledger is not None,
                work,
                tuple(self._search(work, *search) for search in self._example.searches),
            )

    def _search(self, work: Placement, store: str, text: str) -> Found:
        found = run_command(
            self._say, work.environ, "search", store, text, "--pipeline", str(work.file), "--limit", "3", "--json"
        )
        passages = json.loads(found)["passages"]
        return Found(store, text, tuple((p["similarity"], p["event_id"], p["text"]) for p in passages))

    @contextmanager
    def _model(self) -> Iterator[Model]:
        if os.environ.get("OPENAI_API_KEY"):
            self._say("asking the real provider: OPENAI_API_KEY is set, this costs money")
            yield Model({})
            return
        with stand_in() as model:
            self._say("asking the model stand-in: no OPENAI_API_KEY is set, so no model answers and nothing is paid")
            yield model

    def _produce(self, work: Placement) -> int:
        wanted = [] if self._options.events is None else ["--events", str(self._options.events)]
        arguments = (
            *("produce", work.topic),
            *("--pipeline", str(work.file)),
            *("--from", str(self._example.events)),
            *("--schema", str(work.schema)),
            *self._example.produce,
            *wanted,
            "--json",
        )
        try:
            done = run_command(self._say, work.environ, *arguments)
        except UsageError as error:   # its own remedy is to go on behind the line; here is nothing to go on with
            raise UsageError(error.message, remedy="Correct the file and begin again") from error
        return int(json.loads(done)["events"])

    def _process(
        self, work: Placement, pipeline: Pipeline, model: Model, outputs: Outputs, events: int
    ) -> float:
        logs = self._options.folder / "logs"
        fleet = Fleet(
            work.file,
            replicas(pipeline, {}),
            logs,
            self._say,
            ["--shutdown-timeout", "10"],
            {**work.environ, **model.environ},
        )
        names = ", ".join(member.name for member in fleet.members)
        self._say(f"$ {shlex.join(['eventmill', 'run', str(work.file)])}    (workers {names}; logs in {logs})")
        for old in logs.glob("*.log"):
            old.unlink()
        began = time.monotonic()
        try:
            fleet.start()
            with Display(tuple(stage.name for stage in pipeline.stages), events, self._say) as display:
                self._follow(fleet, pipeline, outputs, events, display)
            return time.monotonic() - began
        finally:
            fleet.stop(_STOP_SECONDS)

    def _follow(self, fleet: Fleet, pipeline: Pipeline, outputs: Outputs, events: int, display: Display) -> None:
        """Watch until every stage has nothing left: the first has all its events, the others have no lag."""
        first = pipeline.stages[0]
        lag = LagReader(pipeline.kafka)
        newest, seen = time.monotonic(), -1
        totals: dict[str, int | None] = {first.name: events}
        try:
            while True:
                outputs.read(0.2)
                fleet.watch()
                if fleet.failed:
                    raise StackFailed(f"worker {fleet.failed[0].name} can't run; its log: {fleet.failed[0].log}")
                display.update(outputs, totals)
                done = outputs.stages[first.name].results + outputs.stages[first.name].dead_letters
                count = sum(o.results + o.dead_letters for o in outputs.stages.values())
                if count != seen:
                    newest, seen = time.monotonic(), count
                if done >= events and self._drained(pipeline, lag):
                    outputs.read(0.5)
                    display.update(outputs, {name: o.results + o.dead_letters for name, o in outputs.stages.items()})
                    return
                if time.monotonic() - newest > _STUCK_AFTER:
                    raise StackFailed(f"nothing has happened for {_STUCK_AFTER:g} s; the workers' logs may say why")
        finally:
            lag.close()

    def _drained(self, pipeline: Pipeline, lag: LagReader) -> bool:
        return all(events_left(lag, pipeline, stage.name) == 0 for stage in pipeline.stages)

    def _judge(
        self, pipeline: Pipeline, addresses: Addresses, model: Model, outputs: Outputs
    ) -> dict[str, Judgement]:
        """Let the checker look at every stage; the first one's costs are held against the stand-in's ledger."""
        self._say(f"$ python {CHECKER} ...    (an independent reader counts what was lost or doubled)")
        judgements = {}
        for number, stage in enumerate(pipeline.stages):
            options: list[str] = []
            for price in price_rows(pipeline):
                options += ["--price", price]
            if number == 0 and model.ledger is not None:
                options += ["--ledger", model.ledger, "--quotes", self._example.quotes]
            if stage.when is not None:
                skipped = outputs.stages[pipeline.stages[0].name].results - outputs.stages[stage.name].results
                options += ["--skipped", str(skipped - outputs.stages[stage.name].dead_letters)]
            judgements[stage.name] = judge(self._root, addresses, pipeline, stage.name, options)
        return judgements
