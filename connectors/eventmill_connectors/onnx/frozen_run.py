"""A model computes its frozen inputs: in batches of equal shapes, and each record once more by itself."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from eventmill_connectors.onnx.comparison import distance
from eventmill_connectors.onnx.manifest import Manifest
from eventmill_connectors.onnx.parity import Array, Parity
from eventmill_connectors.onnx.session import OnnxSession
from eventmill_connectors.onnx.tokens import padded_length, text_inputs
from eventmill_schemas.errors import ModelFailed, ModelUnusable


@dataclass(frozen=True, slots=True)
class FrozenRun:
    """What came out: `rows` records, in the order of the frozen inputs, as they were computed in batches.

    `same_alone`: each record has the same bits alone; `difference_alone`: the largest difference if not. Where records
    were not computed twice, these are True and 0.
    """

    outputs: dict[str, Array]
    rows: int
    same_alone: bool
    difference_alone: float


def run_frozen(manifest: Manifest, parity: Parity, session: OnnxSession, *, alone: bool) -> FrozenRun:
    """Compute all frozen inputs; if `alone`, in batches and each record by itself, else only the latter.

    Raises ModelUnusable if the model fails.
    """
    try:
        if not manifest.varies_in_rows:
            return FrozenRun(session.run(parity.inputs), 1, same_alone=True, difference_alone=0.0)
        return _in_batches(manifest, parity, session, alone=alone)
    except ModelFailed as error:
        raise ModelUnusable(
            f"the model {manifest.name} fails on its frozen inputs: {error.message}",
            remedy="Give it inputs that it can compute with --parity FILE.npz",
        ) from error


def _in_batches(manifest: Manifest, parity: Parity, session: OnnxSession, *, alone: bool) -> FrozenRun:
    order: list[int] = []
    pieces: list[dict[str, Array]] = []
    apart, same = 0.0, True
    for rows, inputs in _batches(manifest, parity, together=alone):
        batch = session.run(inputs)
        order += rows
        pieces.append(batch)
        for index in range(len(rows)) if alone and len(rows) > 1 else ():
            single = session.run({name: array[index : index + 1] for name, array in inputs.items()})
            for name, value in single.items():
                other = batch[name][index : index + 1]
                same = same and value.shape == other.shape and bool(_bits(value) == _bits(other))
                apart = max(apart, distance(value, other) if value.shape == other.shape else np.inf)
    places = np.argsort(order)
    outputs = {name: np.concatenate([piece[name] for piece in pieces])[places] for name in pieces[0]}
    return FrozenRun(outputs, len(order), same, apart)


def _batches(
    manifest: Manifest, parity: Parity, *, together: bool
) -> Iterator[tuple[list[int], dict[str, Array]]]:
    """Give the records of each batch, by their numbers, and its inputs."""
    if manifest.max_tokens is None:
        everything = range(parity.rows)
        for rows in [list(everything)] if together else [[row] for row in everything]:
            yield rows, {name: array[rows] for name, array in parity.inputs.items()}
        return
    tokens = parity.tokens()
    widths = [padded_length(len(row), manifest.max_tokens) for row in tokens]
    for width in sorted(set(widths)):
        members = [row for row, its in enumerate(widths) if its == width]
        for rows in [members] if together else [[row] for row in members]:
            yield rows, text_inputs(manifest, [tokens[row] for row in rows], width)


def _bits(array: Array) -> bytes | list[object]:
    return array.tolist() if array.dtype == np.object_ else array.tobytes()
