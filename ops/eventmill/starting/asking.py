"""Asking a topic and the registry what its events are. Nothing is joined, committed or changed."""

from collections.abc import Mapping
from typing import Any

from eventmill.produce.schema import latest
from eventmill.produce.target import check_name
from eventmill.reading.topics import TopicReader
from eventmill.reading.values import Seen, ValueReader
from eventmill.starting.events import Events
from eventmill_connectors.kafka.offsets import Partition
from eventmill_connectors.kafka.positions import Span
from eventmill_schemas.errors import RegistryUnreachable, SetupError
from eventmill_schemas.events import RawRecord
from eventmill_schemas.pipeline import Format, Kafka

SAMPLES = 100


def ask(kafka: Kafka, topic: str) -> Events:
    """Return what `topic` and the registry tell: schema, format, the newest records, how many there are.

    Raises SetupError: there is no such topic, or nothing can be told about its events; KafkaUnreachable,
    RegistryUnreachable.
    """
    check_name(topic)
    reader = TopicReader(kafka, [topic])
    problems: list[str] = []

    def look(record: RawRecord) -> Seen | None:
        seen = values.see(record)
        if seen.problem is not None:
            problems.append(seen.problem)
        return seen if isinstance(seen.value, dict) else None

    try:
        with ValueReader(kafka.registry) as values:
            spans = _spans(reader)
            found = reader.last(SAMPLES, spans, look)
    finally:
        reader.close()
    count = sum(span.end - span.start for span in spans.values())
    framed = [seen for seen in found if seen.schema_id is not None]
    is_json = len(found) > 2 * len(framed)
    avro = None if is_json else _schema(kafka, topic)
    kept = [seen.value for seen in found if (seen.schema_id is None) == is_json and isinstance(seen.value, dict)]
    if avro is None and not kept:
        why = f": {problems[0]}" if problems else ""
        raise SetupError(
            f"nothing can be told about the events of {topic}{why}",
            remedy="Produce some first, or leave out `--topic` for an example",
        )
    return Events(topic, Format.JSON if is_json else Format.AVRO, avro, kept, count)


def _spans(reader: TopicReader) -> Mapping[Partition, Span]:
    try:
        return reader.spans()
    except SetupError as error:
        remedy = "Name a topic that is there, or leave out `--topic` for an example"
        raise SetupError(error.message, remedy=remedy) from None


def _schema(kafka: Kafka, topic: str) -> Mapping[str, Any] | None:
    """Return the topic's schema; None where the registry has none under the topic's name."""
    try:
        found = latest(kafka.registry, topic)
    except RegistryUnreachable as error:
        raise RegistryUnreachable(
            f"the schema of {topic} can't be asked for: {error.message}", remedy="Name it with `--registry URL`"
        ) from None
    except SetupError:   # what is there can't be used: the records have schemas of their own
        return None
    return None if found is None else found.avro
