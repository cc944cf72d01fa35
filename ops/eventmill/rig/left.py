"""How much a stage has still to do."""

from eventmill_schemas.pipeline import Pipeline
from eventmill_streams.lag import LagReader
from eventmill_streams.slot import group_id


def events_left(reader: LagReader, pipeline: Pipeline, stage: str) -> int | None:
    """Return how many offsets of its inputs a stage has not finished; None while a pending transaction hides some."""
    total = reader.read(group_id(pipeline.name, stage), pipeline.stage(stage).inputs).total
    return None if total.unknown else total.lag
