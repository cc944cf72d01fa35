"""A connector as values: its name and its configuration; and the topic that it reads."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_NO_IDENTIFIER = re.compile(r"[^a-z0-9_]")


@dataclass(frozen=True, slots=True)
class Connector:
    """A connector of Kafka Connect. All settings are text, as its REST API has them."""

    name: str
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Source:
    """A topic that goes into a warehouse; `key` is the field that identifies a record in it."""

    topic: str
    key: str

    @property
    def table(self) -> str:
        """The table's name: the topic's in lower case, with _ for what SQL does not take without quotes."""
        name = _NO_IDENTIFIER.sub("_", self.topic.lower())
        return f"_{name}" if name[0].isdigit() else name
