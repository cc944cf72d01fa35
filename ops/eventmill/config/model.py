"""The shape of pipeline.yaml: which keys there are, what each one takes, what it means.

These models only say what one value may be. What values mean together, and what the file points to, is resolve.py's.
The descriptions become the JSON Schema that editors show (json_schema.py).
"""

from typing import Annotated, Literal

from pydantic import Field

from eventmill.config import scalars
from eventmill.config.step_entries import Section, StepEntry


class KafkaSection(Section):
    """Where Kafka and the schema registry are."""

    bootstrap: scalars.Addresses = Field(
        default="127.0.0.1:9092", description="Addresses of Kafka brokers: `host:port`, several with commas between."
    )
    registry: scalars.HttpUrls = Field(
        default="http://127.0.0.1:8081",
        description="Address of a schema registry with Confluent's API; several with commas between.",
    )
    client: dict[scalars.SettingName, scalars.Setting] = Field(
        default={}, description="Further settings of librdkafka, such as `security.protocol` and `sasl.password`."
    )


class ModelEntry(Section):
    """One model of a route."""

    provider: Literal["openai"] = Field(
        description="Whose wire format is spoken. `openai` with `base_url` speaks to every compatible server."
    )
    model: scalars.Text = Field(description="The model's name at the provider.")
    base_url: scalars.OptionalBareUrl = Field(
        default=None, description="Address of a compatible server, with its `/v1`. Empty: the provider's own."
    )
    timeout: scalars.Duration = Field(
        default="120s", validate_default=True, description="The longest that one attempt may take, to its last byte."
    )


class PriceEntry(Section):
    """A price that goes before the price list's: USD per million tokens, exactly as written."""

    provider: Literal["openai"] = Field(description="The provider, as in the route.")
    model: scalars.Text = Field(description="The model, as in the route.")
    input: scalars.PriceText = Field(description="USD per million input tokens.")
    output: scalars.PriceText = Field(description="USD per million output tokens, reasoning included.")
    cache_read: scalars.PriceText | None = Field(
        default=None,
        description="USD per million input tokens that the provider read from its cache. Default: as `input`.",
    )


class EventSection(Section):
    """What identifies an event of the input."""

    id: scalars.Text | None = Field(
        default=None,
        description="The field with the event's id. Default: `event_id` where the input is a stage, else topic, "
        "partition and offset are the id.",
    )
    tenant: scalars.Text | None = Field(
        default=None,
        description="The field with the tenant that a cost is booked to. Default: `tenant` where the input is a stage, "
        "else none.",
    )


class TopicsSection(Section):
    """Other names for the topics that a stage writes."""

    results: scalars.Topic | None = Field(default=None, description="Default: `{pipeline}.{stage}.results`.")
    costs: scalars.Topic | None = Field(default=None, description="Default: `{pipeline}.{stage}.costs`.")
    dlq: scalars.Topic | None = Field(default=None, description="Default: `{pipeline}.{stage}.dlq`.")


class LocalModelEntry(Section):
    """A model that runs in the worker."""

    onnx: scalars.Text = Field(
        description="The folder of the model, from the pipeline's: with its versions, or one of them."
    )
    device: Literal["cpu", "cuda"] = Field(default="cpu", description="Where it computes: `cpu`, or an NVIDIA GPU.")
    threads: scalars.Threads = Field(default=2, description="Batches that are computed at the same time on the CPU.")
    require_gpu: scalars.Flag | None = Field(
        default=None,
        description="With `device: cuda`: `false` lets the worker compute on the CPU where there is no GPU. Default: "
        "`true`, the worker does not start.",
    )
    price_per_hour: scalars.HourPrice | None = Field(
        default=None,
        description="USD per hour of one busy thread (`cpu`) or of the device (`cuda`), for the cost events.",
    )


class StoreEntry(Section):
    """Vectors of one model with their texts, in Postgres."""

    model: scalars.Text = Field(description="The model, one of `models`, whose vectors are stored.")
    index: Literal["hnsw", "ivfflat", "none"] = Field(
        default="hnsw", description="How neighbours are found; `none` looks at every vector, exactly."
    )
    table: scalars.Table = Field(default="eventmill_vectors", description="The table; stores may share one.")


class StageSection(Section):
    """One stage: a consumer group that turns each event of its inputs into a record of its results topic."""

    input: scalars.Topics = Field(
        description="The topic that is read, or a list of topics. A stage's name stands for its results topic."
    )
    format: Literal["avro", "json"] = Field(
        default="avro", description="How the values of the input are encoded: `avro` in Confluent's framing, or `json`."
    )
    event: EventSection = Field(default=EventSection(), description="What identifies an event of the input.")
    when: scalars.Text | None = Field(
        default=None,
        description="A condition, as a Jinja expression over `event`. Where it is false, the event has no result.",
    )
    steps: list[StepEntry] = Field(default=[], description="What is done to an event, in this order.")
    result: scalars.Text = Field(description="The Avro schema of the result (.avsc), from the pipeline's folder.")
    in_flight: scalars.Count = Field(default=200, description="Events that a replica works on at the same time.")
    window: scalars.Count | None = Field(
        default=None, description="Events that a replica has read and not finished. Default: 8 times `in_flight`."
    )
    window_bytes: scalars.Size = Field(
        default="64MB",
        validate_default=True,
        description="Size of the events that a replica has read and not finished.",
    )
    order: Literal["key", "none"] = Field(
        default="key",
        description="`key`: events with the same key in the same partition one after the other. `none`: all at once.",
    )
    attempts: scalars.Count = Field(default=3, description="Attempts of one model call before the event fails.")
    call_deadline: scalars.Duration = Field(
        default="5m",
        validate_default=True,
        description="The longest that one model call may take, with all its attempts and the waits between them.",
    )
    topics: TopicsSection = Field(
        default=TopicsSection(), description="Other names for the topics that the stage writes."
    )
    partitions: scalars.Count | None = Field(
        default=None,
        description="Partitions of the topics that `eventmill apply` creates. Default: as the input's, else 8.",
    )
    on_failure: Literal["dead_letter"] = Field(
        default="dead_letter", description="What an event becomes that fails for good: a record in the `dlq` topic."
    )


class PipelineFile(Section):
    """A pipeline of eventmill: stages that turn topics of events into topics of results."""

    pipeline: scalars.Name = Field(description="The pipeline's name; the names of its topics and groups begin with it.")
    kafka: KafkaSection = Field(default=KafkaSection(), description="Where Kafka and the schema registry are.")
    postgres: scalars.OptionalPostgresUrl = Field(
        default=None, description="Address of a Postgres with pgvector, `postgresql://...`. `stores` need it."
    )
    models: dict[scalars.StepName, LocalModelEntry] = Field(
        default={}, description="The models that run in the worker, by name."
    )
    stores: dict[scalars.StageName, StoreEntry] = Field(
        default={}, description="The places for vectors and their texts, by name."
    )
    routes: dict[scalars.StepName, Annotated[list[ModelEntry], Field(min_length=1)]] = Field(
        default={}, description="For each purpose, the models that are asked, tried in this order."
    )
    prices: list[PriceEntry] = Field(
        default=[], description="Prices of models that the price list does not know, or that are billed otherwise."
    )
    allow_unpriced: scalars.Flag = Field(
        default=False,
        description="Whether a model without a known price may be used; its costs are then unknown, not 0.",
    )
    stages: dict[scalars.StageName, StageSection] = Field(min_length=1, description="The stages by name.")
