"""This machine: Python, the installed packages, its limits."""

import re
import resource
import shutil
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path

from eventmill.doctor.finding import Finding, fail, failed, ok, warn
from eventmill_connectors.kafka.group_metadata import check_format
from eventmill_schemas.errors import SetupError

_PIN = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;]+)")
_FILES_BESIDE_CALLS = 256
"""Open files of a worker apart from its connections to models: Kafka, the registry, logs, libraries."""

_LITTLE_SPACE, _NO_SPACE = 2 << 30, 256 << 20


def python() -> Finding:
    """Compare the interpreter with what eventmill asks for."""
    wanted = metadata("eventmill")["Requires-Python"].removeprefix(">=")
    running = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < tuple(int(part) for part in wanted.split(".")[:2]):
        return fail(
            "python", f"{running}; eventmill needs {wanted}", f"Install eventmill into Python {wanted} or newer"
        )
    return ok("python", running)


def pins(requirements: Iterable[str]) -> dict[str, str]:
    """Return the versions of those requirements that allow exactly one, without those of extras."""
    found = (_PIN.fullmatch(text.strip()) for text in requirements)
    return {match[1]: match[2] for match in found if match is not None}


def installed(names: Iterable[str]) -> dict[str, str | None]:
    """Return the installed version of each package, None where it is missing."""

    def look(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    return {name: look(name) for name in names}


def packages(pinned: Mapping[str, str], found: Mapping[str, str | None]) -> Finding:
    """Compare packages whose inner workings eventmill stands on with the versions that it was tested with."""
    wrong = [
        f"{name} is {found.get(name) or 'missing'}, not {wanted}"
        for name, wanted in pinned.items()
        if found.get(name) != wanted
    ]
    if wrong:
        exact = " ".join(f'"{name}=={wanted}"' for name, wanted in pinned.items())
        return fail("packages", "; ".join(wrong), f"Install the pinned versions: pip install {exact}")
    return ok("packages", ", ".join(f"{name} {wanted}" for name, wanted in pinned.items()))


def fencing() -> Finding:
    """Check that replicas can be fenced: our group metadata is what the Kafka client makes."""
    try:
        check_format()
    except SetupError as error:
        return failed("fencing", error)
    return ok("fencing", "group metadata is as the Kafka client writes it")


def open_files(calls: int, limit: int | None = None) -> Finding:
    """Compare the limit of open files with what a worker with so many calls in flight needs. `limit` None: ours."""
    if limit is None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    needed = calls + _FILES_BESIDE_CALLS
    if limit != resource.RLIM_INFINITY and limit < needed:
        return warn(
            "open files", f"{limit} allowed, {calls} calls in flight may need {needed}", f"Raise it: ulimit -n {needed}"
        )
    return ok("open files", "no limit" if limit == resource.RLIM_INFINITY else f"{limit} allowed")


def disk(folder: Path, free: int | None = None) -> Finding:
    """Look at the space that is left where `folder` is, or will be. `free` in bytes; None: ask."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    if free is None:
        free = shutil.disk_usage(place).free
    text = f"{free / (1 << 30):.1f} GiB free at {place}"
    if free < _NO_SPACE:
        return fail("disk", text, "Free some: a local stack stops when its disk is full")
    if free < _LITTLE_SPACE:
        return warn("disk", text, "Free some before a local stack gets data")
    return ok("disk", text)
