"""The step `embed`: vectors of a text, into a store and into the result."""

from collections.abc import Sequence
from math import isfinite, sqrt
from typing import Any

from eventmill_agents.names import ALL_NAMES, Known
from eventmill_agents.ports import Ports
from eventmill_agents.scope import scope_of
from eventmill_agents.template import TextTemplate
from eventmill_schemas.errors import InferenceFailed, MissingEventField
from eventmill_schemas.events import Event, Fields
from eventmill_schemas.local_models import Chunk
from eventmill_schemas.pipeline import EmbedStep


class Embed:
    """Cuts the rendered text into chunks and computes their vectors.

    The store gets every chunk, before the event's result is published; what it has unchanged is not computed again.
    `into` gets the normalised mean of the chunks' vectors, null for a blank text (`nullable`: the field takes it).
    Raises UsageError for a template that can't work.
    """

    def __init__(self, spec: EmbedStep, *, nullable: bool, names: Known = ALL_NAMES) -> None:
        self._spec = spec
        self._nullable = nullable
        self._text = TextTemplate(spec.text, label=f"`text` of step {spec.name!r}", names=names)

    @property
    def name(self) -> str:
        """The step's name."""
        return self._spec.name

    async def run(self, event: Event, so_far: Fields, call: Ports) -> Fields:
        """Return the mean vector, if the step fills a field.

        Raises MissingEventField (also: a blank text, and `into` takes no null), TemplateFailed, and what
        `Ports.encode` and `Ports.store` raise.
        """
        spec = self._spec
        text = self._text.render(scope_of(event, so_far))
        texts = await call.split(spec.model, text, max_tokens=spec.chunk_tokens, overlap=spec.overlap)
        stored = spec.store is not None and await call.unchanged(spec.store, texts)
        if spec.into is None and (stored or not texts):
            vectors: Sequence[Any] = ()
        else:
            vectors = [one.vector for one in await call.encode(spec.model, texts)] if texts else ()
        if any(vector is None for vector in vectors):
            raise InferenceFailed(f"the model {spec.model!r} gives no vectors")
        if spec.store is not None and not stored:
            await call.store(spec.store, [Chunk(*pair) for pair in zip(texts, vectors, strict=True)])
        return {} if spec.into is None else {spec.into: self._mean(vectors)}

    def _mean(self, vectors: Sequence[Any]) -> list[float] | None:
        if not vectors:
            if self._nullable:
                return None
            raise MissingEventField(
                f"step {self._spec.name!r}: the text is blank, and {self._spec.into!r} takes no null",
                remedy="Let the field be null, or leave such events out by `when`",
            )
        total = vectors[0]
        if len(vectors) > 1:
            for vector in vectors[1:]:
                total = total + vector
            length = sqrt(float(total @ total))
            if not (isfinite(length) and length > 0):
                raise InferenceFailed(f"step {self._spec.name!r}: the vectors of the chunks have no mean")
            total = total / length
        mean: list[float] = total.tolist()
        return mean
