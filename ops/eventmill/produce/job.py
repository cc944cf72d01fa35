"""Producing a file to a topic."""

from collections.abc import Callable

from eventmill.produce.options import Options
from eventmill.produce.prepare import Plan, check_options
from eventmill.produce.report import ProduceReport, Progress, Skipped
from eventmill.produce.run import Listeners, Run
from eventmill.produce.schema import WriterSchema, latest, missing_schema, read_schema, register
from eventmill.produce.send import Sender
from eventmill.produce.source import Reader, Source
from eventmill.produce.target import check_name, create_target, find_target, missing_topic
from eventmill_connectors.kafka.settings import command_settings
from eventmill_schemas.pipeline import Format, Kafka

DEFAULT_OPTIONS = Options()


def produce(
    kafka: Kafka,
    topic: str,
    source: Source,
    options: Options = DEFAULT_OPTIONS,
    *,
    on_progress: Callable[[Progress], None] = lambda _: None,
    on_skipped: Callable[[Skipped], None] = lambda _: None,
) -> ProduceReport:
    """Produce the rows of `source` to `topic`; return when every in-sync replica has acknowledged all of them.

    Blocks; not for use inside an event loop. `on_progress` is called a few times per second, and once more at the end
    where KeyboardInterrupt ends it.

    Records keep the order of the rows within a partition. Nothing after a line that is no event is produced, unless
    such lines are skipped. Raises InputFileError with the line and how to go on; UsageError and SetupError;
    KafkaUnreachable, RegistryUnreachable.
    """
    check_name(topic)
    check_options(source, options)
    given = None if options.schema is None else read_schema(options.schema)
    reader = Reader(source)
    try:
        reader.open()
        target = find_target(kafka, topic)
        if target is None and options.create_partitions is None:
            raise missing_topic(kafka, topic)
        schema: WriterSchema | None = None
        if options.value_format == Format.AVRO and given is None:
            schema = latest(kafka.registry, topic)
            given = None if schema is not None else reader.own_schema
            if schema is None and given is None:
                raise missing_schema(topic)
        plan = Plan(source, options, given if schema is None else schema.avro)
        reader.begin(plan.check_header)
        if target is None:
            target = create_target(kafka, topic, options.create_partitions or 1)
        if given is not None:
            schema = register(kafka.registry, topic, given)
        sender = Sender(command_settings(kafka), topic, target.max_bytes)
        run = Run(source, reader, plan.encoder(topic, schema), sender, target, options)
        seconds = run.complete(Listeners(on_progress, on_skipped))
    finally:
        reader.close()
    return ProduceReport(
        topic,
        events=sender.acknowledged,
        bytes=sender.acknowledged_bytes,
        seconds=seconds,
        per_second=sender.acknowledged / seconds if seconds else 0.0,
        schema_id=None if schema is None else schema.schema_id,
        skipped=run.skipped,
        without_key=run.without_key,
        created_partitions=target.created_partitions,
    )
