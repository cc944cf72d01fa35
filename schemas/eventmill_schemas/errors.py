"""Every error of eventmill. The levels are the questions a caller asks.

EventmillError
├── UsageError             the user's files, arguments or set-up are wrong: say so and exit 2
│   ├── PipelineFileError  ... in a file: names file and line
│   │   └── PipelineFileErrors  all that one reading found
│   ├── InputFileError     ... in a file of events: names file and line
│   ├── SetupError         ... outside: a topic is missing, has the wrong partitions, a schema is incompatible
│   └── ModelUnusable      ... a local model: it is damaged, does not compute what it should, or can't run here
├── EventError             this event can't be enriched: it becomes a dead letter, with the original bytes
│   ├── Undecodable        the record's value is not what the input's format says
│   ├── MissingEventField  a field that the pipeline needs (event id, template, condition) is not there
│   ├── TemplateFailed     a condition, prompt or `from` expression can't be evaluated on this event
│   ├── RequestRefused     the model's server says that our request is wrong
│   ├── ReplyUnusable      a reply was received (and billed), and it can't be used
│   │   ├── InvalidReply       it does not follow the result schema
│   │   ├── TruncatedReply     it was cut at the output limit
│   │   └── RefusedReply       the model, or a filter, refused to answer
│   ├── CallFailed         every allowed attempt failed; the last failure is the cause
│   ├── StepFailed         a `python` step raised
│   ├── UnstorableVector   a vector or its text is none that a store can take
│   ├── InferenceFailed    a local model can't compute this event's input; other inputs it can
│   ├── UnstorableResult   the fields don't fit the result schema
│   └── RecordTooLarge     the outcome is larger than its topic takes
├── CallError              one attempt of a model call failed: it may be repeated within the attempt limit
│   ├── RateLimited        429: wait as told
│   ├── Overloaded         the server says that it is too busy; nothing was served
│   └── Ambiguous          sent, and the outcome is not known: it may have been billed
├── Unavailable            something that every event needs is away: close a door, wait, try again; no event is to blame
│   ├── ModelUnreachable   no connection could be made, so nothing was sent
│   ├── AccountClosed      the key is refused, or the money is gone
│   ├── RegistryUnreachable
│   ├── KafkaUnreachable
│   ├── PostgresUnreachable   also full, restarting or out of connections
│   └── LocalModelAway     the model's session or its device fails on whatever it is given
├── ModelFailed            a session of a local model can't compute a batch: its parts are tried, then one is to blame
│   └── OutOfMemory        ... for want of memory: a smaller batch may pass
├── DeliveryError          a transaction did not end as asked
│   ├── StaleGeneration    the consumer group has moved on: drop the assignment
│   ├── ProducerFenced     another producer has taken our transactional id, or the broker gave ours up
│   └── OutcomeUnknown     it may or may not have committed: reopen, read, repeat what is missing
├── NotDelivered           Kafka did not acknowledge what a client sent
├── StackFailed            a server of the local stack does not start, or does not end
├── ConnectFailed          Kafka Connect does not answer, or a connector does not run
└── InvariantViolated      going on could lose or double an event: the process stops

Retryability of model calls is decided here and nowhere else: `is_retryable`.
"""

from collections.abc import Sequence
from typing import ClassVar


class EventmillError(Exception):
    """Something went wrong in eventmill.

    `kind` is the stable name written into dead letters, metrics and `--json` output.
    """

    kind: ClassVar[str] = "error"

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}" if self.remedy else self.message


class UsageError(EventmillError):
    """The user's files, arguments or set-up are wrong."""

    kind = "usage"


