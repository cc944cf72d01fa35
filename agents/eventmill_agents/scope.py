"""The names that expressions and templates of a pipeline see.

| name     | what it is                                                                                        |
|----------|---------------------------------------------------------------------------------------------------|
| `event`  | the fields of the event; `event.a.b` and `event["a"]["b"]` mean the same                          |
| `meta`   | where the event comes from: `id`, `tenant`, `key`, `topic`, `partition`, `offset`, `timestamp`    |
| `result` | the result's fields so far: those of the steps before                                             |

`meta.key` is the record's key as UTF-8 text (a byte that is not UTF-8 becomes U+FFFD), none without a key.
`meta.timestamp` is a datetime in UTC, none where the record has no timestamp.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from eventmill_schemas.events import Event, Fields

EVENT: Final = "event"
META: Final = "meta"
RESULT: Final = "result"

META_FIELDS: Final = ("id", "tenant", "key", "topic", "partition", "offset", "timestamp")

NO_FIELDS: Final[Fields] = {}

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Meta:
    """What an expression sees as `meta`. Computed on access, because most expressions do not ask."""

    __slots__ = ("_event",)

    def __init__(self, event: Event) -> None:
        self._event = event

    @property
    def id(self) -> str:
        """The event's id."""
        return self._event.id

    @property
    def tenant(self) -> str | None:
        """The event's tenant, None where the stage declares no tenant field."""
        return self._event.tenant

    @property
    def key(self) -> str | None:
        """The record's key as text."""
        key = self._event.record.key
        return None if key is None else key.decode("utf-8", "replace")

    @property
    def topic(self) -> str:
        """The input topic."""
        return self._event.record.source.topic

    @property
    def partition(self) -> int:
        """The input partition."""
        return self._event.record.source.partition

    @property
    def offset(self) -> int:
        """The input offset."""
        return self._event.record.source.offset

    @property
    def timestamp(self) -> datetime | None:
        """The record's timestamp in UTC; None where it has none, or one that is no date."""
        millis = self._event.record.timestamp_ms
        if millis < 0:
            return None
        try:
            return _EPOCH + timedelta(milliseconds=millis)
        except OverflowError:
            return None


def scope_of(event: Event, so_far: Fields = NO_FIELDS) -> dict[str, Any]:
    """Return the names for `event` and the result fields `so_far`."""
    return {EVENT: event.fields, META: Meta(event), RESULT: so_far}
