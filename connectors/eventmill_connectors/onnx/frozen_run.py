"""A model computes its frozen inputs: in batches of equal shapes, and each record once more by itself."""

from collections.abc import Iterator, Mapping
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

    Raises ModelUnusable if the model fails, or if the arrays are not those of this model.
    """
    _refuse_others(manifest, parity)
    try:
        if not manifest.varies_in_rows:
            return FrozenRun(session.run(parity.inputs), 1, same_alone=True, difference_alone=0.0)
        return _in_batches(manifest, parity, session, alone=alone)
    except ModelFailed as error:
        raise ModelUnusable(
            f"the model {manifest.name} fails on its frozen inputs: {error.message}",
            remedy="Give it inputs that it can compute with --parity FILE.npz",
        ) from error


def _refuse_others(manifest: Manifest, parity: Parity) -> None:
    # Arrays of another model must not pass for want of anything to compare.
    names = {"input_ids", "attention_mask"} if manifest.takes_text else {spec.name for spec in manifest.inputs}
    strange = set(parity.inputs) ^ names | (set(parity.outputs) - {spec.name for spec in manifest.outputs})
    if strange:
        raise ModelUnusable(
            f"the frozen inputs and outputs are not those of {manifest.name}: {', '.join(sorted(strange))}",
            remedy=f"Its inputs are {', '.join(sorted(names))}, as arrays called in.<input>",
        )
    arrays = (*parity.inputs.values(), *parity.outputs.values())
    counts = {len(array) if array.ndim else 0 for array in arrays} | ({len(parity.texts)} if parity.texts else set())
    if (manifest.varies_in_rows or manifest.takes_text) and (len(counts) != 1 or 0 in counts):
        raise ModelUnusable(
            f"the frozen inputs and outputs of {manifest.name} differ in records, or have none",
            remedy="Give each array as many rows as there are records",
        )


def _in_batches(manifest: Manifest, parity: Parity, session: OnnxSession, *, alone: bool) -> FrozenRun:
    order: list[int] = []
    pieces: list[dict[str, Array]] = []
    batches = list(_batches(manifest, parity, together=alone))
    lonely = all(len(rows) == 1 for rows, _ in batches)
    gaps = [0.0]
    for rows, inputs in batches:
        batch = _run(session, inputs, len(rows))
        order += rows
        pieces.append(batch)
        if alone and len(rows) > 1:
            for index in range(len(rows)):
                single = _run(session, {name: array[index : index + 1] for name, array in inputs.items()}, 1)
                gaps += _gaps(single, batch, index)
        elif alone and lonely:   # no other record has its shape: it is its own neighbour
            gaps += _with_itself(session, inputs, batch)
    places = np.argsort(order)
    outputs = {name: np.concatenate([piece[name] for piece in pieces])[places] for name in pieces[0]}
    return FrozenRun(outputs, len(order), max(gaps) == 0.0, max(gaps))


def _run(session: OnnxSession, inputs: Mapping[str, Array], rows: int) -> dict[str, Array]:
    outputs = session.run(inputs)
    for name, array in outputs.items():
        if len(array) != rows:
            raise ModelFailed(f"of {rows} records {name} has {len(array)} rows: its first axis is not that of records")
    return outputs


def _with_itself(session: OnnxSession, inputs: Mapping[str, Array], single: Mapping[str, Array]) -> list[float]:
    try:
        pair = _run(session, {name: np.concatenate([array, array]) for name, array in inputs.items()}, 2)
    except ModelFailed:
        return [np.inf]
    return _gaps(single, pair, 0) + _gaps(single, pair, 1)


def _gaps(single: Mapping[str, Array], batch: Mapping[str, Array], index: int) -> list[float]:
    """Return how far each output of a record alone is from that in a batch; 0 only for the same bits."""
    gaps = []
    for name, value in single.items():
        other = batch[name][index : index + 1]
        if value.shape != other.shape:
            gaps.append(np.inf)
        elif value.dtype == np.object_ or value.tobytes() != other.tobytes():
            gaps.append(distance(value, other))
    return gaps


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
