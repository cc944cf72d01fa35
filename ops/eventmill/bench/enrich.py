"""One model call per event, beside the bare loop in the same minutes: what rows N1, N2, N3 and N6 are told from."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from statistics import median

from eventmill.bench.data import write_notes
from eventmill.bench.processes import Subject, bare_loop, worker
from eventmill.bench.results import Results, Visible, steady
from eventmill.bench.rows import Count, counted
from eventmill.bench.site import Site, Workload, workload
from eventmill.bench.usage import Usage
from eventmill.rig.judgement import judge
from eventmill.rig.model import Model, stand_in
from eventmill.rig.prices import price_rows
from eventmill_connectors.kafka.admin import Topics
from eventmill_schemas.codec import AvroReader, frame
from eventmill_schemas.errors import StackFailed
from eventmill_schemas.pipeline import Pipeline
from eventmill_schemas.result_schema import published, schema_text
from eventmill_schemas.topics import DEFAULT_PARTITIONS, TopicSpec, stage_topics

LATENCY = (0.5, 1.5)
"""Seconds of the stand-in's answers, evenly distributed."""

STAGE = "digest"
_STUCK_AFTER = 60.0


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done: events, calls in flight, and pairs of runs (eventmill and the bare loop)."""

    events: int
    in_flight: int
    rounds: int

    @property
    def ideal(self) -> float:
        """Events per second if every slot were always busy."""
        return self.in_flight / (sum(LATENCY) / 2)


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: events/s and ms of CPU per event of its steady part; its largest memory."""

    rate: float
    cpu_ms: float
    peak_mib: float


@dataclass(frozen=True, slots=True)
class Delay:
    """From the reply received to the result visible, in ms, and the worker's own mean time of a commit."""

    p50: float
    p99: float
    commit: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """All runs, in pairs."""

    size: Size
    ours: list[Measured]
    delays: list[Delay]
    bare: list[Measured]
    counts: list[Count]


def measure(site: Site, size: Size) -> Outcome:
    """Run eventmill and the bare loop in turns on the same events; who goes first changes with each round."""
    work = workload(site, "enrich", BENCH_IN_FLIGHT=str(size.in_flight))
    file = site.folder / "notes.jsonl"
    write_notes(file, size.events)
    work.produce(file)
    outcome = Outcome(size, [], [], [], [])
    for number in range(size.rounds):
        runs = [_bare, _ours] if number % 2 == 0 else [_ours, _bare]
        for run in runs:
            run(work, size, number, outcome)
    return outcome


def _ours(work: Workload, size: Size, number: int, outcome: Outcome) -> None:
    site = work.site
    pipeline, environ = work.prepared(f"e{number}")
    topics = stage_topics(pipeline.name, STAGE, pipeline.stage(STAGE).topics)
    site.say(f"round {number + 1}: eventmill, {size.events} events, {size.in_flight} in flight")
    with _model() as model:
        started = worker(work.file, STAGE, site.logs / f"eventmill-{number}", {**environ, **model.environ})
        with started as subject:
            visible, usage, commits = _follow(site, topics.results, subject, size.events)
        found = _measured(visible, usage)
        outcome.ours.append(found)
        outcome.delays.append(_delay(pipeline, visible, commits))
        outcome.counts.append(_judged(site, pipeline, model, size.events))
    site.say(f"  {found.rate:.1f}/s, {found.cpu_ms:.3f} ms CPU per event")


def _bare(work: Workload, size: Size, number: int, outcome: Outcome) -> None:
    site, topic = work.site, f"bench-{work.site.tag}-b{number}.results"
    Topics({"bootstrap.servers": site.addresses.bootstrap}).create([TopicSpec(topic, DEFAULT_PARTITIONS, {})])
    site.say(f"round {number + 1}: the bare loop, {size.events} events, {size.in_flight} in flight")
    with _model() as model:
        arguments = {
            "kafka": site.addresses.bootstrap,
            "input": work.topic,
            "output": topic,
            "group": f"bench-{site.tag}-b{number}",
            "model": model.environ["OPENAI_BASE_URL"],
            "event-schema": str(work.folder / "event.avsc"),
            "result-schema": str(work.folder / "digest.avsc"),
            "events": str(size.events),
            "in-flight": str(size.in_flight),
        }
        options = [text for name, value in arguments.items() for text in (f"--{name}", value)]
        with bare_loop(site.root, site.logs / f"bare-loop-{number}.log", options) as subject:
            visible, usage, _ = _follow(site, topic, subject, size.events)
    found = _measured(visible, usage)
    outcome.bare.append(found)
    outcome.counts.append(_count(work, number, size.events, visible))
    site.say(f"  {found.rate:.1f}/s, {found.cpu_ms:.3f} ms CPU per event")


@contextmanager
def _model() -> Iterator[Model]:
    with stand_in("--latency", f"uniform:{LATENCY[0]}:{LATENCY[1]}") as model:
        yield model


def _follow(site: Site, topic: str, subject: Subject, events: int) -> tuple[list[Visible], Usage, dict[str, float]]:
    """Take the time of each result until there are `events`; return also the worker's metrics at the end."""
    visible: list[Visible] = []
    usage, newest = Usage(subject.process_id), time.monotonic()
    with closing(Results(site.addresses, topic)) as results:
        while len(visible) < events:
            before = len(visible)
            visible.extend(results.read(0.1))
            subject.check()
            usage.sample()
            if len(visible) > before:
                newest = time.monotonic()
            elif time.monotonic() - newest > _STUCK_AFTER:
                raise StackFailed(
                    f"no result for {_STUCK_AFTER:g} s, and {events - len(visible)} are missing; logs: {site.logs}"
                )
    return visible, usage, subject.metrics()


def _measured(visible: list[Visible], usage: Usage) -> Measured:
    part = steady([result.received for result in visible])
    return Measured(part.rate, 1000 * usage.cpu_seconds(part.start, part.end) / part.events, usage.peak_mib)


def _delay(pipeline: Pipeline, visible: list[Visible], metrics: dict[str, float]) -> Delay:
    result = pipeline.stage(STAGE).result
    reader = AvroReader(schema_text(published(result.avro, result.file)))
    part = steady([one.received for one in visible])
    delays = sorted(
        one.received - reader.decode(frame(one.value)[1])["processed_at"].timestamp()
        for one in visible
        if part.start <= one.received <= part.end
    )
    commit = metrics["eventmill_tick_seconds_sum"] / metrics["eventmill_tick_seconds_count"]
    return Delay(1000 * median(delays), 1000 * delays[int(0.99 * len(delays))], 1000 * commit)


def _judged(site: Site, pipeline: Pipeline, model: Model, events: int) -> Count:
    options = ["--ledger", model.ledger or "", "--quotes", "body"]
    for price in price_rows(pipeline):
        options += ["--price", price]
    return counted(pipeline.name, events, judge(site.root, site.addresses, pipeline, STAGE, options))


def _count(work: Workload, number: int, events: int, visible: list[Visible]) -> Count:
    reader = AvroReader((work.folder / "digest.avsc").read_text())
    notes = {reader.decode(one.value[5:])["note"] for one in visible}
    return Count(f"bare loop {number + 1}", events, len(visible), events - len(notes), len(visible) - len(notes), {})
