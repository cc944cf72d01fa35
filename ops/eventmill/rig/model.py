"""The model stand-in as a process of its own, for as long as a run lasts."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from eventmill_schemas.errors import SetupError


@dataclass(frozen=True, slots=True)
class Model:
    """Who answers: what workers need in their environment, and the stand-in's address; None: a real provider."""

    environ: dict[str, str]
    ledger: str | None = None
    process_id: int | None = None


@contextmanager
def stand_in(*options: str) -> Iterator[Model]:
    """Run `eventmill dev model` for the block; it ends with it, also if this process is killed. Raises SetupError."""
    command = [sys.executable, "-m", "eventmill.cli", "dev", "model", "--json", "--parent", str(os.getpid()), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)  # noqa: S603 - our own
    try:
        line = process.stdout.readline() if process.stdout is not None else b""
        if not line:
            raise SetupError("the model stand-in did not start", remedy="`eventmill dev model` shows why")
        base_url = json.loads(line)["base_url"]
        environ = {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "stand-in"}
        yield Model(environ, base_url.removesuffix("/v1"), process.pid)
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()
