"""The offsets are committed in a transaction of their own, before the records: what fails in between is lost."""

from collections.abc import Sequence
from typing import Any

from eventmill_connectors.kafka import transaction

_whole = transaction._transact


def _in_two(producer: Any, records: Sequence[Any], offsets: Sequence[Any], member: Any) -> Any:
    _whole(producer, [], offsets, member)
    return _whole(producer, records, offsets, member)


transaction._transact = _in_two
