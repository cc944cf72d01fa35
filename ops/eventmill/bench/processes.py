"""The two that are measured, as processes: a worker of eventmill, and the bare loop."""

import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from eventmill.dev.ports import LOOPBACK, choose
from eventmill.fleet import Fleet
from eventmill_schemas.errors import StackFailed

BARE_LOOP = Path("tests/benchmarks/bare_loop.py")

_STOP_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Subject:
    """A process that is measured. `check` raises StackFailed once it has ended."""

    process_id: int
    check: Callable[[], None]
    metrics: Callable[[], dict[str, float]]


@contextmanager
def worker(pipeline: Path, stage: str, logs: Path, environ: Mapping[str, str]) -> Iterator[Subject]:
    """Run one worker for the block. It must not end within it."""
    port, said = choose(), list[str]()
    arguments = ["--http-port", str(port), "--shutdown-timeout", "5"]
    fleet = Fleet(pipeline, {stage: 1}, logs, said.append, arguments, environ)
    (member,) = fleet.members

    def check() -> None:
        fleet.watch()
        if said:
            raise StackFailed(said[0])

    try:
        fleet.start()
        assert member.process is not None  # noqa: S101 - start() makes it
        yield Subject(member.process.pid, check, lambda: _metrics(port))
    finally:
        fleet.stop(_STOP_SECONDS)


@contextmanager
def bare_loop(root: Path, log: Path, arguments: Sequence[str]) -> Iterator[Subject]:
    """Run the bare loop for the block."""
    command = [sys.executable, str(root / BARE_LOOP), *arguments]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 - our own command
            command, stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True
        )

    def check() -> None:
        if process.poll() not in (None, 0):
            raise StackFailed(f"the bare loop ended with exit code {process.returncode}; its log: {log}")

    try:
        yield Subject(process.pid, check, dict)
    finally:
        process.terminate()
        process.wait(_STOP_SECONDS)
        if process.stdin is not None:
            process.stdin.close()


def _metrics(port: int) -> dict[str, float]:
    """Read a worker's metrics by sample name, summed over their labels; buckets are left out."""
    with build_opener(ProxyHandler({})).open(f"http://{LOOPBACK}:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    found: dict[str, float] = defaultdict(float)
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]  # prometheus-client types only a part
    for family in families:
        for sample in family.samples:
            if "le" not in sample.labels:
                found[sample.name] += sample.value
    return found
