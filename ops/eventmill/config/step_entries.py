"""The shape of a step in pipeline.yaml: one class per kind."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from eventmill.config import scalars
from eventmill_agents.filling import Filling

_ONE_KEY: Any = {"minProperties": 1, "maxProperties": 1}
_WHEN = "A condition, as a Jinja expression over `event`, `meta` and `result`. Where it is false, the step is left out."
_NAME = "The step's name in costs, dead letters and metrics. Default: "
_INTO = "A field of the result, or a name of yours that later steps see as `result.<name>` and that is not published."


class Section(BaseModel):
    """A map of the file: exactly these keys, no conversions but those of scalars.py."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class CiteSection(Section):
    """What an answer may cite."""

    field: scalars.FieldName = Field(description="The field of the answer: an id, or a list of ids.")
    from_: scalars.FieldName = Field(alias="from", description="Where a `retrieve` step before put its passages.")


class CompleteEntry(Section):
    """One structured answer of a chat model."""

    route: scalars.Text = Field(description="The route whose models are asked.")
    prompt: scalars.Text = Field(description="The prompt file, from the pipeline's folder.")
    fields: list[scalars.Text] | None = Field(
        default=None,
        min_length=1,
        description="The fields of the result that the model fills. Default: all that no other step's `fields` names.",
    )
    cite: CiteSection | None = Field(
        default=None, description="What the answer may cite: an answer that cites anything else is not used."
    )
    name: scalars.StepName | None = Field(default=None, description=f"{_NAME}`complete`.")
    when: scalars.Text | None = Field(default=None, description=_WHEN)

    @property
    def filling(self) -> Filling:
        """What the step fills."""
        return Filling(asks=True, fields=None if self.fields is None else tuple(self.fields))


class PythonEntry(Section):
    """One call of a function of yours."""

    function: scalars.Target = Field(description="`module:function`, imported from the pipeline's folder.")
    models: list[scalars.Text] = Field(default=[], description="The local models, of `models`, that it may use.")
    stores: list[scalars.Text] = Field(default=[], description="The stores, of `stores`, that it may use.")
    name: scalars.StepName | None = Field(default=None, description=f"{_NAME}the function's name.")
    when: scalars.Text | None = Field(default=None, description=_WHEN)

    @property
    def filling(self) -> Filling:
        """What the step fills."""
        return Filling(anything=True)


class ClassifyEntry(Section):
    """A label from a local model."""

    model: scalars.Text = Field(description="The model, one of `models`, with labels.")
    text: scalars.Text = Field(description="What is classified, as a Jinja template.")
    into: scalars.FieldName = Field(description=f"Where the label goes. {_INTO}")
    confidence: scalars.FieldName | None = Field(
        default=None, description="Where it goes how sure the model is, from 0 to 1; as `into`."
    )
    threshold: scalars.Share | None = Field(
        default=None,
        description="A label that is less sure is not taken, so that a later step fills the field. Default: all are.",
    )
    name: scalars.StepName | None = Field(default=None, description=f"{_NAME}`classify`.")
    when: scalars.Text | None = Field(default=None, description=_WHEN)

    @property
    def filling(self) -> Filling:
        """What the step fills."""
        return Filling(perhaps=(self.into,), surely=() if self.confidence is None else (self.confidence,))


class EmbedEntry(Section):
    """Vectors of a text."""

    model: scalars.Text | None = Field(
        default=None, description="The model, one of `models`. Default: that of the store."
    )
    text: scalars.Text = Field(description="What is embedded, as a Jinja template.")
    store: scalars.Text | None = Field(
        default=None, description="The store, one of `stores`, that gets each chunk of the text with its vector."
    )
    chunk_tokens: scalars.ChunkTokens | None = Field(
        default=None, description="The longest a chunk may be, in tokens. Default: as long as the model takes."
    )
    overlap: scalars.Whole = Field(default=0, description="Tokens that neighbouring chunks share.")
    into: scalars.FieldName | None = Field(
        default=None, description=f"Where the normalised mean of the chunks' vectors goes. {_INTO}"
    )
    name: scalars.StepName | None = Field(default=None, description=f"{_NAME}`embed`.")
    when: scalars.Text | None = Field(default=None, description=_WHEN)

    @property
    def filling(self) -> Filling:
        """What the step fills."""
        return Filling(surely=() if self.into is None else (self.into,))


