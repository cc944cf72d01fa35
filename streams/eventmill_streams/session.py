"""One assignment of partitions to this replica."""

from dataclasses import dataclass, field

from eventmill_connectors.kafka.group_metadata import Member
from eventmill_streams.lane import Lane, Partition
from eventmill_streams.settlement import Settlement


@dataclass(slots=True)
class Session:
    """The membership as it was at assignment, and its lanes. `closed`: nothing of it can be committed any more."""

    member: Member
    lanes: dict[Partition, Lane[Settlement]] = field(default_factory=dict)
    closed: bool = False
