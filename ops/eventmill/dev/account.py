"""The account that Postgres runs under when we are root, because Postgres refuses root.

No account is made: an unprivileged one that every system has is used, and what it can't reach (a checkout under a
closed home folder) is put where it can.
"""

import os
import pwd
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventmill_schemas.errors import SetupError

_CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """An unprivileged account of the operating system."""

    name: str
    uid: int
    gid: int

    def as_child(self) -> dict[str, Any]:
        """Return the arguments of subprocess that run a child under this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can_enter(self, folder: Path) -> bool:
        """Whether the account may pass through this folder and every folder above it."""
        return all(self._may_pass(place.stat()) for place in (folder, *folder.parents))

    def own(self, folder: Path) -> None:
        """Give the folder, which must be empty, or the file to the account."""
        os.chown(folder, self.uid, self.gid)

    def _may_pass(self, found: os.stat_result) -> bool:
        if found.st_uid == self.uid:
            return bool(found.st_mode & stat.S_IXUSR)
        if found.st_gid == self.gid:
            return bool(found.st_mode & stat.S_IXGRP)
        return bool(found.st_mode & stat.S_IXOTH)


def unprivileged_account() -> Account | None:
    """Return the account for Postgres if we are root, None if our own account serves.

    Raises SetupError if the system has none of the usual ones.
    """
    if os.geteuid() != 0:
        return None
    for account in _existing():
        return account
    raise SetupError(
        f"Postgres does not run as root, and this system has no account named {' or '.join(_CANDIDATES)}",
        remedy="Run as an ordinary user, or name an external stack (EVENTMILL_KAFKA, _REGISTRY and _POSTGRES)",
    )


def make_open(folder: Path) -> None:
    """Make the folder, and what is missing above it, open to every account, whatever the umask is."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(exist_ok=True)
        place.chmod(0o755)


def _existing() -> Iterator[Account]:
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        yield Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
