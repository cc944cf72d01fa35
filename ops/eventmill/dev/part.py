"""What the supervisor needs to know about one server of the local stack."""

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from eventmill.dev.account import Account

Report = Callable[[str], None]


@dataclass(frozen=True)
class Command:
    """How a program is run. `environment` is all that it gets; `folder` None: where we are; `account` None: as us."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    folder: Path | None = None
    account: Account | None = None


class Part(Protocol):
    """One server: how to prepare, start, ask and stop it. It keeps no state of its own.

    `ports` names the ports it listens on, that of its clients first. `stop_signal` ends it in order. `needed_by` names
    the parts that are started after it works, ended before it is, and know its port from their own start.
    """

    name: ClassVar[str]
    ports: ClassVar[tuple[str, ...]]
    stop_signal: ClassVar[signal.Signals]
    needed_by: ClassVar[tuple[str, ...]]

    @property
    def port(self) -> int:
        """The port that its clients use."""

    def prepare(self) -> None:
        """Make what its start needs: data folder at the first start, settings at each. Raises StackFailed."""

    def command(self) -> Command:
        """Return how it is started."""

    def complaint(self) -> str | None:
        """Ask it for real work, within about two seconds. Return None if it does it, else what was wrong."""

    def settle(self) -> None:
        """Do once what needs the running server. Raises StackFailed."""


def bare_environment() -> dict[str, str]:
    """Return the few variables a server needs of ours: no keys, no settings meant for another program."""
    return {name: os.environ[name] for name in ("PATH", "LANG", "TZ", "HOME") if name in os.environ}
