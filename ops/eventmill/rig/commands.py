"""Commands of eventmill, run as a user would run them."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping

from eventmill_schemas.errors import StackFailed, UsageError

_USAGE = 2


def run_command(say: Callable[[str], None], environ: Mapping[str, str], *arguments: str) -> str:
    """Run `eventmill ...` with `environ` added, and return its output. `say` is told the command line.

    Raises UsageError with the command's own message and remedy where the user must mend something, StackFailed for the
    rest.
    """
    say(f"$ {shlex.join(['eventmill', *arguments])}")
    command = [sys.executable, "-m", "eventmill.cli", *arguments]
    done = subprocess.run(  # noqa: S603 - our own command
        command, env={**os.environ, **environ}, capture_output=True, text=True, check=False
    )
    if done.returncode == _USAGE:
        message, _, remedy = done.stderr.strip().removeprefix("error: ").partition("\n")
        raise UsageError(message, remedy=remedy or None)
    if done.returncode != 0:
        raise StackFailed(f"eventmill {arguments[0]} failed:\n{(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout
