"""The gate of every model, when it is made and each time it is loaded: it must compute here what it should.

It runs under the settings of production: graph optimisation has changed results without a word (a quantised matrix
product lost its bias), and so have other padding and silently chosen devices.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from eventmill_connectors.onnx.artifact import Artifact
from eventmill_connectors.onnx.comparison import compare, tolerance_of
from eventmill_connectors.onnx.frozen_run import run_frozen
from eventmill_connectors.onnx.manifest import EMBEDDING, LOGITS, TensorSpec
from eventmill_connectors.onnx.parity import Parity, read_parity
from eventmill_connectors.onnx.session import CPU, CUDA, OnnxSession
from eventmill_connectors.onnx.tokens import load_tokenizer
from eventmill_schemas.errors import ModelUnusable

_AGAIN = "Build or import it again with this machine's versions; if it fails again, report it"

# Operators that do the work; the others only shape it, and may stay on the CPU.
_WORK = ("MatMul", "Gemm", "Conv", "Attention", "SkipLayerNormalization", "EmbedLayerNormalization", "BiasGelu", "LSTM")


@dataclass(frozen=True, slots=True)
class GateReport:
    """What the gate saw.

    `rows` records were computed; `max_abs` and `cosine_min` say how near they came to the frozen outputs (see
    `comparison.Nearness`). `batch_difference` is the largest between a record alone and in a batch, None where records
    are run one at a time anyway. `operators` counts the nodes by provider. `seconds` is what the gate took.
    """

    provider: str
    rows: int
    max_abs: float
    cosine_min: float | None
    batch_difference: float | None
    operators: Mapping[str, Mapping[str, int]]
    seconds: float


def check(artifact: Artifact, session: OnnxSession) -> GateReport:
    """Let a loaded model compute its frozen inputs, and compare. Takes about as long as these take twice.

    Guarantees of what passes: inputs and outputs are those of the manifest; outputs are within the tolerance of the
    manifest's precision, and none is NaN or infinite where the frozen one is not; texts become the frozen tokens; if
    the manifest says that the model is batch-invariant, a record has the same bits alone and in a batch (on a CPU; on
    a GPU: is within the tolerance). Raises ModelUnusable, which says which of these failed.
    """
    began = time.perf_counter()
    manifest, parity = artifact.manifest, read_parity(artifact.parity)
    _check_signature(artifact, session)
    _check_operators(artifact, session)
    if not parity.outputs:
        raise ModelUnusable(f"{artifact.parity} has no outputs to compare with", remedy=_AGAIN)
    tolerance = tolerance_of(manifest.precision)
    found = run_frozen(manifest, parity, session, alone=manifest.batch_invariant)
    if parity.texts:
        _check_tokens(artifact, parity)
    try:
        nearness = compare(parity.outputs, found.outputs, tolerance)
    except ValueError as error:
        raise ModelUnusable(f"{artifact} does not compute what it should: {error}", remedy=_AGAIN) from error
    exact = session.provider == CPU
    if not (found.same_alone if exact else found.difference_alone <= tolerance.batch):
        raise ModelUnusable(
            f"{artifact} computes a record otherwise in a batch than alone: up to {found.difference_alone:.2g} apart",
            remedy=_AGAIN,
        )
    return GateReport(
        provider=session.provider,
        rows=found.rows,
        max_abs=nearness.max_abs,
        cosine_min=nearness.cosine_min,
        batch_difference=found.difference_alone if manifest.batch_invariant else None,
        operators=session.operators,
        seconds=time.perf_counter() - began,
    )


def _check_signature(artifact: Artifact, session: OnnxSession) -> None:
    manifest = artifact.manifest
    for kind, said, found in (
        ("inputs", manifest.inputs, session.inputs),
        ("outputs", manifest.outputs, session.outputs),
    ):
        if said != found:
            raise ModelUnusable(
                f"the {kind} of {artifact} are {_shown(found)}, and its manifest says {_shown(said)}", remedy=_AGAIN
            )
    shapes = {spec.name: spec.shape for spec in manifest.outputs}
    if EMBEDDING in shapes and shapes[EMBEDDING][-1] != manifest.dimensions:
        raise ModelUnusable(
            f"the vectors of {artifact} have {shapes[EMBEDDING][-1]} dimensions, and its manifest says "
            f"{manifest.dimensions}",
            remedy=_AGAIN,
        )
    if manifest.labels is not None and LOGITS in shapes and shapes[LOGITS][-1] != len(manifest.labels):
        raise ModelUnusable(
            f"{artifact} has {shapes[LOGITS][-1]} classes, and its manifest {len(manifest.labels)} labels",
            remedy=_AGAIN,
        )


def _check_operators(artifact: Artifact, session: OnnxSession) -> None:
    counts = session.operator_counts()
    for name, count in artifact.manifest.operators.items():
        # Fused operators have a domain; what stands in for them is slower, or computes something else.
        if "." in name and counts.get(name, 0) < count:
            raise ModelUnusable(
                f"{artifact} should run {count} nodes {name}, and ONNX Runtime made {counts.get(name, 0)} of them",
                remedy=_AGAIN,
            )
    if session.provider == CUDA:
        left = [name for name in session.operators.get(CPU, {}) if name.rpartition(".")[2] in _WORK]
        if left:
            raise ModelUnusable(
                f"{artifact} would run {', '.join(left)} on the CPU, though the session is on the GPU",
                remedy="Run it with `device: cpu`, or import the model in operators that CUDA has",
            )


def _check_tokens(artifact: Artifact, parity: Parity) -> None:
    tokenizer = load_tokenizer(artifact)
    for text, frozen in zip(parity.texts, parity.tokens(), strict=True):
        if tokenizer.encode(text).ids != frozen:
            raise ModelUnusable(
                f"the tokenizer of {artifact} is not that of its model: it cuts {text[:40]!r} into other tokens",
                remedy=_AGAIN,
            )


def _shown(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"{spec.name} {spec.dtype}{list(spec.shape)}" for spec in specs) or "none"
