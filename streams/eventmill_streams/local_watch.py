"""What local models do, in a worker's metrics. Satisfies eventmill_connectors.onnx.local_models.LoadedWatch."""

from eventmill_schemas.local_models import ModelCard
from eventmill_streams.metrics import Metrics


class LocalModelWatch:
    """Counts for one worker."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._devices: dict[str, str] = {}

    def loaded(self, model: ModelCard, provider: str) -> None:
        """Say which model runs, and on what."""
        self._devices[model.name] = model.device
        self._metrics.local_models.labels(model=model.name, version=model.version, provider=provider).set(1)

    def computed(self, model: str, texts: int, tokens: int, seconds: float) -> None:
        """Count one batch."""
        metrics = self._metrics
        metrics.local_batches.labels(model=model).observe(texts)
        metrics.local_tokens.labels(model=model).inc(tokens)
        metrics.local_seconds.labels(model=model, device=self._devices.get(model, "cpu")).inc(seconds)

    def queued(self, model: str, amount: int) -> None:
        """Show what waits."""
        self._metrics.local_queue.labels(model=model).set(amount)
