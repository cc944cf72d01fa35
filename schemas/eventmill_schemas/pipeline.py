"""A pipeline as values: what the YAML file means once it is read, checked and its files are loaded. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any


class Format(StrEnum):
    """How the values of an input topic are encoded."""

    AVRO = "avro"   # Confluent framing: 0x00, schema id, Avro
    JSON = "json"


class Order(StrEnum):
    """KEY: at most one event per (input partition, key) at a time. NONE: no order."""

    KEY = "key"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ModelRef:
    """One model of a route. `base_url` None: the provider's public address, or its usual environment variable."""

    provider: str
    model: str
    base_url: str | None = None
    timeout: timedelta = timedelta(seconds=120)   # for one attempt, from sending to the last byte


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt file: front matter and a Jinja template. `version` is declared, else a hash of the text."""

    name: str
    version: str
    system: str
    user: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    file: str = ""


class Device(StrEnum):
    """Where a local model computes."""

    CPU = "cpu"
    CUDA = "cuda"


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model that runs in the worker. `path`: the absolute folder of its versions, or of one of them.

    `require_gpu`: without the GPU that `device` asks for, the worker refuses to start instead of computing on the CPU.
    `price_per_hour`: USD per hour of one busy thread (cpu) or of the device (cuda); None: not known.
    """

    name: str
    path: str
    device: Device = Device.CPU
    threads: int = 2
    require_gpu: bool = True
    price_per_hour: Decimal | None = None


class VectorIndex(StrEnum):
    """How a store finds neighbours. NONE: by looking at every vector, exactly."""

    HNSW = "hnsw"
    IVFFLAT = "ivfflat"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class VectorStore:
    """Vectors of one model with their texts, in Postgres. Stores of one `table` are told apart by their names."""

    name: str
    model: str
    index: VectorIndex = VectorIndex.HNSW
    table: str = "eventmill_vectors"


@dataclass(frozen=True, slots=True)
class Cite:
    """`field` of the answer may name only ids of the passages that a step before left in `source`."""

    field: str
    source: str


@dataclass(frozen=True, slots=True)
class CompleteStep:
    """One structured model call. `fields`: the result fields it fills; None: all that nobody else fills.

    Of these it asks for those that no step before has filled for the event. `when`, here and below: a Jinja expression
    over event, meta and result; where it is false, the step is left out.
    """

    name: str
    route: str
    prompt: Prompt
    fields: tuple[str, ...] | None = None
    cite: Cite | None = None
    when: str | None = None


@dataclass(frozen=True, slots=True)
class PythonStep:
    """A user's function `module:function`, imported from the pipeline's folder.

    `models` and `stores`: the local models and vector stores that it may use.
    """

    name: str
    target: str
    when: str | None = None
    models: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClassifyStep:
    """A local model's label for a text. `text` is a Jinja template.

    `into` and `confidence` name fields of the result, or working values. With `threshold`, a label that is less sure
    is not taken.
    """

    name: str
    model: str
    text: str
    into: str
    confidence: str | None = None
    threshold: float | None = None
    when: str | None = None


@dataclass(frozen=True, slots=True)
class EmbedStep:
    """Vectors of a text in chunks: into the store `store`, their mean into the field or working value `into`.

    `chunk_tokens`, with special tokens: None: as many as the model takes. `overlap`: tokens that chunks share.
    """

    name: str
    model: str
    text: str
    store: str | None = None
    chunk_tokens: int | None = None
    overlap: int = 0
    into: str | None = None
    when: str | None = None


@dataclass(frozen=True, slots=True)
class InferStep:
    """One run of any local model: `inputs` are Jinja expressions by input, `outputs` where each output goes."""

    name: str
    model: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    when: str | None = None


@dataclass(frozen=True, slots=True)
class RetrieveStep:
    """Passages of `store` whose vectors are nearest to that of `text`, into `into`.

    `any_tenant`: also those of other tenants than the event's. `min_similarity`: cosine.
    """

    name: str
    store: str
    text: str
    into: str
    limit: int = 5
    min_similarity: float | None = None
    any_tenant: bool = False
    when: str | None = None


StepSpec = CompleteStep | PythonStep | ClassifyStep | EmbedStep | InferStep | RetrieveStep


@dataclass(frozen=True, slots=True)
class ResultSchema:
    """The user's .avsc file: `avro` is the parsed JSON, `file` where it came from."""

    avro: Mapping[str, Any]
    file: str


@dataclass(frozen=True, slots=True)
class Stage:
    """One consumer group. `inputs` are full topic names."""

    name: str
    inputs: tuple[str, ...]
    format: Format
    id_field: str | None          # None: topic/partition/offset is the event's id
    tenant_field: str | None
    when: str | None              # Jinja expression; false: the event is settled without a result
    steps: tuple[StepSpec, ...]
    result: ResultSchema
    in_flight: int = 200          # events worked on at the same time, per replica: an upper bound of its calls
    window: int | None = None     # events admitted and not settled; None: 8 x in_flight
    window_bytes: int = 64 << 20
    order: Order = Order.KEY
    attempts: int = 3             # of one model call
    call_deadline: timedelta = timedelta(seconds=300)   # all attempts of one call and the waits between them
    topics: Mapping[str, str] = field(default_factory=dict)   # overrides: results, costs, dlq -> topic name
    partitions: int | None = None   # of input and output topics that `apply` creates; None: the input's, else 8
    upstream: bool = False        # an input is another stage's results topic (transactional)


@dataclass(frozen=True, slots=True)
class Kafka:
    """Addresses. `client` holds further librdkafka settings (security). What may hold a password is not in the repr."""

    bootstrap: str
    registry: str = field(repr=False)   # https://user:password@host
    client: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class PriceOverride:
    """USD per million tokens, for a model that the price list does not know or that is billed otherwise."""

    provider: str
    model: str
    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None   # None: as `input`


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One `pipeline.yaml`. `folder` is where its relative paths and python steps are found."""

    name: str
    folder: str
    kafka: Kafka
    stages: tuple[Stage, ...]
    routes: Mapping[str, tuple[ModelRef, ...]]
    prices: tuple[PriceOverride, ...] = ()
    allow_unpriced: bool = False
    models: Mapping[str, LocalModel] = field(default_factory=dict)
    stores: Mapping[str, VectorStore] = field(default_factory=dict)
    postgres: str | None = field(default=None, repr=False)   # postgresql://user:password@host/database

    def stage(self, name: str) -> Stage:
        """Return the stage called `name`; KeyError where there is none."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)
