"""Sending events to a topic from a program, as `eventmill produce` does from a file."""

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import Producer as KafkaProducer

from eventmill.produce.schema import WriterSchema, latest, parse_schema, read_schema, register
from eventmill.produce.send import FIXED, sender_settings
from eventmill.produce.target import check_name, find_target, missing_topic
from eventmill_connectors.kafka.settings import command_settings
from eventmill_schemas.codec import AvroWriter
from eventmill_schemas.errors import NotDelivered, SetupError, UnstorableResult, UsageError
from eventmill_schemas.pipeline import Kafka
from eventmill_schemas.topics import subject

Headers = Sequence[tuple[str, str | bytes | None]]
Key = str | bytes | int | None

_FULL_WAIT = 0.1
_LOOK = 0.2
"""Seconds in which Ctrl-C is noticed while acknowledgements are waited for."""


class Producer:
    """Sends events to one topic: Avro values in Confluent's framing, every one acknowledged by all in-sync replicas.

    `schema` is an .avsc file or its parsed JSON, registered under `<topic>-value`; None: the latest that is registered
    there. Keys go to the partitions that Java's clients choose (murmur2), so events of one key keep their order,
    whoever sends them. `client` holds further librdkafka settings, such as those of security.

    Use it as a context manager: at the end of the block everything is acknowledged, or NotDelivered is raised. May be
    used from several threads. Blocks; in an event loop `send` does not wait unless 50,000 events are on their way.

    Raises UsageError for a file that is no schema, SetupError for a missing topic or schema, or where the registry
    refuses it; KafkaUnreachable, RegistryUnreachable.
    """

    def __init__(
        self,
        bootstrap: str,
        registry: str,
        topic: str,
        *,
        schema: str | Path | Mapping[str, Any] | None = None,
        client: Mapping[str, str] | None = None,
    ) -> None:
        check_name(topic)
        kafka = Kafka(bootstrap, registry, client or {})
        avro = None if schema is None else _given(schema)
        target = find_target(kafka, topic)
        if target is None:
            raise missing_topic(kafka, topic)
        self.topic = topic
        written = _registered(registry, topic, avro)
        self._writer = AvroWriter(written.text, written.schema_id)
        self._failed: list[str] = []
        self._closed = False
        settings = sender_settings(command_settings(kafka), target.max_bytes)
        try:
            self._producer = KafkaProducer(settings)
        except KafkaException as error:
            raise SetupError(
                f"the Kafka client's settings are wrong: {error.args[0].str()}",
                remedy=f"{', '.join(FIXED)} are eventmill's",
            ) from None

    @property
    def schema_id(self) -> int:
        """The id of the schema that events are written with."""
        return self._writer.schema_id

    def send(self, event: Mapping[str, Any], key: Key = None, *, headers: Headers = ()) -> None:
        """Hand over one event; it is on its way when this returns, and delivered when `flush` does.

        Values are Python's: datetime with zone, date, Decimal, UUID, bytes, enums as text. Nothing is rounded or bent
        to fit. Raises UsageError, naming the field, for an event that does not fit the schema or is larger than the
        topic takes; NotDelivered where events sent before were not delivered (this one is not sent then).
        """
        self._check()
        try:
            value = self._writer.encode(event)
        except UnstorableResult as error:
            raise UsageError(f"the event does not fit the schema of {self.topic}: {error.message}") from None
        raw = str(key) if isinstance(key, int) else key
        while True:
            try:
                self._producer.produce(self.topic, value, raw, headers=list(headers), on_delivery=self._settled(raw))
            except BufferError:
                self._producer.poll(_FULL_WAIT)
            except KafkaException as error:
                raise UsageError(f"Kafka does not take the event: {error.args[0].str()}") from None
            else:
                self._producer.poll(0)
                return

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything is acknowledged, at most `timeout` seconds; an event is given up after 30.

        Raises NotDelivered for what was not, and for what is still on its way after the timeout.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while left := self._producer.flush(_LOOK if end is None else max(0.0, min(_LOOK, end - time.monotonic()))):
            if end is not None and time.monotonic() >= end:
                break
        self._raise_failures()
        if left:
            raise NotDelivered(f"{left:,} events for {self.topic} are not acknowledged after {timeout} s")

    def close(self) -> None:
        """Flush, and take no more events."""
        self._closed = True
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except NotDelivered as undelivered:
            if error is None:
                raise
            error.add_note(str(undelivered))   # what went wrong first is what is raised

    def _check(self) -> None:
        if self._closed:
            raise UsageError(f"the producer of {self.topic} is closed")
        self._raise_failures()

    def _raise_failures(self) -> None:
        if self._failed:
            failed, self._failed = self._failed, []
            count = "1 event was" if len(failed) == 1 else f"{len(failed):,} events were"
            raise NotDelivered(f"{count} not delivered to {self.topic}; the first: {failed[0]}")

    def _settled(self, key: str | bytes | None) -> Any:
        def settled(error: KafkaError | None, _: Any) -> None:
            if error is not None:
                self._failed.append(f"key {key!r}: {error.str()}")

        return settled


def _given(schema: str | Path | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(schema, Mapping):
        return parse_schema(json.dumps(schema), "schema")
    return read_schema(Path(schema))


def _registered(url: str, topic: str, avro: Mapping[str, Any] | None) -> WriterSchema:
    """Register a schema, or find the latest; in a thread of its own, because the caller's may run an event loop."""
    with ThreadPoolExecutor(1) as thread:
        if avro is not None:
            return thread.submit(register, url, topic, avro).result()
        found = thread.submit(latest, url, topic).result()
    if found is None:
        raise SetupError(
            f"the registry has no schema for {topic} (subject {subject(topic)})",
            remedy="Give one: Producer(..., schema=FILE.avsc)",
        )
    return found
