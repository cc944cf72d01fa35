"""Stops a local stack when the process that started it is gone, however it ended.

A process of its own, because kill -9 leaves nobody else to do it.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from eventmill.dev.stack import Stack

_LOOK_EVERY = 0.5


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Guard the stack in `folder` for as long as this process lives. Terminate the guard to keep the stack."""
    return subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "eventmill.dev.guard", str(folder), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def main(folder: str, parent: str) -> None:
    """Wait until our parent is not `parent` any more, then stop the stack."""
    while os.getppid() == int(parent):
        time.sleep(_LOOK_EVERY)
    Stack(Path(folder)).down()


if __name__ == "__main__":
    main(*sys.argv[1:])
