"""The step `retrieve`: stored passages that are near to a text, for the steps after it."""

from collections.abc import Callable, Mapping
from typing import Any

from eventmill_agents.names import ALL_NAMES, Known
from eventmill_agents.ports import Ports
from eventmill_agents.scope import scope_of
from eventmill_agents.template import TextTemplate
from eventmill_schemas.avro_types import definition, kind, named_types, record_fields, without_null
from eventmill_schemas.events import Event, Fields
from eventmill_schemas.local_models import Passage
from eventmill_schemas.pipeline import ResultSchema, RetrieveStep

PASSAGE_FIELDS = ("id", "text", "similarity", "event_id", "source")


class Retrieve:
    """Puts the passages into `into`, nearest first: each with `id`, `text`, `similarity`, `event_id` and `source`.

    `source` is `topic/partition@offset`. Where `into` is a field of the result, its records get those of these fields
    that they have; a list of texts gets the ids. Raises UsageError for a template that can't work.
    """

    def __init__(self, spec: RetrieveStep, result: ResultSchema, *, names: Known = ALL_NAMES) -> None:
        self._spec = spec
        self._text = TextTemplate(spec.text, label=f"`text` of step {spec.name!r}", names=names)
        self._shape = _shape(result.avro, spec.into)

    @property
    def name(self) -> str:
        """The step's name."""
        return self._spec.name

    async def run(self, event: Event, so_far: Fields, call: Ports) -> Fields:
        """Return the passages. Raises MissingEventField, TemplateFailed and what `Ports.search` raises."""
        spec = self._spec
        found = await call.search(
            spec.store,
            self._text.render(scope_of(event, so_far)),
            limit=spec.limit,
            min_similarity=spec.min_similarity,
            any_tenant=spec.any_tenant,
        )
        return {spec.into: [self._shape(passage) for passage in found]}


def _shape(avro: Mapping[str, Any], into: str) -> Callable[[Passage], Any]:
    """Return what makes of a passage an item of the field `into`."""
    wanted: tuple[str, ...] = PASSAGE_FIELDS
    field = record_fields(avro).get(into)
    if field is not None:
        names = named_types(avro)
        items = _items(definition(without_null(field["type"])[0], names))
        item = definition(items, names) if items is not None else None
        if item is None or kind(item) != "record":
            return lambda passage: passage.id
        assert isinstance(item, Mapping)   # noqa: S101 - for the type checker: records are declared in full
        wanted = tuple(name for name in PASSAGE_FIELDS if name in record_fields(item))
    return lambda passage: {name: _value(passage, name) for name in wanted}


def _items(avro_type: Any) -> Any:
    return avro_type.get("items") if isinstance(avro_type, Mapping) else None


def _value(passage: Passage, name: str) -> Any:
    value = getattr(passage, name)
    return str(value) if name == "source" else value
