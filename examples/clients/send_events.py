"""Send events to a pipeline with confluent-kafka alone: JSON lines on standard input, Avro in the topic.

    python send_events.py 127.0.0.1:9092 http://127.0.0.1:8081/apis/ccompat/v7 mails mail.avsc customer < mails.jsonl

The last argument is the field that becomes the record key: events of one key are handled in their order.
"""

import json
import sys
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

bootstrap, registry, topic, schema, key = sys.argv[1:]
serialize = AvroSerializer(SchemaRegistryClient({"url": registry}), Path(schema).read_text("utf-8"))
producer = Producer({
    "bootstrap.servers": bootstrap,
    "enable.idempotence": True,   # acknowledged by all in-sync replicas; a retry neither doubles nor reorders
    "partitioner": "murmur2_random",   # as Java's clients; librdkafka's own choice puts a key elsewhere
})
failed = []


def settled(error: KafkaError | None, _: Message) -> None:
    """Note what was not delivered."""
    if error is not None:
        failed.append(error)


for line in sys.stdin:
    event = json.loads(line)
    value = serialize(event, SerializationContext(topic, MessageField.VALUE))
    producer.produce(topic, value, str(event[key]), on_delivery=settled)
    producer.poll(0)
producer.flush()
if failed:
    sys.exit(f"{len(failed)} events were not delivered; the first: {failed[0].str()}")
