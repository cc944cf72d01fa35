"""Consumer groups as the cluster has them: state, members, and for which topics they have committed.

As in admin.py an AdminClient lives for one use, because one that lives through a broker restart was seen to spin.
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import ConsumerGroupState, ConsumerGroupTopicPartitions, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from eventmill_connectors.kafka.admin import TIMEOUT, unreachable
from eventmill_connectors.kafka.offsets import Partition
from eventmill_schemas.errors import SetupError

_COORDINATOR_MOVES = (
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.NOT_COORDINATOR,
)
"""What brokers say for a moment: after a restart, and when the first question of all makes the offsets topic."""

_AGAIN = 0.1   # seconds until the coordinator is asked again

_AWAY = (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN)


@dataclass(frozen=True, slots=True)
class GroupMember:
    """One consumer of a group. `instance_id` None: a dynamic member."""

    member_id: str
    instance_id: str | None
    client_id: str
    host: str
    partitions: tuple[Partition, ...]


@dataclass(frozen=True, slots=True)
class GroupState:
    """A group as its coordinator has it.

    `state` is Kafka's word in lower case: stable, empty, preparing_rebalancing, completing_rebalancing, or dead where
    there is no such group.
    """

    group: str
    state: str
    members: tuple[GroupMember, ...]

    @property
    def exists(self) -> bool:
        """Whether the coordinator knows the group."""
        return self.state != "dead"


class Groups:
    """Looks at groups. `client` holds librdkafka settings; `timeout` is for one request, in seconds."""

    def __init__(self, client: Mapping[str, Any], *, timeout: float = TIMEOUT) -> None:
        self._config = dict(client)
        self._timeout = timeout

    def describe(self, names: Collection[str]) -> dict[str, GroupState]:
        """Return every group of `names`, unknown ones as dead.

        A coordinator that is just moving is waited for, up to the timeout. Raises KafkaUnreachable, SetupError (not
        allowed, or no coordinator).
        """
        found: dict[str, GroupState] = {}
        end = time.monotonic() + self._timeout
        while missing := [name for name in names if name not in found]:
            admin = AdminClient(self._config)
            futures = admin.describe_consumer_groups(missing, request_timeout=self._timeout)
            for name, future in futures.items():
                state = self._described(name, future, last=time.monotonic() > end)
                if state is not None:
                    found[name] = state
            if len(found) < len(set(names)):
                time.sleep(_AGAIN)
        return found

    def topics(self, group: str) -> tuple[str, ...]:
        """Return the topics that the group has committed offsets for. Raises as `describe` does.

        Only for groups that `describe` found: where the group has no coordinator, librdkafka 2.16 ends the process.
        """
        admin = AdminClient(self._config)
        asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)], request_timeout=self._timeout)
        try:
            found = asked[group].result(self._timeout + 5)
        except KafkaException as error:
            raise self._refused(group, error) from error
        return tuple(sorted({partition.topic for partition in found.topic_partitions}))

    def _described(self, name: str, future: Any, *, last: bool) -> GroupState | None:
        try:
            found = future.result(self._timeout + 5)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return GroupState(name, "dead", ())
            if error.args[0].code() in _COORDINATOR_MOVES and not last:
                return None
            raise self._refused(name, error) from error
        return GroupState(name, _word(found.state), tuple(_member(member) for member in found.members))

    def _refused(self, group: str, error: KafkaException) -> Exception:
        reason = error.args[0]
        if reason.code() in _AWAY:
            return unreachable(self._config)
        return SetupError(f"Kafka does not tell about the group {group}: {reason.name()} {reason.str()}".rstrip())


def _word(state: ConsumerGroupState) -> str:
    return str(state.name).lower()


def _member(member: Any) -> GroupMember:
    assigned = member.assignment.topic_partitions if member.assignment is not None else []
    return GroupMember(
        member.member_id,
        member.group_instance_id or None,
        member.client_id,
        member.host.removeprefix("/"),
        tuple(sorted((partition.topic, partition.partition) for partition in assigned)),
    )
