"""Logs of a worker: one JSON object per line, or readable lines on a terminal. Never payloads, never keys."""

import logging
import sys
from enum import StrEnum

import structlog

_QUIET = ("faust", "mode", "aiokafka", "faust.transport.drivers.aiokafka", "asyncio")
"""Libraries that log every rebalance step and, under load, many false alarms: only their errors are worth a line."""


class LogFormat(StrEnum):
    """AUTO: readable on a terminal, JSON elsewhere."""

    AUTO = "auto"
    JSON = "json"
    PLAIN = "plain"


def configure(log_format: LogFormat, stage: str, slot: str | None) -> None:
    """Send all logs of this process to stderr, with stage and slot on each line."""
    plain = log_format == LogFormat.PLAIN or (log_format == LogFormat.AUTO and sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if plain else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer], foreign_pre_chain=shared
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    structlog.contextvars.bind_contextvars(stage=stage, **({"slot": slot} if slot else {}))
