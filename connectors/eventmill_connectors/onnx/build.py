"""`eventmill models build`: a text encoder from its weights, with a classification head if there are labels."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eventmill_connectors.onnx.artifact import Artifact, check_name, new_folder
from eventmill_connectors.onnx.assembly import Made, draft, finish, parity_texts, text_parity, write_model
from eventmill_connectors.onnx.bert import Precision, build_encoder
from eventmill_connectors.onnx.bulk import embedder
from eventmill_connectors.onnx.frozen_run import run_frozen
from eventmill_connectors.onnx.head import Head
from eventmill_connectors.onnx.manifest import CONFIDENCE, EMBEDDING, LABEL, LOGITS, TOKENIZER_FILE, Manifest
from eventmill_connectors.onnx.parity import Array, Parity, read_parity
from eventmill_connectors.onnx.session import Device, OnnxSession
from eventmill_connectors.onnx.sources import MINILM_WEIGHTS, EncoderSource
from eventmill_connectors.onnx.tokens import read_tokenizer
from eventmill_connectors.onnx.training import HeadReport
from eventmill_schemas.errors import ModelUnusable

MINILM_PARITY = Path(__file__).parent / "minilm_parity.npz"

# Given a function from texts to vectors, a head and the report on it.
Train = Callable[[Callable[[Sequence[str]], Array]], tuple[Head, HeadReport]]


@dataclass(frozen=True, slots=True)
class EncoderRequest:
    """What to build: a model called `name` under the folder `models`.

    `parity` is a file of texts and the vectors they must have; None: those that are known, which are MiniLM's, else
    the vectors that the graph gives without optimisation.
    """

    name: str
    models: Path
    precision: Precision = "fp32"
    parity: Path | None = None


def build(source: EncoderSource, request: EncoderRequest, train: Train | None = None) -> Made:
    """Build the encoder, train a head on its vectors if `train` is given, pass the gate, store it and make it live.

    The same weights and labels make the same files. Raises ModelUnusable; what `train` raises.
    """
    check_name(request.name)
    parity, reference = _parity(source, request)
    with new_folder(request.models, request.name) as folder:
        (folder / TOKENIZER_FILE).write_bytes(source.tokenizer)
        manifest = _encoder(folder, source, request)
        if train is None:
            return finish(folder, manifest, parity, reference)
        headless = Artifact(folder, manifest)
        tokenizer = read_tokenizer(source.tokenizer, source.max_tokens, TOKENIZER_FILE)
        head, report = train(embedder(manifest, tokenizer, OnnxSession(headless, Device())))
        if not parity.outputs:
            plain = OnnxSession(headless, Device(), optimised=False)
            parity = dataclasses.replace(parity, outputs=run_frozen(manifest, parity, plain, alone=False).outputs)
        parity = dataclasses.replace(parity, outputs=_classified(parity.outputs[EMBEDDING], head))
        manifest = _encoder(folder, source, request, head, report)
        return finish(folder, manifest, parity, reference)


def _encoder(
    folder: Path,
    source: EncoderSource,
    request: EncoderRequest,
    head: Head | None = None,
    report: HeadReport | None = None,
) -> Manifest:
    model = build_encoder(source, request.precision, head)
    write_model(folder, model)
    manifest = draft(
        folder,
        model,
        name=request.name,
        task="embedding" if head is None else "classification",
        source=f"{source.name} from {source.origin}, model.safetensors {source.weights[:12]}",
        licence=source.licence,
        precision=request.precision,
        vector_space=f"{source.name}.{source.weights[:8]}.{source.pooling}.{request.precision}",
        pooling=source.pooling,
        max_tokens=source.max_tokens,
        labels=None if head is None else head.labels,
        head=None if report is None else json.loads(json.dumps(report.as_dict())),
    )
    words = read_tokenizer(source.tokenizer, source.max_tokens, TOKENIZER_FILE).get_vocab_size()
    rows = int(source.config.get("vocab_size", words))
    if words > rows:
        raise ModelUnusable(
            f"the tokenizer knows {words} tokens and the model {rows}: they don't belong together",
            remedy="Take both from the same folder",
        )
    return manifest


def _parity(source: EncoderSource, request: EncoderRequest) -> tuple[Parity, str]:
    """Return texts with the vectors that they must have, as far as these are known, and where they are from."""
    if request.parity is not None:
        given = read_parity(request.parity)
        if EMBEDDING not in given.outputs or len(given.texts) != len(given.outputs[EMBEDDING]):
            raise ModelUnusable(
                f"{request.parity} has not a vector for each text",
                remedy=f"Give it the arrays texts (N,) and out.{EMBEDDING} (N, H)",
            )
        outputs = {EMBEDDING: given.outputs[EMBEDDING].astype(np.float32)}
        return text_parity(given.texts, source.tokenizer, source.max_tokens, outputs), "given"
    if source.weights == MINILM_WEIGHTS and source.max_tokens == 256 and source.pooling == "mean":
        return read_parity(MINILM_PARITY), "frozen"
    return text_parity(parity_texts(), source.tokenizer, source.max_tokens, {}), "unoptimised"


def _classified(vectors: Array, head: Head) -> dict[str, Array]:
    """Return what the outputs must be for these vectors, computed by the head itself."""
    indices, confidences = head.classify(vectors)
    return {
        EMBEDDING: vectors,
        LOGITS: head.logits(vectors).astype(np.float32),
        CONFIDENCE: confidences.astype(np.float32),
        LABEL: indices.astype(np.int64),
    }
