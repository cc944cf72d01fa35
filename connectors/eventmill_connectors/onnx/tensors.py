"""Values of events as the tensors that a model declares, and back. What does not fit is named, never guessed."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from math import prod
from typing import Any

import numpy as np

from eventmill_connectors.onnx.manifest import TensorSpec
from eventmill_connectors.onnx.parity import Array
from eventmill_schemas.errors import InferenceFailed

Shape = tuple[int | str, ...]


def tensors(specs: Sequence[TensorSpec], values: Mapping[str, Any]) -> tuple[dict[str, Array], bool]:
    """Return the model's inputs, and whether a batch axis of 1 was put before them.

    The axis is put before the values of all inputs, or of none. Raises InferenceFailed, naming the input: it is missing
    or unknown, no number or text, of another shape, out of range, NaN or infinite.
    """
    names = [spec.name for spec in specs]
    for name in names:
        if name not in values:
            raise InferenceFailed(f"the input {name!r} is missing", remedy=f"The model takes: {', '.join(names)}")
    for name in values:
        if name not in names:
            raise InferenceFailed(
                f"the model has no input {name!r}", remedy=f"The model takes: {', '.join(names) or 'nothing'}"
            )
    arrays = {spec.name: _array(spec, values[spec.name]) for spec in specs}
    batch = all(_lacks_batch(spec.shape, arrays[spec.name].ndim) for spec in specs)
    if batch:
        arrays = {name: array[np.newaxis] for name, array in arrays.items()}
    for spec in specs:
        arrays[spec.name] = _shaped(spec, arrays[spec.name], batch=batch)
    return arrays, batch


def plain(outputs: Mapping[str, Array], *, batch: bool) -> dict[str, Any]:
    """Return outputs as numbers, texts and lists. `batch`: take off the first axis where it is 1.

    Raises InferenceFailed, naming the output, for NaN and infinity.
    """
    values = {}
    for name, array in outputs.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InferenceFailed(f"the model computed NaN or infinity as {name!r}")
        values[name] = (array[0] if batch and array.ndim and array.shape[0] == 1 else array).tolist()
    return values


def _array(spec: TensorSpec, value: Any) -> Array:
    if spec.dtype == "object":
        return _texts(spec, value)
    if isinstance(value, bytes):
        if spec.dtype != "uint8":
            raise InferenceFailed(f"the input {spec.name!r} holds bytes, and the model takes {spec.dtype}")
        return _bytes(spec.shape, np.frombuffer(value, np.uint8))
    try:
        array = np.asarray(_floats(value))
    except (ValueError, OverflowError, TypeError) as error:
        raise InferenceFailed(f"the input {spec.name!r} is no regular list of numbers") from error
    if array.dtype.kind not in "biuf":
        raise InferenceFailed(f"the input {spec.name!r} holds something else than numbers")
    return _cast(spec, array)


def _bytes(shape: Shape, flat: Array) -> Array:
    """Give bytes, which have no shape of their own, that of one record; left flat where they don't fit."""
    one = shape[1:] if shape and (shape[0] == 1 or isinstance(shape[0], str)) else shape
    sizes = [size if isinstance(size, int) else -1 for size in one]
    known = prod(size for size in sizes if size >= 0)
    if sizes.count(-1) <= 1 and known and (flat.size % known == 0 if -1 in sizes else flat.size == known):
        return flat.reshape(sizes)
    return flat


def _texts(spec: TensorSpec, value: Any) -> Array:
    array = np.asarray(value, dtype=object)
    if any(not isinstance(one, str) for one in array.flat):
        raise InferenceFailed(f"the input {spec.name!r} holds something else than texts")
    return array


def _floats(value: Any) -> Any:
    """Return `value` with decimals as floats: numpy knows none."""
    if isinstance(value, Decimal):
        return float(value)
    return [_floats(one) for one in value] if isinstance(value, list | tuple) else value


def _cast(spec: TensorSpec, array: Array) -> Array:
    target = np.dtype(spec.dtype)
    if target.kind == "b" or array.dtype.kind == "b":
        if target.kind != array.dtype.kind:
            wanted = "true or false" if target.kind == "b" else "numbers"
            raise InferenceFailed(f"the input {spec.name!r} must hold {wanted}")
        return array
    if target.kind in "iu":
        limits = np.iinfo(target)
        if array.dtype.kind == "f" and not (np.isfinite(array).all() and (array == np.trunc(array)).all()):
            raise InferenceFailed(f"the input {spec.name!r} must hold whole numbers")
        if array.size and not (limits.min <= array.min() and array.max() <= limits.max):
            raise InferenceFailed(f"the input {spec.name!r} holds a number out of the range of {spec.dtype}")
        return array.astype(target)
    with np.errstate(over="ignore"):
        found = array.astype(target)
    if not np.isfinite(found).all():
        raise InferenceFailed(f"the input {spec.name!r} holds NaN, infinity or a number too large for {spec.dtype}")
    return found


def _lacks_batch(shape: Shape, dimensions: int) -> bool:
    return dimensions == len(shape) - 1 and (shape[0] == 1 or isinstance(shape[0], str))


def _shaped(spec: TensorSpec, array: Array, *, batch: bool) -> Array:
    shape = spec.shape
    fits = array.ndim == len(shape) and all(
        isinstance(wanted, str) or wanted == found for wanted, found in zip(shape, array.shape, strict=True)
    )
    if not fits:
        found = list(array.shape[batch:])
        raise InferenceFailed(f"the input {spec.name!r} has the shape {found}, and the model takes {_shown(shape)}")
    return array


def _shown(shape: Shape) -> str:
    return f"[{', '.join(str(size) if isinstance(size, int) else 'any' for size in shape)}]"
