"""Producing to one topic: idempotent, in order, every record acknowledged by all replicas or told as failed."""

from collections import deque
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from eventmill.produce.encode import Encoded
from eventmill_schemas.errors import SetupError

DELIVERY_TIMEOUT = 30.0
"""Seconds that a record may wait for its acknowledgement; a broker's restart takes less."""

_DEFAULTS = {
    "compression.type": "lz4",
    "linger.ms": 20,
    "message.timeout.ms": int(DELIVERY_TIMEOUT * 1000),
    "queue.buffering.max.kbytes": 65_536,
    "queue.buffering.max.messages": 50_000,
    "log_level": 0,   # what matters comes back as an error
}
FIXED = {
    "enable.idempotence": True,   # acks=all; a retry neither doubles nor reorders
    "partitioner": "murmur2_random",   # as Java's; librdkafka's own default is another hash
}
"""Settings that hold whatever else is set."""
_LARGEST = 1_000_000_000   # librdkafka's bound of message.max.bytes
_PURGED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})


def sender_settings(client: Mapping[str, Any], max_bytes: int) -> dict[str, Any]:
    """Return librdkafka's settings of a producer; `max_bytes`: the largest batch that the topic takes."""
    return {**_DEFAULTS, **client, **FIXED, "message.max.bytes": min(max(max_bytes, 1000), _LARGEST)}


class Sender:
    """Sends records to `topic`. `client`: librdkafka settings; `max_bytes`: the largest batch that the topic takes.

    The counts are up to date after every call: `acknowledged` records, `acknowledged_bytes` of keys and values.
    `failed_line` is the lowest line whose record was not acknowledged, None as long as there is none; `failure` says
    why, `timed_out` that it is for want of an answer.
    """

    def __init__(self, client: Mapping[str, Any], topic: str, max_bytes: int) -> None:
        self._errors: deque[KafkaError] = deque(maxlen=100)   # its append is no Python code that Ctrl-C could end
        settings = {**sender_settings(client, max_bytes), "error_cb": self._errors.append}
        try:
            self._producer = Producer(settings)
        except KafkaException as error:
            raise SetupError(f"the Kafka client's settings are wrong: {error.args[0].str()}") from None
        self._topic = topic
        self._timeout = int(settings["message.timeout.ms"]) / 1000
        self.acknowledged = 0
        self.acknowledged_bytes = 0
        self.failed_line: int | None = None
        self.failure = ""
        self.timed_out = False

    @property
    def is_cut_off(self) -> bool:
        """Whether no broker answers since the last acknowledgement."""
        return any(error.code() == KafkaError._ALL_BROKERS_DOWN for error in self._errors)

    def send(self, line: int, record: Encoded) -> bool:
        """Hand over one record; False where too many are not acknowledged: then it has waited, and may be asked again.

        After a failure nothing is taken.
        """
        key, value, headers = record
        size = len(value) + len(key or b"")

        def settled(error: KafkaError | None, _: Any) -> None:
            if error is None:
                self.acknowledged += 1
                self.acknowledged_bytes += size
                if self._errors:
                    self._errors.clear()
            else:
                self._failed(line, error)

        if self.failed_line is not None:
            return True
        try:
            self._producer.produce(self._topic, value, key, headers=headers, on_delivery=settled)
        except BufferError:
            self._producer.poll(0.1)
            return False
        except KafkaException as error:
            self._failed(line, error.args[0])
        return True

    def poll(self, seconds: float = 0.0) -> None:
        """Take in what was acknowledged, waiting for it at most so long."""
        self._producer.poll(seconds)

    def wait(self, seconds: float) -> bool:
        """Wait at most so long until everything is acknowledged or failed; whether it is."""
        return bool(self._producer.flush(seconds) == 0)

    def give_up(self, seconds: float) -> None:
        """Drop what is not acknowledged: it counts as failed, also where it did reach the topic."""
        self._producer.purge(blocking=False)
        self._producer.flush(seconds)

    def _failed(self, line: int, error: KafkaError) -> None:
        self.failed_line = line if self.failed_line is None else min(line, self.failed_line)
        if not self.failure and error.code() not in _PURGED:
            self.timed_out = error.code() == KafkaError._MSG_TIMED_OUT
            waited = f"Kafka did not acknowledge it within {self._timeout:g} s"
            self.failure = waited if self.timed_out else f"Kafka refused it: {error.str()}"
