"""Row N9: how long it takes until there is something to work with."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from eventmill.bench.rows import Row
from eventmill.dev.stack import Stack
from eventmill_schemas.errors import StackFailed

_TIMES = 5
_HEAVY = ("torch", "transformers", "fastapi")
_IMPORTS = """
import json, sys, time
import eventmill.cli.worker
print(json.dumps([time.process_time(), [name for name in {heavy!r} if name in sys.modules]]))
"""
_GOAL_IMPORTS, _GOAL_DEMO, _GOAL_STACK, _GOAL_MEMORY = 1.5, 60.0, 10.0, 800.0


def imports() -> Row:
    """Import what a worker imports, in fresh interpreters; the first of them may have to write bytecode."""
    command = [sys.executable, "-c", _IMPORTS.format(heavy=_HEAVY)]
    found = []
    for _ in range(_TIMES + 1):
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own command
        found.append(json.loads(done.stdout))
    seconds, heavy = [one[0] for one in found[1:]], found[0][1]
    return Row(
        "N9",
        "a worker's imports",
        f"< {_GOAL_IMPORTS:g} s CPU, none of {', '.join(_HEAVY)}",
        f"{median(seconds):.2f} s CPU, {' and '.join(heavy) or 'none of these'}",
        median(seconds),
        median(seconds) < _GOAL_IMPORTS and not heavy,
        {"seconds": seconds, "heavy": heavy},
    )


def demo(root: Path, say: Callable[[str], None]) -> Row:
    """Run the demo as a user would, without a key and with a local stack of its own."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("EVENTMILL_", "OPENAI_"))}
    say("$ eventmill demo")
    with TemporaryDirectory() as folder:
        file = Path(folder) / "demo.json"
        command = [sys.executable, "-m", "eventmill.cli", "demo", "--json", str(file)]
        began = time.monotonic()
        done = subprocess.run(  # noqa: S603 - our own command
            command, cwd=root, env=ours, capture_output=True, text=True, check=False
        )
        seconds = time.monotonic() - began
        if done.returncode != 0:
            raise StackFailed(f"the demo failed:\n{done.stderr.strip()[-2000:]}")
        figures = json.loads(file.read_text())
    return Row(
        "N9",
        "the demo, warm",
        f"< {_GOAL_DEMO:g} s",
        f"{seconds:.1f} s ({figures['seconds']:.1f} s of it the workers)",
        seconds,
        seconds < _GOAL_DEMO,
        figures,
    )


def stack(seconds: float, folder: Path) -> list[Row]:
    """Return the rows of a local stack in `folder` that was up before, and has just come up again in `seconds`."""
    memory = sum(part.memory_mib or 0.0 for part in Stack(folder).status())
    return [
        Row(
            "N9",
            "the local stack, warm",
            f"< {_GOAL_STACK:g} s",
            f"{seconds:.1f} s",
            seconds,
            seconds < _GOAL_STACK,
        ),
        Row(
            "N9",
            "its memory after the start",
            f"< {_GOAL_MEMORY:g} MB",
            f"{memory:.0f} MiB",
            memory,
            memory * 1.048576 < _GOAL_MEMORY,
        ),
    ]
