"""What local models do can be read at /metrics."""

from prometheus_client import generate_latest

from eventmill_schemas.local_models import ModelCard
from eventmill_streams.local_watch import LocalModelWatch
from eventmill_streams.metrics import Metrics


def test_models_batches_tokens_seconds_and_queue() -> None:
    """Each is counted under its model; the provider that really runs it is told."""
    metrics = Metrics()
    watch = LocalModelWatch(metrics)
    watch.loaded(ModelCard("mini", "abc", "cuda", {}, {}), "CUDAExecutionProvider")
    watch.computed("mini", 3, 24, 0.5)
    watch.computed("mini", 1, 8, 0.25)
    watch.queued("mini", 100)
    watch.queued("mini", 40)
    lines = generate_latest(metrics.registry).decode().splitlines()
    for wanted in (
        'eventmill_local_model_info{model="mini",provider="CUDAExecutionProvider",version="abc"} 1.0',
        'eventmill_local_batch_texts_count{model="mini"} 2.0',
        'eventmill_local_batch_texts_sum{model="mini"} 4.0',
        'eventmill_local_tokens_total{model="mini"} 32.0',
        'eventmill_local_compute_seconds_total{device="cuda",model="mini"} 0.75',
        'eventmill_local_queue{model="mini"} 40.0',
    ):
        assert wanted in lines
