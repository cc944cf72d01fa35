"""The step `complete`: one structured model call that fills fields of the result."""

from collections.abc import Sequence

from eventmill_agents.names import ALL_NAMES, Known
from eventmill_agents.ports import Ports
from eventmill_agents.prompt import PromptRenderer
from eventmill_schemas.events import Event, Fields
from eventmill_schemas.json_answer import AnswerReader
from eventmill_schemas.json_schema import json_schema
from eventmill_schemas.pipeline import CompleteStep, ResultSchema


class Complete:
    """Asks a route's models for `fields` of `result`, by the step's prompt.

    `names`: which names and fields the prompt's templates may use. Raises PipelineFileError for a template
    that can't work, and for a field that a model can't answer.
    """

    def __init__(
        self, spec: CompleteStep, result: ResultSchema, fields: Sequence[str], *, names: Known = ALL_NAMES
    ) -> None:
        self._spec = spec
        self._reader = AnswerReader(result.avro)
        self._fields = tuple(fields)
        self._schema = json_schema(result.avro, fields, result.file)
        self._renderer = PromptRenderer(spec.prompt, spec.name, names=names)

    @property
    def name(self) -> str:
        """The step's name."""
        return self._spec.name

    async def run(self, event: Event, so_far: Fields, call: Ports) -> Fields:
        """Return the answered fields as Avro values.

        Raises MissingEventField and TemplateFailed (the prompt), what `Ports.complete` raises, and InvalidReply for
        an answer that follows the JSON Schema and still has no Avro value, such as the 31st of June.
        """
        system, user = self._renderer.render(event, so_far)
        answer = await call.complete(
            route=self._spec.route,
            system=system,
            user=user,
            schema=self._schema,
            prompt=self._renderer.label,
            parameters=self._spec.prompt.parameters,
        )
        return {name: self._reader.read(name, answer[name]) for name in self._fields}
