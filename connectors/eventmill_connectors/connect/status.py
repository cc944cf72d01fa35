"""How a connector is. Its own state says little: when all its tasks have died, it is RUNNING still."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

RUNNING, FAILED = "RUNNING", "FAILED"


@dataclass(frozen=True, slots=True)
class Part:
    """A connector's own part, or one of its tasks. `state` is Connect's word; `trace` is there where it failed."""

    state: str
    worker: str
    trace: str | None = None

    @property
    def reason(self) -> str | None:
        """The first line of the trace, and the cause that is farthest down in it; None where nothing failed."""
        if not self.trace:
            return None
        lines = self.trace.splitlines()
        causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
        return lines[0] if not causes else f"{lines[0]} Cause: {causes[-1]}"


@dataclass(frozen=True, slots=True)
class Status:
    """A connector and its tasks, as they were when they were looked at."""

    name: str
    connector: Part
    tasks: tuple[Part, ...]

    @property
    def works(self) -> bool:
        """Whether it moves records: the connector runs, and so do all of its tasks, of which there is at least one."""
        return bool(self.tasks) and all(part.state == RUNNING for part in (self.connector, *self.tasks))

    @property
    def failed(self) -> bool:
        """Whether the connector or a task has failed: it stays so until it is restarted."""
        return any(part.state == FAILED for part in (self.connector, *self.tasks))

    @property
    def complaint(self) -> str | None:
        """What is wrong, in one line; None where it works."""
        for label, part in (("the connector", self.connector), *((f"task {n}", t) for n, t in enumerate(self.tasks))):
            if part.reason is not None:
                return f"{label} is {part.state}: {part.reason}"
        for label, part in (("the connector", self.connector), *((f"task {n}", t) for n, t in enumerate(self.tasks))):
            if part.state != RUNNING:
                return f"{label} is {part.state}"
        return None if self.tasks else "it has no tasks"


def parse_status(document: Mapping[str, Any]) -> Status:
    """Return a status as the REST API tells it. Raises KeyError or TypeError where it does not look like one."""
    return Status(
        name=document["name"],
        connector=_part(document["connector"]),
        tasks=tuple(_part(task) for task in sorted(document["tasks"], key=lambda task: int(task["id"]))),
    )


def _part(document: Mapping[str, Any]) -> Part:
    return Part(document["state"], document.get("worker_id", ""), document.get("trace") or None)
