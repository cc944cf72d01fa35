"""What the model in the worker said of each event, as it stands in the results."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from eventmill_schemas.codec import AvroReader, frame
from eventmill_schemas.pipeline import ClassifyStep, Stage
from eventmill_schemas.result_schema import published, schema_text

if TYPE_CHECKING:
    from eventmill_connectors.onnx.calibration import Measures

TRUTH = "label"
"""The field of a result that holds the label which a person gave, where there is one."""


class Verdict(NamedTuple):
    """A label with its confidence. `truth` None: nobody said what is right."""

    said: str
    confidence: float
    truth: str | None


class Verdicts:
    """Reads the verdicts out of a stage's results; none where the stage keeps no confidence."""

    def __init__(self, stage: Stage) -> None:
        steps = [step for step in stage.steps if isinstance(step, ClassifyStep) and step.confidence is not None]
        self.step = steps[0] if steps else None
        self.all: list[Verdict] = []
        self._reader = AvroReader(schema_text(published(stage.result.avro, stage.result.file)))

    @property
    def sure(self) -> int:
        """How many were taken at their word: all, where the step has no threshold."""
        threshold = (self.step.threshold if self.step else None) or 0.0
        return sum(verdict.confidence >= threshold for verdict in self.all)

    def measures(self) -> "Measures | None":
        """Hold the labels against those that people gave; None where nobody gave any."""
        known = [verdict for verdict in self.all if verdict.truth is not None]
        if not known:
            return None
        import numpy as np  # noqa: PLC0415 - it takes a while, and is only for those who have labels

        from eventmill_connectors.onnx.calibration import measure  # noqa: PLC0415 - brings numpy

        right = np.array([verdict.said == verdict.truth for verdict in known])
        return measure(np.array([verdict.confidence for verdict in known]), right)

    def take(self, value: bytes) -> None:
        """Read one result."""
        if self.step is None or self.step.confidence is None:
            return
        fields: Mapping[str, Any] = self._reader.decode(frame(value)[1])
        truth = fields.get(TRUTH)
        self.all.append(Verdict(str(fields[self.step.into]), float(fields[self.step.confidence]), truth))
