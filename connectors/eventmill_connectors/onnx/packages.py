"""The packages that local models need, which are an extra: whether they are here."""

import importlib.util

from eventmill_schemas.errors import SetupError

_NEEDED = ("numpy", "onnx", "onnxruntime", "safetensors", "tokenizers")


def need_packages() -> None:
    """Raise SetupError if a package of the extra `onnx` is missing. None is imported."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise SetupError(
            f"local models need {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed",
            remedy="Run: pip install 'eventmill[onnx]'",
        )
