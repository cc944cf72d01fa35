"""Kafka: whether its settings are such that eventmill can be right."""

from eventmill.doctor.finding import Finding, fail, ok, warn
from eventmill_connectors.kafka.admin import TopicState
from eventmill_connectors.kafka.cluster import ClusterInfo
from eventmill_streams.offset_metadata import MAX_METADATA


def kafka_settings(info: ClusterInfo, bootstrap: str) -> list[Finding]:
    """Judge a cluster that answers. Kafka's protocol tells no version of a broker, so its settings are read."""
    count = len(info.brokers)
    text = f"cluster {info.cluster_id} answers at {bootstrap}, {count} broker{'' if count == 1 else 's'}"
    if count == 1:
        text += " (one alone is for development: killed, it may leave a transaction open)"
    found = [ok("kafka", text)]
    if (limit := info.number("offset.metadata.max.bytes", MAX_METADATA)) < MAX_METADATA:
        found.append(
            fail(
                "kafka settings",
                f"offset.metadata.max.bytes is {limit}: what is settled out of order does not fit beside an offset",
                f"Set offset.metadata.max.bytes of the brokers to {MAX_METADATA} (Kafka's default) or more",
            )
        )
    copies = info.number("transaction.state.log.replication.factor", 3)
    if count > 1 and copies < 2:
        found.append(
            warn(
                "kafka settings",
                f"transaction.state.log.replication.factor is {copies}: exactly-once is lost with one broker",
                "Set it to 3, and transaction.state.log.min.isr to 2",
            )
        )
    return found


def retention(info: ClusterInfo, inputs: list[TopicState]) -> list[Finding]:
    """Compare how long a group's offsets are kept without workers with how long its input is."""
    minutes = info.number("offsets.retention.minutes", 7 * 24 * 60)
    longer = [state.name for state in inputs if _kept_minutes(state) > minutes]
    if not longer:
        return []
    return [
        warn(
            "offset retention",
            f"Kafka forgets a group's offsets {minutes / 60 / 24:.0f} days after its last member left, and keeps "
            f"{', '.join(longer)} longer: a stage without workers for so long begins again, and pays again",
            "Raise offsets.retention.minutes of the brokers, or let workers run",
        )
    ]


def _kept_minutes(state: TopicState) -> float:
    kept = int(state.config["retention.ms"])
    return float("inf") if kept < 0 or "delete" not in state.config["cleanup.policy"] else kept / 60_000
