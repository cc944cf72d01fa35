"""`eventmill models import`: any ONNX file becomes an artefact, once it was seen to compute here what it should."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]  # of onnx, which has types, and raises it
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, checker, defs
from onnx.external_data_helper import load_external_data_for_model

from eventmill_connectors.onnx.artifact import Artifact, check_name, file_hash, new_folder
from eventmill_connectors.onnx.assembly import Made, draft, finish, parity_texts, text_parity, too_large, write_model
from eventmill_connectors.onnx.extend import add_classes, add_pooling
from eventmill_connectors.onnx.manifest import (
    CONFIDENCE,
    EMBEDDING,
    LABEL,
    MODEL_FILE,
    TEXT_INPUTS,
    TOKENIZER_FILE,
    Manifest,
    Task,
    TensorSpec,
)
from eventmill_connectors.onnx.parity import Array, Parity, read_parity
from eventmill_connectors.onnx.session import Device, OnnxSession, operator_name
from eventmill_schemas.errors import ModelFailed, ModelUnusable, UsageError

_ONNX_DOMAINS = ("", "ai.onnx.ml")
_DTYPES = {"object", "bool", "float16", "float32", "float64"}
_DTYPES |= {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_LARGEST = 1 << 31   # bytes of a file of protobuf
_ROWS = 4   # of trial inputs
_QUANTISED = ("QLinear", "QuantizeLinear", "DequantizeLinear", "DynamicQuantize", "MatMulInteger", "ConvInteger")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """What to import: the ONNX file, as a model called `name` under the folder `models`.

    `tokenizer` (a tokenizer.json) makes it a text encoder of at most `max_tokens` tokens; `pooling`, "mean" or "cls",
    makes one vector of those of its tokens. `labels` names its classes, in the order of its logits. `parity` is a file
    of inputs, and of the outputs that they must give if these are known.
    """

    file: Path
    name: str
    models: Path
    tokenizer: Path | None = None
    max_tokens: int = 512
    pooling: str | None = None
    labels: tuple[str, ...] | None = None
    parity: Path | None = None


def import_onnx(request: ImportRequest) -> Made:
    """Import an ONNX file, pass the gate, store it and make it live.

    External data is taken into the file. Without known outputs those of the graph without optimisation are frozen, for
    the given inputs, for texts, or for trial inputs: zeros and small numbers. Raises ModelUnusable, UsageError.
    """
    check_name(request.name)
    model = _read(request.file)
    labels = request.labels or _own_labels(model)
    if request.pooling is not None:
        add_pooling(model, request.pooling)
    if request.labels is not None and LABEL not in {output.name for output in model.graph.output}:
        add_classes(model, request.labels)
    with new_folder(request.models, request.name) as folder:
        write_model(folder, model)
        tokenizer = _tokenizer(request)
        if tokenizer is not None:
            (folder / TOKENIZER_FILE).write_bytes(tokenizer)
        manifest = _manifest(folder, model, request, labels)
        parity, given = _parity(folder, manifest, request, tokenizer)
        return finish(folder, manifest, parity, "given" if given else "unoptimised")


def _read(file: Path) -> ModelProto:
    try:
        # Whatever the file is called; and its weights only when it is known that they fit.
        model = onnx.load(file, format="protobuf", load_external_data=False)
        _refuse_large(file, model)
        load_external_data_for_model(model, str(file.parent))
    except FileNotFoundError as error:
        raise ModelUnusable(f"there is no file {error.filename or file}") from error
    except (DecodeError, ValueError) as error:
        raise ModelUnusable(f"{file} is no ONNX file: {error}") from error
    except checker.ValidationError as error:
        raise ModelUnusable(f"the external data of {file} can't be read: {_shortened(error)}") from error
    _refuse_unknown_operators(file, model)
    try:
        checker.check_model(model)
    except EncodeError as error:
        raise too_large() from error
    except (checker.ValidationError, ValueError) as error:
        raise ModelUnusable(f"{file} is no valid ONNX model: {_shortened(error)}") from error
    return model


def _refuse_large(file: Path, model: ModelProto) -> None:
    entries = [entry for weight in model.graph.initializer for entry in weight.external_data]
    beside = {file.parent / entry.value for entry in entries if entry.key == "location"}
    sizes = [one.stat().st_size for one in beside if one.is_file()]
    if sum(sizes) + file.stat().st_size >= _LARGEST:
        raise too_large()


def _refuse_unknown_operators(file: Path, model: ModelProto) -> None:
    """Name the operators that ONNX does not define; what a runtime adds in domains of its own, it will know itself."""
    own = {(function.domain, function.name) for function in model.functions}
    used = {("" if node.domain == "ai.onnx" else node.domain, node.op_type) for node in _all_nodes(model.graph)} - own
    unknown = sorted(
        operator_name(domain, operator)
        for domain, operator in used
        if domain in _ONNX_DOMAINS and not defs.has(operator, domain)
    )
    if unknown:
        raise ModelUnusable(
            f"{file} has operators that ONNX does not know: {', '.join(unknown)}",
            remedy="Export it with the operators of ONNX, or write those as functions into the file",
        )


def _tokenizer(request: ImportRequest) -> bytes | None:
    if request.tokenizer is None:
        if request.pooling is not None:
            raise UsageError("pooling is for models of texts", remedy="Name the tokenizer too: --tokenizer FILE")
        return None
    try:
        return request.tokenizer.read_bytes()
    except OSError as error:
        raise UsageError(f"{request.tokenizer} can't be read: {error.strerror}") from error


def _manifest(
    folder: Path, model: ModelProto, request: ImportRequest, labels: tuple[str, ...] | None
) -> Manifest:
    precision = _precision(model)
    embeds = any(output.name == EMBEDDING for output in model.graph.output)
    manifest = draft(
        folder,
        model,
        name=request.name,
        task=_task(model, request, labels),
        source=f"{request.file.name}, sha256 {file_hash(request.file)[:12]}",
        licence=None,
        precision=precision,
        vector_space=f"{request.name}.{file_hash(folder / MODEL_FILE)[:8]}.{precision}" if embeds else None,
        pooling=request.pooling,
        max_tokens=_max_tokens(model, request),
        labels=labels,
    )
    for spec in (*manifest.inputs, *manifest.outputs):
        _dtype(spec)
    if manifest.takes_text and not {spec.name for spec in manifest.inputs} <= TEXT_INPUTS:
        names = ", ".join(spec.name for spec in manifest.inputs)
        raise ModelUnusable(
            f"a tokenizer is given, and the inputs of {request.file} are not those of texts: {names}",
            remedy=f"Texts are given as {', '.join(sorted(TEXT_INPUTS))}",
        )
    if embeds and manifest.dimensions is None:
        raise ModelUnusable(f"{request.file} does not say how many dimensions {EMBEDDING} has")
    return manifest


def _task(model: ModelProto, request: ImportRequest, labels: tuple[str, ...] | None) -> Task:
    outputs = {output.name for output in model.graph.output}
    if labels is not None and {LABEL, CONFIDENCE} <= outputs:
        return "classification"
    if EMBEDDING not in outputs and request.tokenizer is not None:
        raise ModelUnusable(
            f"{request.file} makes neither a vector nor a label of a text, but {', '.join(sorted(outputs))}",
            remedy="Let it make a vector with --pooling mean (or cls), or a label with --class-names FILE",
        )
    return "embedding" if EMBEDDING in outputs else "generic"


def _max_tokens(model: ModelProto, request: ImportRequest) -> int | None:
    if request.tokenizer is None:
        return None
    if any(axis.dim_value for entry in model.graph.input for axis in entry.type.tensor_type.shape.dim):
        raise ModelUnusable(
            f"{request.file} takes texts of one length, or one number of texts, only",
            remedy="Export it with dynamic axes for both",
        )
    return request.max_tokens


def _own_labels(model: ModelProto) -> tuple[str, ...] | None:
    """Return the labels that models built here carry with them."""
    for entry in model.metadata_props:
        if entry.key == "labels":
            try:
                labels = json.loads(entry.value)
            except ValueError:
                continue
            if isinstance(labels, list) and all(isinstance(label, str) for label in labels):
                return tuple(labels)
    return None


def _precision(model: ModelProto) -> str:
    if any(node.op_type.startswith(_QUANTISED) for node in _all_nodes(model.graph)):
        return "int8"
    halves = sum(weight.data_type == TensorProto.FLOAT16 for weight in model.graph.initializer)
    singles = sum(weight.data_type == TensorProto.FLOAT for weight in model.graph.initializer)
    return "fp16" if halves > singles else "fp32"


def _parity(
    folder: Path, manifest: Manifest, request: ImportRequest, tokenizer: bytes | None
) -> tuple[Parity, bool]:
    """Return the inputs to freeze, with the outputs that are known; and whether there are such."""
    given = read_parity(request.parity) if request.parity else Parity({}, {})
    if tokenizer is not None and manifest.max_tokens is not None:
        if not given.inputs:
            texts = given.texts or parity_texts()
            given = text_parity(texts, tokenizer, manifest.max_tokens, given.outputs)
    elif request.parity is None:
        given = Parity(_trial(folder, manifest), {})
    return given, bool(given.outputs)


def _trial(folder: Path, manifest: Manifest) -> dict[str, Array]:
    """Return inputs that the model can compute: of several records if it takes them, else of one."""
    session = OnnxSession(Artifact(folder, manifest), Device())
    failed: ModelFailed | None = None
    for rows in (_ROWS, 1):
        inputs = {spec.name: _numbers(spec, rows) for spec in manifest.inputs}
        try:
            outputs = session.run(inputs)
        except ModelFailed as error:
            failed = error
            continue
        if rows == 1 or not manifest.varies_in_rows or all(len(array) == rows for array in outputs.values()):
            return inputs
    assert failed is not None  # noqa: S101 - the loop ends by it only
    raise ModelUnusable(
        f"the model can't compute zeros: {failed.message}",
        remedy="Give it inputs that it can compute with --parity FILE.npz, as arrays called in.<input>",
    ) from failed


def _numbers(spec: TensorSpec, rows: int) -> Array:
    """Return zeros for the first record, and small numbers for the others: 0 and 1, or normally distributed."""
    first = (rows, *[1] * len(spec.shape))   # where a size varies
    shape = [size if isinstance(size, int) else first[axis] for axis, size in enumerate(spec.shape)]
    dtype = _dtype(spec)
    if dtype == np.object_:
        return np.full(shape, "", dtype=object)
    random = np.random.default_rng(0)
    whole = not np.issubdtype(dtype, np.floating)
    values = np.asarray(random.integers(0, 2, shape) if whole else random.normal(size=shape)).astype(dtype)
    if shape:
        values[0] = 0
    return values


def _dtype(spec: TensorSpec) -> np.dtype[Any]:
    if spec.dtype not in _DTYPES:
        raise ModelUnusable(
            f"{spec.name} is of the type {spec.dtype}, which numpy does not have",
            remedy="Cast it to float32 in the graph",
        )
    return np.dtype(spec.dtype)


def _all_nodes(graph: GraphProto) -> Iterable[NodeProto]:
    """Return the nodes of a graph and of those inside its nodes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _all_nodes(inner)


def _shortened(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
