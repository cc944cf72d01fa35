"""Live progress: bars on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from eventmill.demo.outputs import Outputs

_PLAIN_EVERY = 2.0
"""Seconds between two plain lines."""


class Display:
    """Shows how far the stages are. `events`: how many the first of them gets."""

    def __init__(self, stages: tuple[str, ...], events: int, say: Callable[[str], None]) -> None:
        self._events = events
        self._say = say
        self._said_at = 0.0
        self._progress: Progress | None = None
        self._bars: dict[str, TaskID] = {}
        if sys.stderr.isatty():
            self._progress = Progress(
                TextColumn("{task.description:>10}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
            )
            for stage in stages:
                self._bars[stage] = self._progress.add_task(stage, total=None, note="")

    def __enter__(self) -> Self:
        """Begin to show."""
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the last state on the screen."""
        if self._progress is not None:
            self._progress.stop()

    def update(self, outputs: Outputs, totals: dict[str, int | None]) -> None:
        """Show the present state. `totals`: the events of each stage, None where it is not known yet."""
        if self._progress is None:
            self._plain(outputs)
            return
        for stage, bar in self._bars.items():
            output = outputs.stages[stage]
            note = f"{output.dead_letters} dead letters" if output.dead_letters else ""
            done = output.results + output.dead_letters
            self._progress.update(bar, completed=done, total=totals.get(stage), note=note)

    def _plain(self, outputs: Outputs) -> None:
        now = time.monotonic()
        if now - self._said_at < _PLAIN_EVERY:
            return
        self._said_at = now
        parts = [f"{name}: {o.results} results, {o.dead_letters} dead letters" for name, o in outputs.stages.items()]
        self._say(f"{'; '.join(parts)}; spent {outputs.cost:.6f} USD")
