"""A text model as the batcher uses it: tokenizer, session and labels of an artefact."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from eventmill_connectors.onnx.batcher import Tokens
from eventmill_connectors.onnx.head import softmax
from eventmill_connectors.onnx.live import LiveModel
from eventmill_connectors.onnx.manifest import CONFIDENCE, EMBEDDING, LABEL, LOGITS, Manifest
from eventmill_connectors.onnx.parity import Array
from eventmill_connectors.onnx.tokens import BUCKET, load_tokenizer, padded_length, text_inputs
from eventmill_schemas.errors import EventmillError, InferenceFailed
from eventmill_schemas.local_models import Encoded

_CHARACTERS = 4        # of a token, about
_MOST_CHARACTERS = 1000   # of a token; what lies beyond so many for each token that the model takes is not looked at


class TextEncoder:
    """Computes texts. Satisfies `batcher.Encoder`. Raises ModelUnusable for a model that takes no texts."""

    def __init__(self, model: LiveModel) -> None:
        self._model = model
        self._manifest: Manifest = model.artifact.manifest
        self._tokenizer: Tokenizer = load_tokenizer(model.artifact)
        self._most = self._manifest.max_tokens or 0

    def estimate(self, text: str) -> int:
        """Return about how many tokens `text` has with padding, by its length."""
        return min(self._most, len(text) // _CHARACTERS + BUCKET)

    def tokenize(self, texts: Sequence[str]) -> Sequence[Tokens]:
        """Return the tokens of each text, cut at what the model takes."""
        most = _MOST_CHARACTERS * self._most
        encodings = self._tokenizer.encode_batch_fast([text[:most] for text in texts])
        return [
            Tokens(ids, padded_length(len(ids), self._most), cut=len(text) > most or bool(encoding.overflowing))
            for text, encoding in zip(texts, encodings, strict=True)
            for ids in (encoding.ids,)
        ]

    def compute(self, batch: Sequence[Tokens]) -> Sequence[Encoded | EventmillError]:
        """Compute texts of one width. Raises ModelFailed, OutOfMemory."""
        outputs = self._model.run(text_inputs(self._manifest, [one.ids for one in batch], batch[0].width))
        return [self._row(outputs, index) for index in range(len(batch))]

    def probe(self) -> None:
        """Compute the shortest text. Raises ModelFailed."""
        tokens = self._tokenizer.encode("").ids
        self._model.probe(text_inputs(self._manifest, [tokens], padded_length(len(tokens), self._most)))

    def _row(self, outputs: dict[str, Array], index: int) -> Encoded | EventmillError:
        vector: Any = outputs[EMBEDDING][index] if EMBEDDING in outputs else None
        label, confidence = self._label(outputs, index)
        sane = vector is None or bool(np.isfinite(vector).all())
        if not sane or (confidence is not None and not np.isfinite(confidence)):
            return InferenceFailed("a local model computed NaN or infinity for this text")
        return Encoded(0, None if vector is None else vector.astype(np.float32), label, confidence)

    def _label(self, outputs: dict[str, Array], index: int) -> tuple[str | None, float | None]:
        labels = self._manifest.labels
        if labels is None:
            return None, None
        if LABEL in outputs and CONFIDENCE in outputs:
            return labels[int(outputs[LABEL][index])], float(outputs[CONFIDENCE][index])
        if LOGITS not in outputs:
            return None, None
        probabilities = softmax(outputs[LOGITS][index : index + 1])[0]
        best = int(probabilities.argmax())
        return labels[best], float(probabilities[best])
