"""What can be changed in a cluster, as values: each says what it does in one line, and as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eventmill_schemas.topics import TopicSpec


@dataclass(frozen=True, slots=True)
class CreateTopic:
    """Make a topic that is missing. `role` says what it is for."""

    spec: TopicSpec
    role: str

    def line(self) -> str:
        """Say it."""
        settings = "".join(f", {name}={value}" for name, value in self.spec.config.items())
        return f"create topic {self.spec.name}: {_partitions(self.spec.partitions)}{settings} ({self.role})"

    def document(self) -> dict[str, Any]:
        """Return it as data."""
        return {
            "change": "create_topic",
            "topic": self.spec.name,
            "partitions": self.spec.partitions,
            "config": dict(self.spec.config),
        }


@dataclass(frozen=True, slots=True)
class GrowTopic:
    """Give a topic more partitions: it can't be undone."""

    topic: str
    partitions: int
    now: int

    def line(self) -> str:
        """Say it."""
        return f"grow topic {self.topic}: from {self.now} to {_partitions(self.partitions)}, as its input has"

    def document(self) -> dict[str, Any]:
        """Return it as data."""
        return {"change": "grow_topic", "topic": self.topic, "partitions": self.partitions, "now": self.now}


@dataclass(frozen=True, slots=True)
class ConfigureTopic:
    """Change settings of a topic that the pipeline can't do with."""

    topic: str
    settings: Mapping[str, str]
    now: Mapping[str, str]

    def line(self) -> str:
        """Say it."""
        changed = ", ".join(f"{name} from {self.now[name]} to {value}" for name, value in self.settings.items())
        return f"configure topic {self.topic}: {changed}"

    def document(self) -> dict[str, Any]:
        """Return it as data."""
        return {
            "change": "configure_topic",
            "topic": self.topic,
            "config": dict(self.settings),
            "now": dict(self.now),
        }


@dataclass(frozen=True, slots=True)
class RegisterSchema:
    """Register a schema. `level`: the compatibility level set before, for a new subject; None: the subject's stays.

    `after` is the version that is the newest now, None where there is none.
    """

    subject: str
    schema: str
    level: str | None
    after: int | None

    def line(self) -> str:
        """Say it."""
        if self.after is None:
            return f"register schema {self.subject}: first version, compatibility {self.level}"
        return f"register schema {self.subject}: a new version after {self.after}"

    def document(self) -> dict[str, Any]:
        """Return it as data."""
        return {
            "change": "register_schema",
            "subject": self.subject,
            "schema": self.schema,
            "compatibility": self.level,
            "after_version": self.after,
        }


Change = CreateTopic | GrowTopic | ConfigureTopic | RegisterSchema


def _partitions(count: int) -> str:
    return "1 partition" if count == 1 else f"{count} partitions"
