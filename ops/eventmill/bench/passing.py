"""Row N5: a stage without steps, whose fields are copied. What Kafka in, Avro and Kafka out cost by themselves."""

import time
from contextlib import closing
from dataclasses import dataclass
from statistics import median

from eventmill.bench.data import write_payments
from eventmill.bench.processes import Subject, worker
from eventmill.bench.results import Results, steady
from eventmill.bench.rows import Count, Row, counted
from eventmill.bench.site import Site, Workload, workload
from eventmill.bench.usage import Usage
from eventmill.rig.judgement import judge
from eventmill.rig.left import events_left
from eventmill_schemas.errors import StackFailed
from eventmill_schemas.pipeline import Pipeline
from eventmill_schemas.topics import stage_topics
from eventmill_streams.lag import LagReader

STAGE = "copy"
_FILE = 10_000   # events of the file; it is repeated with new ids
_STUCK_AFTER = 60.0
_GOAL = 12_000


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done: events, a multiple of 10,000, and runs."""

    events: int
    rounds: int


@dataclass(frozen=True, slots=True)
class Passed:
    """One run: events/s by the clock, microseconds of CPU per event, largest memory."""

    events: int
    rate: float
    cpu_us: float
    peak_mib: float
    count: Count

    @property
    def one_core(self) -> float:
        """Events/s that one core does: the rate, or less where the worker used more than one core for it."""
        return min(self.rate, 1e6 / self.cpu_us)


def measure(site: Site, size: Size) -> list[Passed]:
    """Run one worker over the same payments again and again."""
    work = workload(site, "copy")
    file = site.folder / "payments.jsonl"
    write_payments(file, _FILE)
    work.produce(file, size.events // _FILE)
    return [_pass(work, size.events, number) for number in range(size.rounds)]


def _pass(work: Workload, events: int, number: int) -> Passed:
    site = work.site
    pipeline, environ = work.prepared(f"p{number}")
    site.say(f"round {number + 1}: pass-through of {events} events")
    with worker(work.file, STAGE, site.logs / f"copy-{number}", environ) as subject:
        usage = Usage(subject.process_id)
        _wait(site, pipeline, subject, usage)
    topics = stage_topics(pipeline.name, STAGE, pipeline.stage(STAGE).topics)
    part = steady(_times(site, topics.results, events))
    cpu_us = 1e6 * usage.cpu_seconds(part.start, part.end) / part.events
    count = counted(pipeline.name, events, judge(site.root, site.addresses, pipeline, STAGE, []))
    site.say(f"  {part.rate:,.0f}/s, {cpu_us:.1f} us CPU per event")
    return Passed(events, part.rate, cpu_us, usage.peak_mib, count)


def _wait(site: Site, pipeline: Pipeline, subject: Subject, usage: Usage) -> None:
    """Sample until nothing is left to do. Nobody reads along: on two cores a reader would slow the worker down."""
    with closing(LagReader(pipeline.kafka)) as reader:
        left: int | None = None
        newest, asked = time.monotonic(), 0.0
        while left != 0:
            time.sleep(0.05)
            subject.check()
            usage.sample()
            now = time.monotonic()
            if now - asked < 0.5:
                continue
            asked, before, left = now, left, events_left(reader, pipeline, STAGE)
            if left != before:
                newest = now
            elif now - newest > _STUCK_AFTER:
                raise StackFailed(f"no event for {_STUCK_AFTER:g} s, and {left} are left; logs: {site.logs}")


def _times(site: Site, topic: str, events: int) -> list[float]:
    """Return when each result was handed to Kafka, by the worker's clock, which is ours."""
    times: list[float] = []
    with closing(Results(site.addresses, topic)) as results:
        while len(times) < events and (found := [one.produced for one in results.read(10)]):
            times += found
    return times


def row(runs: list[Passed]) -> Row:
    """Return the row: medians over the runs."""
    one_core, rate, cpu = (median(getattr(run, name) for run in runs) for name in ("one_core", "rate", "cpu_us"))
    return Row(
        "N5",
        "pass-through, one core",
        f">= {_GOAL:,}/s",
        f"{one_core:,.0f}/s ({rate:,.0f}/s by the clock, {cpu:.1f} us CPU per event)",
        one_core,
        one_core >= _GOAL,
        {
            "events": [run.events for run in runs],
            "per_s": [run.rate for run in runs],
            "cpu_us": [run.cpu_us for run in runs],
            "peak_mib": [run.peak_mib for run in runs],
        },
    )
