"""Read the results of a stage with confluent-kafka alone: nothing of eventmill is needed.

    pip install 'confluent-kafka[avro,schemaregistry]'
    python read_results.py 127.0.0.1:9092 http://127.0.0.1:8081/apis/ccompat/v7 mail.triage.results

Works for the costs topic too. Prints one JSON object per record, up to the present end.
"""

import json
import sys

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

bootstrap, registry, topic = sys.argv[1:]
deserialize = AvroDeserializer(SchemaRegistryClient({"url": registry}))
consumer = Consumer({
    "bootstrap.servers": bootstrap,
    "group.id": "read-results-example",   # wanted by the library; with assign() nothing is joined
    "isolation.level": "read_committed",   # results of transactions that were aborted never happened
    "enable.auto.commit": False,
    "enable.partition.eof": True,
})
partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
if not partitions:
    sys.exit(f"there is no topic {topic}")
consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
left = set(partitions)
while left:
    message = consumer.poll(10)
    if message is None:
        sys.exit("no broker answers")
    if message.error() is None:
        value = deserialize(message.value(), SerializationContext(topic, MessageField.VALUE))
        place = f"{message.partition()}@{message.offset()}"
        key = None if message.key() is None else message.key().decode()
        print(json.dumps({"at": place, "key": key, "value": value}, default=str))
    elif message.error().code() == KafkaError._PARTITION_EOF:
        left.discard(message.partition())
    else:
        sys.exit(message.error().str())
consumer.close()
