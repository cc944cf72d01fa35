"""What is known about a model artefact: the content of its `manifest.json`."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

FORMAT = 1

MODEL_FILE, TOKENIZER_FILE, PARITY_FILE = "model.onnx", "tokenizer.json", "parity.npz"

# What text encoders have in common, ours and imported ones.
TEXT_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})
EMBEDDING, LOGITS, CONFIDENCE, LABEL = "sentence_embedding", "logits", "confidence", "label"

Task = Literal["embedding", "classification", "generic"]

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_STRICT = ConfigDict(extra="forbid", strict=True)

# These don't change what the model computes, so they are not part of its version.
_BESIDE_THE_CONTENT = ("name", "version", "source", "licence", "producer", "operators", "parity", "head")


class ManifestUnreadable(ValueError):
    """The text is no manifest, or one of a later format; the message says why."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output: its numpy dtype (`object` for text), and its shape; a name stands for a size that varies."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    __pydantic_config__: ClassVar = _STRICT


@dataclass(frozen=True, slots=True)
class ParityNumbers:
    """How near a model came to the frozen outputs when it was built.

    `reference` says what computed these: "frozen" (known vectors), "given" (the user's file) or "unoptimised" (the
    model itself without graph optimisation, on one thread). `cosine_min` is None where there is no embedding.
    """

    reference: str
    rows: int
    max_abs: float
    cosine_min: float | None = None

    __pydantic_config__: ClassVar = _STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A model artefact, described. Immutable: a change makes another version.

    `vector_space` names the set of vectors that may be compared with each other; None without an embedding.
    `files` are the sha256 hashes of all files beside the manifest. `operators` counts the nodes as ONNX Runtime
    assigned them, with their domain where it is not ONNX's own. `batch_invariant` says that on a CPU a record's
    outputs have the same bits alone and in any batch of the same shapes; where it is false, records are run one at a
    time. `head` is the report of the training of a classification head.
    """

    name: str
    version: str
    task: Task
    files: Mapping[str, str]
    source: str
    licence: str | None
    producer: str
    opsets: Mapping[str, int]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    precision: str
    batch_invariant: bool
    operators: Mapping[str, int]
    parity: ParityNumbers
    vector_space: str | None = None
    dimensions: int | None = None
    pooling: str | None = None
    normalised: bool = False
    max_tokens: int | None = None
    labels: tuple[str, ...] | None = None
    head: Mapping[str, Any] | None = None
    format: int = field(default=FORMAT)

    __pydantic_config__: ClassVar = _STRICT

    @property
    def takes_text(self) -> bool:
        """Whether its inputs are the tokens of a text."""
        return self.max_tokens is not None

    @property
    def varies_in_rows(self) -> bool:
        """Whether all inputs and outputs begin with one axis of any size: that of the records of a batch."""
        return all(spec.shape and isinstance(spec.shape[0], str) for spec in (*self.inputs, *self.outputs))


_READER: TypeAdapter[Manifest] = TypeAdapter(Manifest)


def content_version(manifest: Manifest) -> str:
    """Return the version that belongs to the content: 12 hex digits of a sha256.

    It covers the hashes of all files and what the manifest declares about them; not names, origins and measurements.
    """
    document = dataclasses.asdict(manifest)
    for key in _BESIDE_THE_CONTENT:
        del document[key]
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def manifest_text(manifest: Manifest) -> str:
    """Return the content of `manifest.json`: the same text for the same manifest, everywhere."""
    return json.dumps(dataclasses.asdict(manifest), indent=2, sort_keys=True, ensure_ascii=True) + "\n"


def read_manifest(text: str | bytes) -> Manifest:
    """Read what `manifest_text` wrote. Raises ManifestUnreadable."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ManifestUnreadable(f"it is not JSON ({error})") from error
    known = document.get("format") if isinstance(document, dict) else None
    if isinstance(known, int) and known > FORMAT:
        raise ManifestUnreadable(f"its format is {known}, and this eventmill knows formats up to {FORMAT}")
    try:
        manifest = _READER.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise ManifestUnreadable(f"{place}: {first['msg']}") from error
    for name in manifest.files:
        if not _FILE_NAME.fullmatch(name):
            raise ManifestUnreadable(f"files: {name!r} is no file name")
    return manifest
