"""One worker of eventmill as a process of its own, to look at its port, signal it, and see how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families


def until(done: Callable[[], bool], seconds: float, report: Callable[[], str] = lambda: "") -> None:
    """Ask until `done`; fail with `report` after `seconds`."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"not done after {seconds} s\n{report()}"
        time.sleep(0.1)


class WorkerProcess:
    """A worker that nobody restarts. Its log goes to `log`."""

    def __init__(
        self, stage: str, pipeline: Path, log: Path, options: Sequence[str], environ: Mapping[str, str]
    ) -> None:
        """Start it."""
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "eventmill.cli", "worker", stage, "--pipeline", str(pipeline), *options]
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, **environ}
            )

    @property
    def text(self) -> str:
        """What it has logged."""
        return self.log.read_text(errors="replace")

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self.process.poll() is not None

    def says(self, words: str, seconds: float = 30) -> None:
        """Wait until `words` are in its log."""
        until(lambda: words in self.text or self.ended, seconds, lambda: self.text[-3000:])
        assert words in self.text, self.text[-3000:]

    def open(self, seconds: float = 30) -> "WorkerProcess":
        """Wait until it works on partitions."""
        until(lambda: self.ended or self._ready(), seconds, lambda: self.text[-3000:])
        assert not self.ended, self.text[-3000:]
        return self

    def _ready(self) -> bool:
        return '"health": "' in self.text and self.get("/readyz")[0] == 200

    def get(self, path: str) -> tuple[int, str, str]:
        """Ask its port: status, content type, body."""
        address = re.findall(r'"health": "([^"]+)"', self.text)[-1]
        try:
            with urlopen(address + path, timeout=10) as answer:
                return answer.status, answer.headers["content-type"], answer.read().decode()
        except HTTPError as error:
            return error.code, error.headers["content-type"], error.read().decode()

    def health(self) -> dict[str, Any]:
        """Return what /healthz says."""
        found: dict[str, Any] = json.loads(self.get("/healthz")[2])
        return found

    def metric(self, sample: str, **labels: str) -> float:
        """Return the sum of the samples of that name that have these labels."""
        return sum(
            float(one.value)
            for family in self.families()
            for one in family.samples
            if one.name == sample and labels.items() <= one.labels.items()
        )

    def families(self) -> list[Metric]:
        """Return what /metrics says, read by the strict parser of OpenMetrics."""
        body = self.get("/metrics")[2]
        return list(text_string_to_metric_families(body))  # type: ignore[no-untyped-call]  # the library's

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def code(self, seconds: float = 40) -> int:
        """Wait for its end and return the exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds} s\n{self.text[-3000:]}") from None

    def stop(self, seconds: float = 40) -> int:
        """Ask it to drain and leave; return the exit code."""
        self.signal()
        return self.code(seconds)

    def kill(self) -> None:
        """End it whatever it does."""
        if not self.ended:
            self.process.kill()
        self.process.wait(10)
