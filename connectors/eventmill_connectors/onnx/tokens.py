"""From texts to the inputs of a text encoder: its tokenizer, and the padding that keeps vectors the same bit by bit."""

from collections.abc import Mapping, Sequence

import numpy as np
from tokenizers import Tokenizer

from eventmill_connectors.onnx.artifact import Artifact
from eventmill_connectors.onnx.manifest import Manifest
from eventmill_connectors.onnx.parity import Array
from eventmill_schemas.errors import ModelUnusable

# A text is padded to a multiple of this, whatever is computed beside it: only padding changes the bits of its vector.
BUCKET = 8


def load_tokenizer(artifact: Artifact) -> Tokenizer:
    """Load the tokenizer of a text encoder: it cuts a text on the right at `max_tokens`, and does not pad.

    What the file says itself about cutting and padding belongs to another use of it, and is not taken. Thread-safe to
    use. Raises ModelUnusable.
    """
    if artifact.tokenizer is None or artifact.manifest.max_tokens is None:
        raise ModelUnusable(f"{artifact} has no tokenizer: it takes no texts")
    return read_tokenizer(artifact.tokenizer.read_bytes(), artifact.manifest.max_tokens, str(artifact.tokenizer))


def read_tokenizer(content: bytes, max_tokens: int, name: str) -> Tokenizer:
    """Read the content of a `tokenizer.json`, as `load_tokenizer` does."""
    try:
        tokenizer = Tokenizer.from_buffer(content)
    except Exception as error:   # the library raises nothing narrower
        raise ModelUnusable(f"{name} is no tokenizer of the library `tokenizers`: {error}") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def padded_length(tokens: int, max_tokens: int) -> int:
    """Return the length to which a text of so many tokens is padded."""
    return min(-(-max(tokens, 1) // BUCKET) * BUCKET, max(max_tokens, tokens))


def text_inputs(manifest: Manifest, rows: Sequence[Sequence[int]], width: int) -> dict[str, Array]:
    """Return the inputs of a text encoder for rows of token ids, padded on the right to `width`.

    Shapes are (rows, width); dtypes are those of the manifest.
    """
    ids = np.zeros((len(rows), width), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    arrays: Mapping[str, Array] = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return {spec.name: arrays[spec.name].astype(spec.dtype) for spec in manifest.inputs}
