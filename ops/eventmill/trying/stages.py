"""The stage that is meant."""

from eventmill_schemas.errors import UsageError
from eventmill_schemas.pipeline import Pipeline, Stage


def find_stage(pipeline: Pipeline, name: str) -> Stage:
    """Return the stage called `name`. Raises UsageError, naming those that there are."""
    try:
        return pipeline.stage(name)
    except KeyError:
        known = ", ".join(stage.name for stage in pipeline.stages)
        raise UsageError(f"the pipeline has no stage {name!r}", remedy=f"Its stages: {known}") from None
