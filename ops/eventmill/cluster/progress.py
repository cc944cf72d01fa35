"""How far consumer groups are: the stages of a pipeline, or any other group of its cluster."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from eventmill_connectors.kafka.groups import Groups, GroupState
from eventmill_connectors.kafka.settings import command_settings
from eventmill_schemas.errors import UsageError
from eventmill_schemas.pipeline import Kafka, Pipeline
from eventmill_streams.lag import GroupLag, LagReader, PartitionLag, Speed, Standing, speed
from eventmill_streams.slot import group_id

_TIMEOUT = 5.0
"""Seconds for one question about groups: who looks should not wait long to hear that nobody answers."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A group to look at. `stage` None: a foreign group, of which it is not known where it begins."""

    group: str
    stage: str | None
    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """A group at one moment. `speed` since the look before, None at the first."""

    watched: Watched
    state: GroupState
    lag: GroupLag
    speed: Speed | None

    def owner(self, partition: PartitionLag) -> str | None:
        """Return who works on a partition: the instance id of a member, else its client id; None: nobody."""
        place = (partition.topic, partition.partition)
        for member in self.state.members:
            if place in member.partitions:
                return member.instance_id or member.client_id
        return None

    def notes(self) -> list[str]:
        """Say what a person should know, most of all where the numbers mislead."""
        found = [
            f"{self.watched.group}: {p.topic}/{p.partition}: {meaning}"
            for p in self.lag.partitions
            if (meaning := _MEANINGS.get(p.standing)) is not None
        ]
        if self.watched.stage is None:
            return found
        foreign = [
            f"{p.topic}/{p.partition}" for p in self.lag.partitions if p.settled is None and p.committed is not None
        ]
        if foreign:
            found.append(
                f"{self.watched.group}: the text beside the committed offset of {', '.join(foreign)} is not "
                "eventmill's: another program commits for this group, and workers will refuse to start"
            )
        if self.lag.total.backlog and not self.state.members:
            found.append(
                f"{self.watched.group}: nobody works on it; start a worker: eventmill worker {self.watched.stage}"
            )
        return found


_MEANINGS = {
    Standing.PENDING: "a transaction that has not ended hides the committed offset; if this stays for a minute, the "
    "worker's log says what to do",
    Standing.BEFORE_START: "retention removed records before they were done",
    Standing.BEYOND_END: "the committed offset is beyond the end: the topic was made anew; new records are skipped "
    "until the group's offsets are set back",
    Standing.OFFLINE: "the partition has no leader now",
}


def stage_groups(pipeline: Pipeline) -> list[Watched]:
    """Return the groups of a pipeline's stages."""
    return [Watched(group_id(pipeline.name, stage.name), stage.name, stage.inputs) for stage in pipeline.stages]


class ProgressReader:
    """Looks at groups again and again. Blocks while it reads; raises KafkaUnreachable, SetupError."""

    def __init__(self, kafka: Kafka) -> None:
        self._groups = Groups(command_settings(kafka), timeout=_TIMEOUT)
        self._reader = LagReader(kafka)
        self._before: dict[str, tuple[float, GroupLag]] = {}

    def named(self, names: Sequence[str], stages: Sequence[Watched] = ()) -> list[Watched]:
        """Return groups by name: those of `stages`, others with the topics that they have committed for or read now.

        Raises UsageError for a group that is none of `stages` and has nothing to do with any topic.
        """
        own = {watched.group: watched for watched in stages}
        states = self._groups.describe([name for name in names if name not in own])
        return [own.get(name) or self._foreign(states[name], own) for name in dict.fromkeys(names)]

    def read(self, groups: Sequence[Watched]) -> list[Progress]:
        """Look at groups now, with the age of what is next."""
        states = self._groups.describe([watched.group for watched in groups])
        return [self._read(watched, states[watched.group]) for watched in groups]

    def close(self) -> None:
        """Let go of the clients without waiting."""
        self._reader.close()

    def _read(self, watched: Watched, state: GroupState) -> Progress:
        lag = self._reader.read(watched.group, watched.topics, ages=True, from_start=watched.stage is not None)
        now, before = time.monotonic(), self._before.get(watched.group)
        self._before[watched.group] = (now, lag)
        return Progress(watched, state, lag, None if before is None else speed(before[1], lag, now - before[0]))

    def _foreign(self, state: GroupState, own: Collection[str]) -> Watched:
        assigned = {topic for member in state.members for topic, _ in member.partitions}
        topics = sorted(assigned.union(self._groups.topics(state.group) if state.exists else ()))
        if not topics:
            raise UsageError(
                f"the group {state.group!r} "
                + ("has no committed offsets and no partitions" if state.exists else "is not known to Kafka"),
                remedy=f"Groups of this pipeline: {', '.join(own)}" if own else None,
            )
        return Watched(state.group, None, tuple(topics))
