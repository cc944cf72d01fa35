"""What people touch: command line, pipeline file, local stack, benchmarks; and the client for programs."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventmill.client import CostRecord, Producer, Result, costs, results

__all__ = ["CostRecord", "Producer", "Result", "costs", "results"]


def __getattr__(name: str) -> Any:
    """Import the client when it is used: commands that need none of it start without Kafka's library."""
    if name in __all__:
        from eventmill import client  # noqa: PLC0415 - see above

        return getattr(client, name)
    raise AttributeError(f"module 'eventmill' has no attribute {name!r}")
