"""The step `complete`: one structured model call that fills fields of the result."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from eventmill_agents.names import ALL_NAMES, Known
from eventmill_agents.ports import Ports
from eventmill_agents.prompt import PromptRenderer
from eventmill_agents.text import shorten
from eventmill_schemas.errors import InvalidReply
from eventmill_schemas.events import Event, Fields
from eventmill_schemas.json_answer import AnswerReader
from eventmill_schemas.json_schema import json_schema
from eventmill_schemas.pipeline import Cite, CompleteStep, ResultSchema


class Complete:
    """Asks a route's models for `fields` of `result`, by the step's prompt.

    `filled`: those of the fields that steps before may have filled; they are asked for where they were left open, and
    where nothing is open no call is made. `names`: which names and fields the prompt's templates may use. Raises
    PipelineFileError for a template that can't work, and for a field that a model can't answer.
    """

    def __init__(
        self,
        spec: CompleteStep,
        result: ResultSchema,
        fields: Sequence[str],
        *,
        filled: Collection[str] = (),
        names: Known = ALL_NAMES,
    ) -> None:
        self._spec = spec
        self._result = result
        self._reader = AnswerReader(result.avro)
        self._fields = tuple(fields)
        self._filled = frozenset(filled).intersection(fields)
        self._schemas = {self._fields: json_schema(result.avro, fields, result.file)}
        self._renderer = PromptRenderer(spec.prompt, spec.name, names=names)

    @property
    def name(self) -> str:
        """The step's name."""
        return self._spec.name

    async def run(self, event: Event, so_far: Fields, call: Ports) -> Fields:
        """Return the answered fields as Avro values.

        Raises MissingEventField and TemplateFailed (the prompt), what `Ports.complete` raises, and InvalidReply for
        an answer that follows the JSON Schema and still has no Avro value, such as the 31st of June, or that cites
        what was not found.
        """
        fields = self._fields
        if self._filled:
            fields = tuple(name for name in fields if name not in so_far)
            if not fields:
                return {}
        system, user = self._renderer.render(event, so_far)
        answer = await call.complete(
            route=self._spec.route,
            system=system,
            user=user,
            schema=self._schema(fields),
            prompt=self._renderer.label,
            parameters=self._spec.prompt.parameters,
        )
        if self._spec.cite is not None:
            _check_citations(answer, so_far, self._spec.cite)
        return {name: self._reader.read(name, answer[name]) for name in fields}

    def _schema(self, fields: tuple[str, ...]) -> dict[str, Any]:
        """Return the JSON Schema of an answer with `fields`, each one built once."""
        schema = self._schemas.get(fields)
        if schema is None:
            schema = self._schemas[fields] = json_schema(self._result.avro, fields, self._result.file)
        return schema


def _check_citations(answer: Mapping[str, Any], so_far: Fields, cite: Cite) -> None:
    cited = answer.get(cite.field) or ()
    known = {_id(passage) for passage in so_far.get(cite.source) or ()}
    for one in [cited] if isinstance(cited, str) else cited:
        if _id(one) not in known:
            shown = shorten(str(_id(one)), 80)
            raise InvalidReply(f"the answer cites {shown!r} in {cite.field!r}, which no passage was given as")


def _id(passage: Any) -> Any:
    return passage.get("id") if isinstance(passage, Mapping) else passage
