"""Read what a committed reader sees of topics, and the ledger of the model's server. Plain clients only."""

import json
import time
import uuid
from collections.abc import Mapping
from io import BytesIO
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import fastavro
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from checking.evidence import Call, Fields, Record

BATCH = 1000
POLL = 0.1            # seconds that one call waits for a full batch
HTTP_TIMEOUT = 15.0   # seconds
FRAME = 5             # Confluent framing: a zero byte and the schema id as a big-endian int32


class CannotCheckError(Exception):
    """Nothing can be judged: an address, a topic or a schema is not there, or it is away for too long."""


class TopicContent(NamedTuple):
    """All committed records of a topic, and the partitions where records wait behind an open transaction."""

    records: list[Record]
    partitions: int
    open_transactions: list[str]


class Registry:
    """Writer schemas by id, from the registry's REST address."""

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")
        self._schemas: dict[int, Any] = {}

    def decode(self, value: bytes | None) -> Fields | None:
        """Decode an Avro value in Confluent framing, or a JSON object; None where it is neither.

        Raises CannotCheckError where the registry does not answer.
        """
        if value is None:
            return None
        try:
            return self._avro(value) if value[:1] == b"\0" else _json_object(value)
        except CannotCheckError:
            raise
        except Exception:   # noqa: BLE001 - fastavro raises whatever the bytes lead it to; all of it means "not decodable"
            return None

    def _avro(self, value: bytes) -> Fields | None:
        schema = self._schema(int.from_bytes(value[1:FRAME], "big"))
        if schema is None or len(value) < FRAME:
            return None
        stream = BytesIO(value[FRAME:])
        decoded = fastavro.schemaless_reader(stream, schema, None)
        return decoded if isinstance(decoded, dict) and not stream.read(1) else None

    def _schema(self, number: int) -> Any:
        if number not in self._schemas:
            answer = fetch_json(f"{self._address}/schemas/ids/{number}", missing_ok=True)
            self._schemas[number] = None if answer is None else fastavro.parse_schema(json.loads(answer["schema"]))
        return self._schemas[number]


def _json_object(value: bytes) -> Fields | None:
    decoded = json.loads(value)
    return decoded if isinstance(decoded, dict) else None


def fetch_json(address: str, *, missing_ok: bool = False) -> Any:
    """GET `address` without any proxy; None for a 404 where that is an answer. Raises CannotCheckError."""
    try:
        with build_opener(ProxyHandler({})).open(address, timeout=HTTP_TIMEOUT) as response:
            return json.load(response)
    except (URLError, TimeoutError, OSError, ValueError) as problem:
        if missing_ok and getattr(problem, "code", None) == 404:
            return None
        raise CannotCheckError(f"{address}: {problem}") from problem


def read_topic(
    bootstrap: str, topic: str, registry: Registry, timeout: float, client: Mapping[str, str] | None = None
) -> TopicContent:
    """Read a topic from its beginning to where a read_committed reader's end is now.

    The end is known from the end-of-partition event, whose offset passes commit markers and aborted records; a reader
    that waits for the last record would wait for ever where the tail is one of those.
    Raises CannotCheckError: no such topic, no broker, or nothing arrives for `timeout` seconds.
    """
    consumer = Consumer(
        {
            **(client or {}),
            "bootstrap.servers": bootstrap,
            "group.id": f"checker-{uuid.uuid4()}",   # required by the client; nothing is ever committed
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 50,   # the broker holds back "there is no more" for that long
            "allow.auto.create.topics": False,
            "log_level": 0,   # what fails is raised, once
        }
    )
    try:
        count = _partitions(consumer, topic, timeout)
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(count)])
        records, ends = _to_the_end(consumer, topic, count, timeout)
    finally:
        consumer.close()
    decoded = [record._replace(fields=registry.decode(record.value)) for record in records]
    return TopicContent(decoded, count, _waiting(bootstrap, topic, ends, timeout, client))


def _partitions(consumer: Consumer, topic: str, timeout: float) -> int:
    try:
        found = consumer.list_topics(topic, timeout=timeout).topics[topic]
    except KafkaException as problem:
        raise CannotCheckError(f"Kafka does not answer: {problem.args[0].str()}") from problem
    if found.error is not None:
        raise CannotCheckError(f"topic {topic}: {found.error.str()}")
    return len(found.partitions)


def _to_the_end(consumer: Consumer, topic: str, count: int, timeout: float) -> tuple[list[Record], dict[int, int]]:
    records: list[Record] = []
    ends: dict[int, int] = {}
    last_news = time.monotonic()
    while len(ends) < count:
        messages = consumer.consume(BATCH, POLL)
        if messages:
            last_news = time.monotonic()
        elif time.monotonic() - last_news > timeout:
            missing = sorted(set(range(count)) - ends.keys())
            raise CannotCheckError(f"topic {topic}: partitions {missing} were not read to their end in {timeout:g} s")
        for message in messages:
            error = message.error()
            if error is None:
                if message.partition() not in ends:   # what came after the end belongs to a later check
                    records.append(_record(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                ends.setdefault(message.partition(), message.offset())
            else:
                raise CannotCheckError(f"topic {topic}: {error.str()}")
    return records, ends


def _record(message: Any) -> Record:
    return Record(
        topic=message.topic(),
        partition=message.partition(),
        offset=message.offset(),
        key=message.key(),
        value=message.value(),
        headers=tuple(message.headers() or ()),
    )


def _waiting(
    bootstrap: str, topic: str, ends: Mapping[int, int], timeout: float, client: Mapping[str, str] | None
) -> list[str]:
    """Partitions whose log goes on behind the end that a committed reader sees."""
    # A read_committed consumer is told the last stable offset in place of the end of the log.
    reader = Consumer(
        {
            **(client or {}),
            "bootstrap.servers": bootstrap,
            "group.id": f"checker-{uuid.uuid4()}",
            "isolation.level": "read_uncommitted",
            "log_level": 0,
        }
    )
    try:
        waiting = []
        for partition, end in sorted(ends.items()):
            _, log_end = reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=timeout)
            if log_end > end:
                waiting.append(f"{topic}/{partition}: {log_end - end} records and markers after offset {end}")
        return waiting
    finally:
        reader.close()


def read_ledger(address: str, since: int = 0) -> list[Call]:
    """Read the ledger's entries after sequence number `since`. Raises CannotCheckError."""
    ledger = fetch_json(f"{address.rstrip('/')}/_ledger?entries=1")
    try:
        calls = [Call(**{name: entry[name] for name in Call._fields}) for entry in ledger["entries"]]
        total = int(ledger["calls"])
    except (KeyError, TypeError) as problem:
        raise CannotCheckError(f"{address}/_ledger: not a ledger: {problem!r}") from problem
    if len(calls) != total:
        raise CannotCheckError(f"{address}/_ledger: {len(calls)} entries for {total} calls; amounts can't be compared")
    return [call for call in calls if call.sequence > since]
