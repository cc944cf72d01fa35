"""Group membership as librdkafka wants it in `send_offsets_to_transaction`: what fences a replica that was replaced.

The bytes are librdkafka's own serialisation of ConsumerGroupMetadata (rd_kafka_consumer_group_metadata_write), private
format version 2: `CGMDv2:` + int32 generation (native) + group NUL + member id NUL + 0x01, or 0x00 + instance id NUL.
They are built here because the group's member is Faust's aiokafka consumer, while the producer is librdkafka's.
"""

import struct
from dataclasses import dataclass

from confluent_kafka import Consumer

from eventmill_schemas.errors import SetupError


@dataclass(frozen=True, slots=True)
class Member:
    """A membership, captured at assignment. It is never read again at commit time: a rebalance changes it meanwhile."""

    group: str
    generation: int
    member_id: str
    instance_id: str | None = None

    def to_bytes(self) -> bytes:
        """Serialise as librdkafka does."""
        instance = b"\x01" if self.instance_id is None else b"\x00" + self.instance_id.encode() + b"\0"
        head = b"CGMDv2:" + struct.pack("=i", self.generation)
        return head + self.group.encode() + b"\0" + self.member_id.encode() + b"\0" + instance


def check_format() -> None:
    """Compare our bytes with those that the library itself makes; raise SetupError where they differ.

    Called at start: with another format a commit could not be fenced, and two replicas could settle one event.
    """
    for instance_id in (None, "i-1"):
        config = {"group.id": "g"} | ({"group.instance.id": instance_id} if instance_id else {})
        consumer = Consumer(config)
        try:
            made = bytes(consumer.consumer_group_metadata())
        finally:
            consumer.close()
        expected = Member("g", -1, "", instance_id).to_bytes()
        if made != expected:
            raise SetupError(
                f"confluent-kafka serialises group metadata as {made!r}, not as {expected!r}",
                remedy="Install the confluent-kafka version that eventmill pins",
            )
