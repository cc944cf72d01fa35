"""The step `infer`: one run of any local model, from fields of the event to fields of the result."""

from collections.abc import Collection, Mapping
from typing import Any

from eventmill_agents.condition import Expression
from eventmill_agents.names import ALL_NAMES, Known
from eventmill_agents.ports import Ports
from eventmill_agents.scope import scope_of
from eventmill_schemas.avro_types import definition, kind, named_types, record_fields, without_null
from eventmill_schemas.errors import InferenceFailed, InvalidReply
from eventmill_schemas.events import Event, Fields
from eventmill_schemas.json_answer import AnswerReader
from eventmill_schemas.pipeline import InferStep, ResultSchema


class Infer:
    """Evaluates the inputs, runs the model, reads its outputs by the types of the result's fields.

    A field that is no list takes an output with one value. A working value is the output as it is. Raises UsageError
    for an expression that can't work.
    """

    def __init__(
        self, spec: InferStep, result: ResultSchema, answers: Collection[str], *, names: Known = ALL_NAMES
    ) -> None:
        self._spec = spec
        self._reader = AnswerReader(result.avro)
        self._inputs = {
            name: Expression(text, label=f"input {name!r} of step {spec.name!r}", names=names)
            for name, text in spec.inputs.items()
        }
        self._declared = frozenset(answers)
        self._lists = frozenset(_lists(result.avro))

    @property
    def name(self) -> str:
        """The step's name."""
        return self._spec.name

    async def run(self, event: Event, so_far: Fields, call: Ports) -> Fields:
        """Return the outputs. Raises MissingEventField, TemplateFailed, InferenceFailed and UnstorableResult."""
        scope = scope_of(event, so_far)
        inputs = {name: expression.evaluate(scope) for name, expression in self._inputs.items()}
        outputs = await call.infer(self._spec.model, inputs)
        return {field: self._value(output, field, outputs) for output, field in self._spec.outputs.items()}

    def _value(self, output: str, field: str, outputs: Mapping[str, Any]) -> Any:
        if output not in outputs:
            raise InferenceFailed(
                f"the model {self._spec.model!r} has no output {output!r}", remedy=f"It has: {', '.join(outputs)}"
            )
        value = outputs[output]
        if field not in self._declared:
            return value
        if field not in self._lists:
            value = _single(value)
        try:
            return self._reader.read(field, value)
        except InvalidReply as error:
            message = error.message.replace("the answer's field", "the field")
            raise InferenceFailed(f"output {output!r} of step {self._spec.name!r}: {message}") from None


def _single(value: Any) -> Any:
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value


def _lists(avro: Mapping[str, Any]) -> list[str]:
    names = named_types(avro)
    fields = record_fields(avro).items()
    return [
        name for name, field in fields if kind(definition(without_null(field["type"])[0], names)) in {"array", "union"}
    ]
