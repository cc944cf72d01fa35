"""What was found out about one thing."""

from dataclasses import dataclass
from enum import StrEnum

from eventmill_schemas.errors import EventmillError


class Level(StrEnum):
    """OK: as it should be. WARN: it works, and may surprise. FAIL: a worker can't start or can't be right."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, and what to do where it is not OK."""

    check: str
    level: Level
    detail: str
    hint: str | None = None


def ok(check: str, detail: str) -> Finding:
    """Return a finding that is as it should be."""
    return Finding(check, Level.OK, detail)


def warn(check: str, detail: str, hint: str | None = None) -> Finding:
    """Return a finding that works and may surprise."""
    return Finding(check, Level.WARN, detail, hint)


def fail(check: str, detail: str, hint: str | None = None) -> Finding:
    """Return a finding that nothing can work with."""
    return Finding(check, Level.FAIL, detail, hint)


def failed(check: str, error: EventmillError) -> Finding:
    """Return what an error says as a finding."""
    return Finding(check, Level.FAIL, error.message, error.remedy)
