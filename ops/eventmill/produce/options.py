"""What is asked of a production."""

from dataclasses import dataclass
from pathlib import Path

from eventmill_schemas.pipeline import Format


@dataclass(frozen=True, slots=True)
class Options:
    """How rows become events.

    `schema`: an .avsc file, registered for the topic; None: the latest that the registry has. `key` and `id`: fields of
    the event; without `key` records have none. `events`: that many in all, the file repeated as often as it takes;
    `repeat`: the file so many times; from the second time on, ids end in -r2, -r3, ... `rate`: events per second, None:
    no limit. `create_partitions`: creates a missing topic. `skip_bad`: lines that are no event are passed over.
    """

    value_format: Format = Format.AVRO
    schema: Path | None = None
    key: str | None = None
    id: str | None = None
    ce_headers: bool = False
    events: int | None = None
    repeat: int = 1
    rate: float | None = None
    create_partitions: int | None = None
    skip_bad: bool = False

    @property
    def repeats(self) -> bool:
        """Whether the file may be read more than once."""
        return self.repeat > 1 or self.events is not None
