"""From a topic and a kind of warehouse to a connector."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from eventmill_connectors.connect.connector import Connector, Source
from eventmill_connectors.connect.references import References, names_in
from eventmill_connectors.connect.sinks import Sink, sink_settings
from eventmill_schemas.errors import UsageError
from eventmill_schemas.topics import topic_problem

_LONGEST_IDENTIFIER = 63   # of Postgres, which cuts longer ones without a word
_SHORTER = "Give the stage's topics shorter names: `topics:` in its settings"


@dataclass(frozen=True, slots=True)
class Options:
    """What all connectors of one call have in common.

    `values`: how values are decoded. `replication`: copies of the topics for records that can't be decoded; -1: as many
    as the broker usually makes. `own`: settings of the user's, which win; an empty one takes a setting out.
    """

    values: Mapping[str, str]
    references: References = field(default_factory=References)
    replication: int = -1
    own: Mapping[str, str] = field(default_factory=dict)


def connector(sink: Sink, source: Source, options: Options) -> Connector:
    """Return the connector that writes one topic into one warehouse.

    It reads committed records only, from the first one on. A record that can't be decoded goes to `<name>.dlq` with the
    reason in its headers. Raises UsageError where a name would be too long for Kafka or for the warehouse.
    """
    name = f"{source.topic}.{sink}"
    dead_letters = f"{name}.dlq"
    if (problem := topic_problem(dead_letters)) is not None:
        raise UsageError(f"the topic {dead_letters!r} {problem}", remedy=_SHORTER)
    if sink is Sink.POSTGRES and len(source.table) > _LONGEST_IDENTIFIER:
        raise UsageError(
            f"the table {source.table!r} has {len(source.table)} characters, Postgres takes {_LONGEST_IDENTIFIER}",
            remedy=_SHORTER,
        )
    config = {
        "tasks.max": "1",
        "topics": source.topic,
        # Bytes: a key that no converter understands is no reason to lose a record.
        "key.converter": "org.apache.kafka.connect.converters.ByteArrayConverter",
        **options.values,
        "consumer.override.isolation.level": "read_committed",
        "consumer.override.auto.offset.reset": "earliest",
        "errors.tolerance": "all",
        "errors.deadletterqueue.topic.name": dead_letters,
        "errors.deadletterqueue.topic.replication.factor": str(options.replication),
        "errors.deadletterqueue.context.headers.enable": "true",
        "errors.log.enable": "true",
        **sink_settings(sink, source, options.references, name),
        **options.own,
    }
    return Connector(name, {key: value for key, value in sorted(config.items(), key=_order) if value})


def needed(connector: Connector) -> tuple[str, ...]:
    """Return the names of the values that Connect's workers must have, each once."""
    return tuple(dict.fromkeys(name for value in connector.config.values() for name in names_in(value)))


def _order(item: tuple[str, str]) -> tuple[bool, str]:
    return item[0] != "connector.class", item[0]