class PipelineFileError(UsageError):
    """A file of the pipeline is wrong. Rendered as `file:line: message. remedy`."""

    kind = "pipeline_file"

    def __init__(self, message: str, *, file: str, line: int | None = None, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.file = file
        self.line = line

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {super().__str__()}"


class PipelineFileErrors(PipelineFileError):
    """Every mistake that one reading of the pipeline's files found, one line each; never empty."""

    def __init__(self, errors: Sequence[PipelineFileError]) -> None:
        first = errors[0]
        super().__init__(first.message, file=first.file, line=first.line)   # each has its own remedy
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


class InputFileError(UsageError):
    """A file of events can't be read, or one of its lines is no event. Rendered as `file:line: message. remedy`."""

    kind = "input_file"

    def __init__(self, message: str, *, file: str, line: int | None = None, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.file = file
        self.line = line

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {super().__str__()}"


class SetupError(UsageError):
    """A topic, schema, port or program that the pipeline needs is missing or does not fit."""

    kind = "setup"


class ModelUnusable(UsageError):
    """A local model is damaged, does not compute what its manifest says, or can't run on this machine as asked."""

    kind = "model_unusable"


class EventError(EventmillError):
    """This event can't be enriched; it becomes a dead letter."""

    kind = "event"


class Undecodable(EventError):
    """The record's value is not what the input's format says."""

    kind = "undecodable"


class MissingEventField(EventError):
    """A field that the pipeline needs is not in the event."""

    kind = "missing_field"


class TemplateFailed(EventError):
    """A condition, prompt or `from` expression can't be evaluated on this event."""

    kind = "template_failed"


class RequestRefused(EventError):
    """The model's server says that our request is wrong (400, 404, 413, 422): repeating it can't help."""

    kind = "request_refused"


class ReplyUnusable(EventError):
    """A reply was received, and is billed, and can't be used."""

    kind = "reply_unusable"


class InvalidReply(ReplyUnusable):
    """The reply does not follow the result schema."""

    kind = "invalid_reply"


class TruncatedReply(ReplyUnusable):
    """The reply was cut at the output limit. It is never repaired: valid JSON may still be chopped."""

    kind = "truncated_reply"


class RefusedReply(ReplyUnusable):
    """The model, or a filter in front of it, refused to answer."""

    kind = "refused_reply"


class CallFailed(EventError):
    """Every allowed attempt of a model call failed; the last failure is the cause."""

    kind = "call_failed"


class StepFailed(EventError):
    """A `python` step raised."""

    kind = "step_failed"


class InferenceFailed(EventError):
    """A local model can't compute this input: its type, its shape, a NaN, or too large for the memory."""

    kind = "inference_failed"


class UnstorableVector(EventError):
    """A vector or its text is none that a store can take: other dimensions, NaN, no direction, too large."""

    kind = "unstorable_vector"


class UnstorableResult(EventError):
    """The fields don't fit the result schema."""

    kind = "unstorable_result"


class RecordTooLarge(EventError):
    """The outcome is larger than its topic takes."""

    kind = "record_too_large"


class CallError(EventmillError):
    """One attempt of a model call failed.

    `retry_after` is the server's wish in seconds, None where it said nothing.
    """

    kind = "call"

    def __init__(self, message: str, *, retry_after: float | None = None, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after


class RateLimited(CallError):
    """The quota's rate is used up (429). Nothing was served."""

    kind = "rate_limited"


class Overloaded(CallError):
    """The server is too busy (503, 529). Nothing was served."""

    kind = "overloaded"


class Ambiguous(CallError):
    """The request was sent and its outcome is not known (timeout, reset, 500, 502, 504): it may have been billed."""

    kind = "ambiguous"


class Unavailable(EventmillError):
    """Something that every event needs is away: close the door named by `kind`, wait, try again."""

    kind = "unavailable"


class ModelUnreachable(Unavailable):
    """No connection to the model's server could be made: nothing was sent, repeating is free."""

    kind = "model_unreachable"


class AccountClosed(Unavailable):
    """The model's server refuses the key (401, 403) or the account has no money left (402, some 429)."""

    kind = "account_closed"


class RegistryUnreachable(Unavailable):
    """The schema registry gave no usable answer. An unknown schema id is `Undecodable`, not this."""

    kind = "registry_unreachable"


class KafkaUnreachable(Unavailable):
    """No broker answers."""

    kind = "kafka_unreachable"


class PostgresUnreachable(Unavailable):
    """Postgres gives no usable answer: away, starting, full, out of connections, or too slow."""

    kind = "postgres_unreachable"


class LocalModelAway(Unavailable):
    """A local model fails on whatever it is given: its device is lost, or its memory taken by others."""

    kind = "local_model_away"


class ModelFailed(EventmillError):
    """A session of a local model can't compute a batch; its parts may be computed one by one."""

    kind = "model_failed"


class OutOfMemory(ModelFailed):
    """A session of a local model has not the memory for a batch: a smaller one may pass."""

    kind = "out_of_memory"


class DeliveryError(EventmillError):
    """A Kafka transaction did not end as asked."""

    kind = "delivery"


class StaleGeneration(DeliveryError):
    """The consumer group has moved on: nothing of this assignment can be committed any more."""

    kind = "stale_generation"


class ProducerFenced(DeliveryError):
    """Another producer has taken our transactional id, or the broker gave ours up; nothing of ours can commit."""

    kind = "producer_fenced"


class OutcomeUnknown(DeliveryError):
    """The transaction may or may not have committed: open a new producer, read the offsets, repeat what is missing."""

    kind = "outcome_unknown"


class NotDelivered(EventmillError):
    """Events that a client sent were not acknowledged. They may be sent again; then one may be there twice."""

    kind = "not_delivered"


class StackFailed(EventmillError):
    """A server of the local stack does not start, or does not end."""

    kind = "stack_failed"


class ConnectFailed(EventmillError):
    """Kafka Connect does not answer, or a connector of it does not run."""

    kind = "connect_failed"


class InvariantViolated(EventmillError):
    """Going on could lose or double an event: the process must stop and be started again."""

    kind = "invariant_violated"


def is_retryable(error: BaseException) -> bool:
    """Whether one more attempt of the same model call may succeed.

    Deliberately not: every EventError (the next attempt would fail alike, and be paid for), and Unavailable
    (waiting at a door is not an attempt: it costs nothing and ends when the door opens).
    """
    return isinstance(error, CallError)
