"""Vectors of a text encoder as torch and transformers compute them, in double precision and without any padding.

Run as a script it freezes them for MiniLM: .venv-train/bin/python tests/parity/oracle.py
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from eventmill_connectors.onnx.assembly import parity_texts
from eventmill_connectors.onnx.build import MINILM_PARITY
from eventmill_connectors.onnx.manifest import EMBEDDING
from eventmill_connectors.onnx.parity import Parity, write_parity
from eventmill_connectors.onnx.sources import MINILM_MODULE

logging.disable_progress_bar()


class Oracle:
    """The encoder in a folder of sentence-transformers: its tokens and its vectors, text by text."""

    def __init__(self, folder: Path, pooling: str, max_tokens: int) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModel.from_pretrained(folder, attn_implementation="eager", dtype=torch.float64)
        self._model = model.eval()
        self._pooling = pooling
        self._max_tokens = max_tokens

    def tokens(self, text: str) -> list[int]:
        """Return the ids of a text's tokens, cut on the right."""
        return self._tokenizer(text, truncation=True, max_length=self._max_tokens)["input_ids"]

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Return the vectors (N, H) of length 1, float64."""
        with torch.inference_mode():
            return np.stack([self._vector(text).numpy() for text in texts])

    def _vector(self, text: str) -> torch.Tensor:
        ids = torch.tensor([self.tokens(text)])
        states = self._model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
        pooled = states.mean(dim=0) if self._pooling == "mean" else states[0]
        return pooled / pooled.norm()


def minilm_folder() -> Path:
    """Return where the package with MiniLM's weights has them; it is not imported."""
    found = importlib.util.find_spec(MINILM_MODULE)
    assert found is not None
    assert found.submodule_search_locations is not None
    return Path(found.submodule_search_locations[0]) / "model"


def minilm() -> Oracle:
    """Return the oracle of all-MiniLM-L6-v2 with the settings it was published with."""
    return Oracle(minilm_folder(), "mean", 256)


def padded(rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of token ids as frozen inputs: ids and mask, int32 (N, S), S a multiple of 8."""
    width = -(-max(map(len, rows)) // 8) * 8
    ids = np.zeros((len(rows), width), dtype=np.int32)
    mask = np.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, : len(row)], mask[index, : len(row)] = row, 1
    return ids, mask


def freeze(file: Path) -> None:
    """Write the frozen texts, tokens and vectors of MiniLM."""
    oracle, texts = minilm(), parity_texts()
    ids, mask = padded([oracle.tokens(text) for text in texts])
    outputs = {EMBEDDING: oracle.vectors(texts).astype(np.float32)}
    write_parity(file, Parity({"input_ids": ids, "attention_mask": mask}, outputs, tuple(texts)), compressed=True)


if __name__ == "__main__":
    freeze(MINILM_PARITY)
