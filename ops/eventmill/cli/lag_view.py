"""How lag is shown: rows of a table, a line of a log, a JSON document. Pure: values in, text out."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from eventmill.cluster.progress import Progress
from eventmill_streams.lag import Speed, Total

COLUMNS = ("topic", "partition", "committed", "end", "high", "lag", "settled", "backlog", "age", "owner")
ON_SCREEN = ("topic", "partition", "lag", "settled", "backlog", "age", "owner")  # as much as 80 characters take


def head(progress: Progress) -> str:
    """Return the line above a group's table: who it is, whether anybody works, how fast."""
    watched, state, pace = progress.watched, progress.state, progress.speed
    members = len(state.members)
    words = [
        f"{watched.group}:",
        "never ran" if not state.exists else state.state.replace("_", " "),
        f"({members} member{'' if members == 1 else 's'})",
    ]
    if pace is not None:
        words.append(f"  {_pace(pace)}")
    return " ".join(words)


def rows(progress: Progress) -> list[tuple[Any, ...]]:
    """Return the rows of a group's table, in the order of COLUMNS: every partition, and the sums."""
    made: list[tuple[Any, ...]] = []
    totals = progress.lag.by_topic()
    for topic, total in totals.items():
        for p in progress.lag.partitions:
            if p.topic == topic:
                numbers = (p.committed, p.end, p.high_watermark, p.lag, p.settled, p.backlog)
                made.append((p.topic, p.partition, *numbers, duration(p.seconds), progress.owner(p)))
        made.append(_total_row(f"{topic} in all" if len(totals) > 1 else "in all", total))
    if len(totals) > 1:
        made.append(_total_row("in all", progress.lag.total))
    return made


def line(progress: Progress, at: datetime) -> str:
    """Return a group at one moment as one line, for logs."""
    total = progress.lag.total
    parts = [
        f"{at:%H:%M:%S}",
        progress.watched.group,
        progress.state.state if progress.state.exists else "never_ran",
        f"members={len(progress.state.members)}",
        f"lag={total.lag}",
        f"backlog={total.backlog}",
        f"age={duration(total.seconds) or 'unknown'}",
    ]
    if total.unknown:
        parts.append(f"unknown_partitions={total.unknown}")
    if progress.speed is not None:
        parts.append(_pace(progress.speed))
    return "  ".join(parts)


def document(found: Sequence[Progress], at: datetime) -> dict[str, Any]:
    """Return groups at one moment as data."""
    return {"time": at, "groups": [_group(progress) for progress in found]}


def duration(seconds: float | None) -> str | None:
    """Return a span of time in the two largest units that it has, None for one that is not known."""
    if seconds is None:
        return None
    if seconds < 59.95:  # else it would be written as 60.0 s
        return f"{seconds:.1f} s" if seconds else "0 s"
    whole = round(seconds)
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "m"), (whole % 60, "s")]
    first = next(index for index, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2])


def _group(progress: Progress) -> dict[str, Any]:
    return {
        "group": progress.watched.group,
        "stage": progress.watched.stage,
        "state": progress.state.state,
        "members": progress.state.members,
        "total": progress.lag.total,
        "topics": progress.lag.by_topic(),
        "partitions": progress.lag.partitions,
        "speed": progress.speed,
        "notes": progress.notes(),
    }


def _total_row(name: str, total: Total) -> tuple[Any, ...]:
    return (name, None, None, None, None, total.lag, total.settled, total.backlog, duration(total.seconds), None)


def _pace(pace: Speed) -> str:
    text = f"settled {pace.settled:.1f}/s, arriving {pace.arrived:.1f}/s"
    if pace.drained_in is None:
        return f"{text}, not catching up"
    return f"{text}, done in {duration(pace.drained_in)}" if pace.drained_in else text
