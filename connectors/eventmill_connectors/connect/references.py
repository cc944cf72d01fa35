"""Settings that a worker of Kafka Connect fills in: secrets and addresses stay out of connectors' configurations.

A worker replaces `${provider:path:key}` when a connector starts (KIP-297); its REST API, its topic of configurations
and our files show the reference only.
"""

import re
from dataclasses import dataclass
from typing import Self

from eventmill_schemas.errors import UsageError

_FILE = re.compile(r"file:(/[^:}]+)")


@dataclass(frozen=True, slots=True)
class References:
    """Where workers have the values: in their environment, or in a properties file at `file`."""

    file: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what `env` or `file:/absolute/path` means. Raises UsageError for anything else."""
        if text == "env":
            return cls()
        found = _FILE.fullmatch(text)
        if found is None:
            raise UsageError(
                f"'{text}' is not a place of secrets",
                remedy="Say env, or file:/path with the path of a properties file as Connect's workers see it",
            )
        return cls(found[1])

    def to(self, name: str) -> str:
        """Return the reference to the value called `name`."""
        return f"${{env:{name}}}" if self.file is None else f"${{file:{self.file}:{name}}}"


def names_in(text: str) -> tuple[str, ...]:
    """Return the names of all values that `text` refers to, in their order."""
    return tuple(re.findall(r"\$\{(?:env|file:[^:}]+):([^:}]+)\}", text))
