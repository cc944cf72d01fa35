"""The step `classify`: a local model's label for a text, where it is sure enough."""

from typing import Any

from eventmill_agents.names import ALL_NAMES, Known
from eventmill_agents.ports import Ports
from eventmill_agents.scope import scope_of
from eventmill_agents.template import TextTemplate
from eventmill_schemas.errors import InferenceFailed
from eventmill_schemas.events import Event, Fields
from eventmill_schemas.pipeline import ClassifyStep


class Classify:
    """Puts the label of the rendered text into `into` and how sure the model is (0 to 1) into `confidence`.

    With a threshold, a label less sure than that is left out, so that a later step can fill the field. A blank text has
    no label, and confidence 0. Raises UsageError for a template that can't work.
    """

    def __init__(self, spec: ClassifyStep, *, names: Known = ALL_NAMES) -> None:
        self._spec = spec
        self._text = TextTemplate(spec.text, label=f"`text` of step {spec.name!r}", names=names)

    @property
    def name(self) -> str:
        """The step's name."""
        return self._spec.name

    async def run(self, event: Event, so_far: Fields, call: Ports) -> Fields:
        """Return label and confidence. Raises MissingEventField, TemplateFailed and what `Ports.encode` raises."""
        spec = self._spec
        text = self._text.render(scope_of(event, so_far))
        label, confidence = await self._classified(text, call) if text.strip() else (None, 0.0)
        fields: dict[str, Any] = {}
        if label is not None and (spec.threshold is None or confidence >= spec.threshold):
            fields[spec.into] = label
        if spec.confidence is not None:
            fields[spec.confidence] = confidence
        return fields

    async def _classified(self, text: str, call: Ports) -> tuple[str, float]:
        (encoded,) = await call.encode(self._spec.model, [text])
        if encoded.label is None or encoded.confidence is None:
            raise InferenceFailed(f"the model {self._spec.model!r} gives no labels: it has no head")
        return encoded.label, encoded.confidence
