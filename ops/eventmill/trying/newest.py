"""The newest records of a stage's inputs: read as any consumer would, outside of every group."""

from eventmill.reading.topics import TopicReader
from eventmill.reading.values import Seen
from eventmill_schemas.errors import SetupError
from eventmill_schemas.events import RawRecord
from eventmill_schemas.pipeline import Kafka, Stage


def newest(kafka: Kafka, stage: Stage, count: int) -> list[RawRecord]:
    """Return the last `count` committed records of all inputs of `stage`, by their times; fewer where there are fewer.

    Raises SetupError: an input is missing, or holds nothing; KafkaUnreachable.
    """
    reader = TopicReader(kafka, stage.inputs)
    try:
        found = reader.last(count, reader.spans(), lambda record: Seen(record, None))
    finally:
        reader.close()
    if not found:
        names = " and ".join(stage.inputs)
        raise SetupError(f"there are no records in {names}", remedy="Produce some, or try a file with `--from FILE`")
    return [seen.record for seen in found]
