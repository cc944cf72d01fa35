"""The last steps of every new model: reference outputs, the gate on this machine, and its place on disk."""

import dataclasses
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import EncodeError  # type: ignore[import-untyped]  # of onnx, which has types, and raises it
from onnx import ModelProto

from eventmill_connectors.onnx.artifact import Artifact, describe, store
from eventmill_connectors.onnx.comparison import compare, tolerance_of
from eventmill_connectors.onnx.frozen_run import run_frozen
from eventmill_connectors.onnx.gate import GateReport, check
from eventmill_connectors.onnx.manifest import (
    EMBEDDING,
    MODEL_FILE,
    PARITY_FILE,
    Manifest,
    ParityNumbers,
)
from eventmill_connectors.onnx.parity import Array, Parity, write_parity
from eventmill_connectors.onnx.session import Device, OnnxSession
from eventmill_connectors.onnx.tokens import padded_length, read_tokenizer
from eventmill_schemas.errors import ModelUnusable

_TEXTS = Path(__file__).parent / "parity_texts.json"


@dataclass(frozen=True, slots=True)
class Made:
    """A model that was made, has passed the gate and is live; and what the gate saw."""

    artifact: Artifact
    report: GateReport


def write_model(folder: Path, model: ModelProto) -> None:
    """Write the graph as `model.onnx`: the same bytes for the same graph. Raises ModelUnusable if it is too large."""
    try:
        content = model.SerializeToString(deterministic=True)
    except EncodeError as error:   # protobuf's only reason is the size
        raise too_large() from error
    (folder / MODEL_FILE).write_bytes(content)


def too_large() -> ModelUnusable:
    """Return the error for a model of more than 2 GiB, which is more than a message of protobuf holds."""
    return ModelUnusable(
        "the model is larger than the 2 GiB that fit into one ONNX file", remedy="Store its weights in half precision"
    )


def draft(folder: Path, model: ModelProto, **declared: Any) -> Manifest:
    """Return the manifest of a new model as far as it is known before the gate.

    `declared` are the fields of the manifest that the caller knows; the rest is what graph and ONNX Runtime say.
    """
    blank = Manifest(
        version="",
        files={},
        producer=f"eventmill {importlib.metadata.version('eventmill')}, onnx {onnx.__version__}",
        opsets={opset.domain or "ai.onnx": opset.version for opset in model.opset_import},
        inputs=(),
        outputs=(),
        batch_invariant=False,
        operators={},
        parity=ParityNumbers("", 0, 0.0),
        **declared,
    )
    session = OnnxSession(Artifact(folder, blank), Device())
    widths = [spec.shape[-1] for spec in session.outputs if spec.name == EMBEDDING and spec.shape]
    dimensions = widths[0] if widths and isinstance(widths[0], int) else None
    return dataclasses.replace(
        blank,
        inputs=session.inputs,
        outputs=session.outputs,
        dimensions=dimensions,
        operators=session.operator_counts(),
    )


def finish(folder: Path, manifest: Manifest, parity: Parity, reference: str) -> Made:
    """Freeze `parity`, pass the gate, store the model and make it live.

    Where `parity` has no outputs, they are computed here, by the graph as it is in the file: so the gate finds an
    optimisation that changes what is computed. Raises ModelUnusable.
    """
    described = Artifact(folder, manifest)
    session = OnnxSession(described, Device())
    if not parity.outputs:
        plain = OnnxSession(described, Device(), optimised=False)
        outputs = run_frozen(manifest, parity, plain, alone=False).outputs
        parity = dataclasses.replace(parity, outputs=outputs)
    write_parity(folder / PARITY_FILE, parity)
    found = run_frozen(manifest, parity, session, alone=True)
    invariant = manifest.varies_in_rows and found.same_alone
    if not invariant:   # it will be run as the reference was: one record at a time
        found = run_frozen(manifest, parity, session, alone=False)
    try:
        nearness = compare(parity.outputs, found.outputs, tolerance_of(manifest.precision))
    except ValueError as error:
        raise ModelUnusable(
            f"the model does not compute what it should ({reference} outputs): {error}",
            remedy="Its graph, or the way ONNX Runtime optimises it, is at fault: export it otherwise",
        ) from error
    manifest = dataclasses.replace(
        manifest,
        batch_invariant=invariant,
        normalised=EMBEDDING in found.outputs and _has_length_one(found.outputs[EMBEDDING]),
        parity=ParityNumbers(reference, found.rows, nearness.max_abs, nearness.cosine_min),
    )
    described = describe(folder, manifest)
    report = check(described, session)
    return Made(store(described), report)


def parity_texts() -> Sequence[str]:
    """Return the texts that stand for all others: short and long ones, of many scripts, empty, and too long."""
    texts: list[str] = json.loads(_TEXTS.read_bytes())
    return texts


def text_parity(texts: Sequence[str], tokenizer: bytes, max_tokens: int, outputs: Mapping[str, Array]) -> Parity:
    """Return frozen inputs for texts, cut into tokens by the content of a `tokenizer.json`, with these outputs."""
    cutter = read_tokenizer(tokenizer, max_tokens, "the tokenizer")
    tokens = [cutter.encode(text).ids for text in texts]
    ids = np.zeros((len(tokens), padded_length(max(map(len, tokens)), max_tokens)), dtype=np.int32)
    mask = np.zeros_like(ids)
    for row, its in enumerate(tokens):
        ids[row, : len(its)], mask[row, : len(its)] = its, 1
    return Parity({"input_ids": ids, "attention_mask": mask}, outputs, tuple(texts))


def _has_length_one(vectors: Array) -> bool:
    return bool(np.all(np.abs(np.linalg.norm(vectors.astype(np.float64), axis=-1) - 1) < 1e-3))
