"""The state file of a local stack: what was chosen at the first start, and which processes are its parts."""

import json
import os
import secrets
import uuid
from base64 import urlsafe_b64encode
from dataclasses import asdict, dataclass, field
from pathlib import Path

from eventmill_schemas.errors import SetupError

_VERSION = 1


@dataclass(frozen=True)
class ProcessRecord:
    """A process that was started: its id, and when it started (seconds since the epoch)."""

    pid: int
    started: float


@dataclass
class State:
    """What a stack keeps between commands.

    `instance` marks the command lines of the stack's processes; `cluster_id` is Kafka's; `password` is that of the
    Postgres user `postgres`; `postgres_data` is the absolute path of the database cluster, "" until it is made.
    """

    instance: str
    cluster_id: str
    password: str = field(repr=False)
    postgres_data: str = ""
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, ProcessRecord] = field(default_factory=dict)

    def marker(self, part: str) -> str:
        """Return the text that only this stack's processes of this part have in their command lines."""
        return f"eventmill-{part}-{self.instance}"


def new_state() -> State:
    """Return the state of a stack that was never started."""
    return State(instance=secrets.token_hex(6), cluster_id=_cluster_id(), password=secrets.token_urlsafe(18))


def _cluster_id() -> str:
    # Kafka's argument parser takes an id that begins with "-" for an option.
    while True:
        text = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def read_state(file: Path) -> State | None:
    """Return what the file says, None if there is no file. Raises SetupError if it can't be understood."""
    try:
        text = file.read_text()
    except FileNotFoundError:
        return None
    try:
        found = json.loads(text)
        version = found.pop("version")
        if version != _VERSION:
            raise SetupError(
                f"{file} was written by another version of eventmill (format {version}, this one reads {_VERSION})",
                remedy="Stop that stack with the eventmill that started it, then remove the folder",
            )
        found["processes"] = {name: ProcessRecord(**record) for name, record in found["processes"].items()}
        return State(**found)
    except (ValueError, TypeError, KeyError, AttributeError) as problem:
        raise SetupError(
            f"{file} is damaged ({type(problem).__name__}: {problem})",
            remedy="Remove the folder to begin again, or choose another one with --folder",
        ) from problem


def write_state(file: Path, state: State) -> None:
    """Replace the file in one step: a reader, or a crash, sees the old state or the new one, never a part.

    Only the owner may read it, because it holds the Postgres password.
    """
    scratch = file.with_name(f"{file.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        json.dump({"version": _VERSION, **asdict(state)}, out, indent=1)
        out.flush()
        os.fsync(out.fileno())
    scratch.replace(file)
