"""What is told about a model before it is loaded: from its manifest alone."""

from eventmill_connectors.onnx.manifest import Manifest, TensorSpec
from eventmill_schemas.local_models import ModelCard


def card(name: str, manifest: Manifest, device: str) -> ModelCard:
    """Return the card of the model that the pipeline calls `name`."""
    return ModelCard(
        name=name,
        version=manifest.version,
        device=device,
        inputs={spec.name: _shape(spec) for spec in manifest.inputs},
        outputs={spec.name: _shape(spec) for spec in manifest.outputs},
        vector_space=manifest.vector_space,
        dimensions=manifest.dimensions,
        max_tokens=manifest.max_tokens,
        labels=manifest.labels or (),
    )


def _shape(spec: TensorSpec) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) else None for size in spec.shape)
