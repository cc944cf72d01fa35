"""Every metric of a worker, in one place: the names are part of the reference (docs/reference/metrics.md).

A process works on one stage; `stage` is a label of what is added up over processes. Tenant is not a label, because its
values are not bounded: costs per tenant are on the cost topic.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The metrics of one worker process, on a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.events = Counter(
            "eventmill_events", "Events settled, by how they ended.", ["stage", "outcome"], registry=registry
        )
        self.dead_letters = Counter(
            "eventmill_dead_letters", "Dead letters, by kind of error.", ["stage", "kind"], registry=registry
        )
        self.calls = Counter(
            "eventmill_calls",
            "Attempts of model calls, by outcome (ok, or the kind of error).",
            ["stage", "provider", "model", "outcome"],
            registry=registry,
        )
        self.call_seconds = Histogram(
            "eventmill_call_seconds",
            "Seconds from sending a request to its reply or failure.",
            ["stage", "model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.tokens = Counter(
            "eventmill_tokens", "Billed tokens.", ["stage", "model", "direction"], registry=registry
        )
        self.cost = Counter("eventmill_cost_usd", "Priced cost in USD.", ["stage", "model"], registry=registry)
        self.local_models = Gauge(
            "eventmill_local_model_info",
            "1 for each local model, with the execution provider that really runs it.",
            ["model", "version", "provider"],
            registry=registry,
        )
        self.local_batches = Histogram(
            "eventmill_local_batch_texts",
            "Texts that a local model computed together.",
            ["model"],
            buckets=_TEXTS,
            registry=registry,
        )
        self.local_tokens = Counter(
            "eventmill_local_tokens", "Tokens that local models computed, with padding.", ["model"], registry=registry
        )
        self.local_seconds = Counter(
            "eventmill_local_compute_seconds",
            "Seconds that local models computed: of busy threads on the CPU, of the device on a GPU.",
            ["model", "device"],
            registry=registry,
        )
        self.local_queue = Gauge(
            "eventmill_local_queue",
            "What waits for a local model: tokens with padding, or runs.",
            ["model"],
            registry=registry,
        )
        self.blocked = Counter(
            "eventmill_blocked_seconds",
            "Seconds spent at closed doors: at the lane door per replica, at the call door per event.",
            ["door", "reason"],
            registry=registry,
        )
        self.door_closed = Gauge(
            "eventmill_door_closed", "1 while the lane door is closed for this reason.", ["reason"], registry=registry
        )
        self.running = Gauge("eventmill_in_flight", "Events being enriched now.", registry=registry)
        self.unsettled = Gauge("eventmill_unsettled", "Events begun and not committed.", registry=registry)
        self.window_events = Gauge("eventmill_window_events", "Events admitted and not settled.", registry=registry)
        self.window_bytes = Gauge("eventmill_window_bytes", "Bytes of those events.", registry=registry)
        self.partitions = Gauge("eventmill_partitions", "Input partitions assigned.", registry=registry)
        self.ticks = Counter("eventmill_ticks", "Transactions, by how they ended.", ["outcome"], registry=registry)
        self.tick_seconds = Histogram(
            "eventmill_tick_seconds", "Seconds of one transaction.", buckets=_SECONDS, registry=registry
        )
        self.settle_seconds = Histogram(
            "eventmill_settle_seconds",
            "Seconds from an event's outcome to its commit.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.unstable_partitions = Gauge(
            "eventmill_unstable_partitions",
            "Partitions whose offsets a pending transaction has hidden for more than 60 s.",
            registry=registry,
        )
        self.hung_calls = Counter(
            "eventmill_hung_kafka_calls", "Kafka client calls abandoned at their deadline.", registry=registry
        )
        self.stale_batches = Counter(
            "eventmill_stale_batches", "Fetched batches of an earlier assignment, dropped.", registry=registry
        )
        self.seeks = Counter("eventmill_seeks", "Seeks back to a lane's position after a gap.", registry=registry)
