"""The demo from beginning to end. It runs the commands that a user would, and shows them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from eventmill.config import load
from eventmill.demo.judgement import CHECKER, Judgement, judge
from eventmill.demo.outputs import Outputs
from eventmill.demo.prices import price_rows
from eventmill.demo.progress import Display
from eventmill.demo.workplace import Workplace
from eventmill.dev import guard
from eventmill.dev.addresses import Addresses, addresses_from_environment
from eventmill.dev.stack import Stack
from eventmill.fleet import Fleet, replicas
from eventmill_schemas.errors import SetupError, StackFailed
from eventmill_schemas.pipeline import Pipeline
from eventmill_streams.lag import LagReader
from eventmill_streams.slot import group_id

_STUCK_AFTER = 180.0
"""Seconds without any new record after which the demo gives up and says where the logs are."""

_STOP_SECONDS = 25.0


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the user may choose."""

    events: int | None = None
    keep: bool = False
    folder: Path = Path(".eventmill/demo")


@dataclass(frozen=True, slots=True)
class Model:
    """Who answers: the real provider, or the stand-in (`ledger` is its address)."""

    environ: dict[str, str]
    ledger: str | None


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What happened."""

    pipeline: Pipeline
    outputs: Outputs
    events: int
    seconds: float
    judgements: dict[str, Judgement]
    stand_in: bool
    addresses: Addresses
    kept: bool
    file: Path

    @property
    def clean(self) -> bool:
        """Whether the checker found nothing wrong."""
        return not any(judgement.problems for judgement in self.judgements.values())


class Demo:
    """One run. `say` tells the user what is going on."""

    def __init__(self, root: Path, options: DemoOptions, say: Callable[[str], None]) -> None:
        self._root = root
        self._options = options
        self._say = say
        if not (root / CHECKER).is_file() or not (root / "examples/support-mail").is_dir():
            raise SetupError("the demo needs eventmill's repository", remedy="Run `make demo` in a clone of it")

    def run(self) -> DemoReport:
        """Run everything; whatever was started is stopped at the end, however it ends."""
        with ExitStack() as open_things:
            addresses, external = open_things.enter_context(self._stack())
            work = Workplace.prepare(self._root, self._options.folder, addresses, unique=external)
            self._command(work, "apply", str(work.file), "--inputs")
            pipeline = load(work.file, work.environ)
            events = self._produce(work)
            model = open_things.enter_context(self._model())
            outputs = Outputs(pipeline)
            open_things.callback(outputs.close)
            seconds = self._process(work, pipeline, model, outputs, events)
            judgements = self._judge(pipeline, addresses, model, outputs)
            return DemoReport(
                pipeline,
                outputs,
                events,
                seconds,
                judgements,
                model.ledger is not None,
                addresses,
                self._options.keep,
                work.file,
            )

    @contextmanager
    def _stack(self) -> Iterator[tuple[Addresses, bool]]:
        external = addresses_from_environment()
        if external is not None:
            self._say(f"using the stack of the environment: Kafka at {external.bootstrap}")
            yield external, True
            return
        folder = self._options.folder / "stack"
        folder.parent.mkdir(parents=True, exist_ok=True)
        watchman = guard.start(folder)
        stack = Stack(folder, usual_ports=False)
        try:
            self._say("starting Kafka, the schema registry and Postgres on this machine (the first time loads 0.3 GB)")
            yield stack.up(fresh=True, report=self._say), False
        finally:
            watchman.terminate()
            watchman.wait()
            if not self._options.keep:
                stack.down(report=self._say)

    @contextmanager
    def _model(self) -> Iterator[Model]:
        if os.environ.get("OPENAI_API_KEY"):
            self._say("asking the real provider: OPENAI_API_KEY is set, this costs money")
            yield Model({}, None)
            return
        command = [sys.executable, "-m", "eventmill.cli", "dev", "model", "--json", "--parent", str(os.getpid())]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)  # noqa: S603 - our own
        try:
            line = process.stdout.readline() if process.stdout is not None else b""
            if not line:
                raise SetupError("the model stand-in did not start", remedy="`eventmill dev model` shows why")
            base_url = json.loads(line)["base_url"]
            self._say("asking the model stand-in: no OPENAI_API_KEY is set, so no model answers and nothing is paid")
            yield Model({"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "stand-in"}, base_url.removesuffix("/v1"))
        finally:
            process.terminate()
            process.wait(10)

    def _produce(self, work: Workplace) -> int:
        wanted = [] if self._options.events is None else ["--events", str(self._options.events)]
        done = self._command(
            work,
            "produce",
            work.topic,
            *("--pipeline", str(work.file)),
            *("--from", str(work.example / "mails.jsonl")),
            *("--schema", str(work.example / "schemas/mail.avsc")),
            *("--key", "customer", "--id", "id", "--json"),
            *wanted,
        )
        return int(json.loads(done)["events"])

    def _command(self, work: Workplace, *arguments: str) -> str:
        self._say(f"$ eventmill {' '.join(arguments)}")
        command = [sys.executable, "-m", "eventmill.cli", *arguments]
        done = subprocess.run(  # noqa: S603 - our own command
            command, env={**os.environ, **work.environ}, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise StackFailed(f"eventmill {arguments[0]} failed:\n{(done.stderr or done.stdout).strip()[-2000:]}")
        return done.stdout

    def _process(
        self, work: Workplace, pipeline: Pipeline, model: Model, outputs: Outputs, events: int
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
        self._say(f"$ eventmill run {work.file}    (workers {names}; logs in {logs})")
        for old in logs.glob("*.log"):
            old.unlink()
        began = time.monotonic()
        fleet.start()
        try:
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
        return all(
            lag.read(group_id(pipeline.name, stage.name), stage.inputs).total.lag == 0 for stage in pipeline.stages
        )

    def _judge(
        self, pipeline: Pipeline, addresses: Addresses, model: Model, outputs: Outputs
    ) -> dict[str, Judgement]:
        """Let the checker look at every stage; the first one's costs are held against the stand-in's ledger."""
        self._say(f"$ python {CHECKER} ...    (an independent reader counts what was lost or doubled)")
        judgements = {}
        for number, stage in enumerate(pipeline.stages):
            options: list[str] = []
            if number == 0 and model.ledger is not None:
                options = ["--ledger", model.ledger, "--quotes", "body,subject"]
                for price in price_rows(pipeline):
                    options += ["--price", price]
            if stage.when is not None:
                skipped = outputs.stages[pipeline.stages[0].name].results - outputs.stages[stage.name].results
                options += ["--skipped", str(skipped - outputs.stages[stage.name].dead_letters)]
            judgements[stage.name] = judge(self._root, addresses, pipeline, stage.name, options)
        return judgements
