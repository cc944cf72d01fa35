"""From an outcome to the records of its tick: result or dead letter, and the cost events."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version

from eventmill_agents.cost import total_cost
from eventmill_agents.outcome import DeadLetter, Result
from eventmill_connectors.kafka.transaction import OutRecord
from eventmill_schemas.codec import AvroWriter, frame
from eventmill_schemas.cost import CostEvent
from eventmill_schemas.dead_letter import (
    DeadLetterReport,
    Header,
    cause_text,
    dead_letter_headers,
    fit,
    headers_size,
    record_size,
)
from eventmill_schemas.errors import CallFailed, EventError, RecordTooLarge, SetupError, Undecodable
from eventmill_schemas.events import Event, RawRecord
from eventmill_schemas.pipeline import Format
from eventmill_schemas.records import cost_value, result_value
from eventmill_streams.preflight import Outputs, OutputTopic
from eventmill_streams.settlement import End, Settlement

TOMBSTONE_SOURCE = "eventmill.source."
"""A tombstone has no value to identify its source by: topic, partition and offset are in headers of this prefix."""


class Publisher:
    """Builds the records of one stage. Output keys are the input's, partitions its number where the counts match."""

    def __init__(
        self, pipeline: str, stage: str, input_format: Format, outputs: Outputs, results: AvroWriter, costs: AvroWriter
    ) -> None:
        self._pipeline = pipeline
        self._stage = stage
        self._format = input_format
        self._outputs = outputs
        self._results = results
        self._costs = costs

    def result(self, event: Event, end: Result, costs: Sequence[CostEvent]) -> Settlement:
        """Return the settlement of an enriched event.

        Raises UnstorableResult where the fields don't fit the schema, RecordTooLarge where the topic can't take it.
        """
        value = self._results.encode(
            result_value(
                event,
                end.fields,
                model=end.provenance.model,
                prompt=end.provenance.prompt,
                cost=total_cost(costs),
                processed_at=datetime.now(UTC),
            )
        )
        topic, record = self._outputs.results, event.record
        if (size := record_size(record.key, value)) > topic.max_bytes:
            raise RecordTooLarge(
                f"the result has {size} bytes, its topic {topic.name} takes {topic.max_bytes}",
                remedy="Raise max.message.bytes of the topic, or ask for less text",
            )
        out = _out(topic, record, record.key, value)
        return Settlement(End.RESULT, (out, *self._cost_records(record, costs)), tuple(costs))

    def skipped(self, event: Event, costs: Sequence[CostEvent]) -> Settlement:
        """Return the settlement of an event that needs no result."""
        return Settlement(End.SKIPPED, tuple(self._cost_records(event.record, costs)), tuple(costs))

    def tombstone(self, record: RawRecord) -> Settlement:
        """Pass a tombstone on, so that the key's results are deleted where they are kept by key."""
        source = record.source
        headers: list[Header] = [h for h in record.headers if not h[0].startswith(TOMBSTONE_SOURCE)]
        for name, part in zip(source._fields, source, strict=True):
            headers.append((TOMBSTONE_SOURCE + name, str(part).encode()))
        return Settlement(End.TOMBSTONE, (_out(self._outputs.results, record, record.key, None, headers),))

    def dead_letter(
        self, record: RawRecord, event: Event | None, end: DeadLetter, costs: Sequence[CostEvent]
    ) -> Settlement:
        """Return the settlement of an event that failed for good: its bytes untouched, and what is known of it.

        Raises SetupError where the dead letter topic can't take even the least of it.
        """
        topic = self._outputs.dlq
        headers = dead_letter_headers(record.headers, self._report(record, event, end, costs))
        excess = record_size(record.key, record.value, headers) - topic.max_bytes
        if excess > 0:
            try:
                headers = fit(headers, headers_size(headers) - excess)
            except RecordTooLarge as error:
                raise SetupError(
                    f"the dead letter of {record.source} does not fit its topic {topic.name}: {error.message}",
                    remedy="Raise the topic's max.message.bytes above the input topic's (`eventmill apply` does)",
                ) from error
        out = _out(topic, record, record.key, record.value, headers)
        return Settlement(
            End.DEAD_LETTER, (out, *self._cost_records(record, costs)), tuple(costs), end.error.kind
        )

    def _cost_records(self, record: RawRecord, costs: Sequence[CostEvent]) -> list[OutRecord]:
        topic = self._outputs.costs
        return [_out(topic, record, record.key, self._costs.encode(cost_value(cost))) for cost in costs]

    def _report(
        self, record: RawRecord, event: Event | None, end: DeadLetter, costs: Sequence[CostEvent]
    ) -> DeadLetterReport:
        error, source = end.error, record.source
        usages = [cost.usage for cost in costs if cost.usage is not None]
        last = costs[-1] if costs else None
        return DeadLetterReport(
            pipeline=self._pipeline,
            stage=self._stage,
            step=end.step,
            kind=error.kind,
            message=error.message,
            remedy=error.remedy,
            cause=cause_text(error),
            retryable=may_succeed_again(error),
            topic=source.topic,
            partition=source.partition,
            offset=source.offset,
            timestamp=_time(record.timestamp_ms),
            group=f"{self._pipeline}.{self._stage}",
            event_id=event.id if event else None,
            tenant=event.tenant if event else None,
            attempts=len(costs),
            input_tokens=sum(usage.input_tokens for usage in usages) if usages else None,
            output_tokens=sum(usage.output_tokens for usage in usages) if usages else None,
            cost=total_cost(costs),
            model=last.model if last else None,
            prompt=last.prompt if last else None,
            schema_id=self._schema_id(record),
            failed_at=datetime.now(UTC),
            app_version=app_version(),
        )

    def _schema_id(self, record: RawRecord) -> int | None:
        if record.value is None or self._format != Format.AVRO:
            return None
        try:
            return frame(record.value)[0]
        except Undecodable:
            return None


def may_succeed_again(error: EventError) -> bool:
    """Whether the same event may succeed when it is tried again unchanged: only the model's side failed."""
    return isinstance(error, CallFailed)


@cache
def app_version() -> str:
    """Return eventmill's version."""
    return version("eventmill")


def _out(
    topic: OutputTopic, record: RawRecord, key: bytes | None, value: bytes | None, headers: Sequence[Header] = ()
) -> OutRecord:
    return OutRecord(topic.name, record.source.partition if topic.aligned else None, key, value, headers)


def _time(milliseconds: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds >= 0 else None
    except (OverflowError, ValueError, OSError):  # a producer may write any number
        return None
