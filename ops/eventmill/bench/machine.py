"""On what a benchmark ran: the number means nothing without it."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import psutil  # type: ignore[import-untyped]  # psutil ships no types

_PACKAGES = ("eventmill", "confluent-kafka", "aiokafka", "faust-streaming", "aiohttp", "fastavro", "uvloop")


def machine() -> dict[str, Any]:
    """Return cores, memory, system, versions, the date and how busy the machine is with other work."""
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / (1 << 30), 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _PACKAGES},
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "load": [round(load, 1) for load in os.getloadavg()],
    }
