"""What a worker opens for a stage with local models, and what it refuses to start with."""

from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from eventmill.local_parts import open_local
from eventmill_schemas.errors import ModelUnusable, UsageError
from eventmill_schemas.pipeline import (
    ClassifyStep,
    Format,
    Kafka,
    LocalModel,
    Pipeline,
    ResultSchema,
    Stage,
    StepSpec,
)


def pipeline(model: LocalModel, *steps: StepSpec, **settings: Any) -> tuple[Pipeline, Stage]:
    """Return a pipeline with one model and one stage."""
    result = ResultSchema({"type": "record", "name": "R", "fields": [{"name": "label", "type": "string"}]}, "r.avsc")
    stage = Stage("s", ("t",), Format.JSON, None, None, None, steps, result)
    return Pipeline("p", "/p", Kafka("k:1", "http://r"), (stage,), {}, models={model.name: model}, **settings), stage


async def opened(found: tuple[Pipeline, Stage]) -> Any:
    """Open what the stage needs."""
    async with AsyncExitStack() as stack:
        return await open_local(*found, watch=None, opened=stack, warn=print)  # type: ignore[arg-type]  # nothing is loaded


CLASSIFY = ClassifyStep("c", "mini", "x", "label")


async def test_a_stage_without_local_models_opens_nothing() -> None:
    """Neither models nor stores, whatever the pipeline declares."""
    assert await opened(pipeline(LocalModel("mini", "/nowhere"))) is None


async def test_a_model_without_price_is_refused() -> None:
    """Before anything is loaded, unless unknown costs are allowed."""
    with pytest.raises(UsageError, match="no price is known for the local model 'mini'"):
        await opened(pipeline(LocalModel("mini", "/nowhere"), CLASSIFY))
    with pytest.raises(ModelUnusable, match="/nowhere"):
        await opened(pipeline(LocalModel("mini", "/nowhere"), CLASSIFY, allow_unpriced=True))


async def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The message has the model's name in the pipeline, its folder and the command that makes it."""
    model = LocalModel("mini", str(tmp_path / "mini"), price_per_hour=Decimal(1))
    with pytest.raises(ModelUnusable) as caught:
        await opened(pipeline(model, CLASSIFY))
    assert str(caught.value).startswith(f"model 'mini': there is no model at {tmp_path / 'mini'}")
    assert "eventmill models build" in str(caught.value)