class InferEntry(Section):
    """One run of any local model."""

    model: scalars.Text = Field(description="The model, one of `models`.")
    inputs: Annotated[dict[scalars.Text, scalars.Text], Field(min_length=1)] = Field(
        description="For each input of the model, a Jinja expression over `event`, `meta` and `result`."
    )
    outputs: Annotated[dict[scalars.Text, scalars.FieldName], Field(min_length=1)] = Field(
        description=f"For each output that is wanted, where it goes. {_INTO}"
    )
    name: scalars.StepName | None = Field(default=None, description=f"{_NAME}`infer`.")
    when: scalars.Text | None = Field(default=None, description=_WHEN)

    @property
    def filling(self) -> Filling:
        """What the step fills."""
        return Filling(surely=tuple(self.outputs.values()))


class RetrieveEntry(Section):
    """Stored passages that are near to a text."""

    store: scalars.Text = Field(description="The store, one of `stores`.")
    text: scalars.Text = Field(description="What is looked for, as a Jinja template.")
    into: scalars.FieldName = Field(
        description="Where the passages go, nearest first: each with `id`, `text`, `similarity`, `event_id` and "
        f"`source`. {_INTO}"
    )
    limit: scalars.Limit = Field(default=5, description="How many at most.")
    min_similarity: scalars.Similarity | None = Field(
        default=None, description="Passages less similar (cosine) are left out. Default: none is."
    )
    tenant: Literal["own", "any"] | None = Field(
        default=None,
        description="`own`: only passages of the event's tenant; `any`: of all. Default: `own` where the stage has a "
        "tenant field, else `any`.",
    )
    name: scalars.StepName | None = Field(default=None, description=f"{_NAME}`retrieve`.")
    when: scalars.Text | None = Field(default=None, description=_WHEN)

    @property
    def filling(self) -> Filling:
        """What the step fills."""
        return Filling(surely=(self.into,))


AnyEntry = CompleteEntry | PythonEntry | ClassifyEntry | EmbedEntry | InferEntry | RetrieveEntry


def _function_alone(value: Any) -> Any:
    return {"function": value} if isinstance(value, str) else value


class StepEntry(Section):
    """One step: a map with the kind of step as its only key."""

    model_config = ConfigDict(json_schema_extra=_ONE_KEY)

    classify: ClassifyEntry | None = Field(default=None, description="Label a text by a local model.")
    complete: CompleteEntry | None = Field(default=None, description="Ask a chat model for fields of the result.")
    embed: EmbedEntry | None = Field(default=None, description="Compute vectors of a text by a local model.")
    infer: InferEntry | None = Field(default=None, description="Run any local model on fields of the event.")
    python: Annotated[
        PythonEntry | None, BeforeValidator(_function_alone, json_schema_input_type=scalars.Target | PythonEntry)
    ] = Field(
        default=None, description="Call a function of yours: `module:function`, or a map with `function` and `name`."
    )
    retrieve: RetrieveEntry | None = Field(default=None, description="Find stored passages that are near to a text.")

    @model_validator(mode="after")
    def _one_kind(self) -> "StepEntry":
        if len(self._given()) != 1:
            *kinds, last = (f"`{kind}`" for kind in type(self).model_fields)
            raise PydanticCustomError("step", f"a step has exactly one kind: {', '.join(kinds)} or {last}")
        return self

    def _given(self) -> list[str]:
        return [kind for kind in type(self).model_fields if getattr(self, kind) is not None]

    @property
    def kind(self) -> str:
        """The step's kind, its key in the file."""
        return self._given()[0]

    @property
    def entry(self) -> AnyEntry:
        """What stands under that key."""
        chosen: AnyEntry = getattr(self, self.kind)
        return chosen
