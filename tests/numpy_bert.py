"""BERT in plain numpy and float64, written from the paper: what the graphs of eventmill are measured against.

Devlin et al., "BERT" (https://arxiv.org/abs/1810.04805); pooling as in sentence-transformers. One text at a time, no
padding, no mask: nothing of what the graph does to be fast. It also makes weights for encoders of any size.
"""

import json
from collections.abc import Mapping, Sequence
from math import erf
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

Weights = Mapping[str, np.ndarray]

_erf = np.vectorize(erf)
_ACTIVATIONS = {
    "gelu": lambda x: 0.5 * x * (1 + _erf(x / np.sqrt(2))),
    "gelu_new": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
}


def embed(weights: Weights, config: Mapping[str, Any], tokens: Sequence[int], pooling: str = "mean") -> np.ndarray:
    """Return the vector of length 1 of one text."""
    w = _Doubles(weights)
    eps, heads = config["layer_norm_eps"], config["num_attention_heads"]

    def normalise(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    x = w.rows("embeddings.word_embeddings.weight", tokens)
    x = x + w["embeddings.position_embeddings.weight"][: len(tokens)] + w["embeddings.token_type_embeddings.weight"][0]
    x = normalise(x, "embeddings.LayerNorm")
    for number in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{number}"
        q, k, v = (
            dense(x, f"{layer}.attention.self.{part}").reshape(len(tokens), heads, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = np.exp(q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1]))
        mixed = (scores / scores.sum(axis=-1, keepdims=True)) @ v
        mixed = mixed.transpose(1, 0, 2).reshape(len(tokens), -1)
        x = normalise(x + dense(mixed, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm")
        inner = _ACTIVATIONS[config["hidden_act"]](dense(x, f"{layer}.intermediate.dense"))
        x = normalise(x + dense(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    vector = x.mean(axis=0) if pooling == "mean" else x[0]
    return vector / np.linalg.norm(vector)


class _Doubles:
    """Weights by name, in float64."""

    def __init__(self, weights: Weights) -> None:
        self._weights = {name.removeprefix("bert."): array for name, array in weights.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._weights[name].astype(np.float64)

    def rows(self, name: str, numbers: Sequence[int]) -> np.ndarray:
        return self._weights[name][list(numbers)].astype(np.float64)


def make_weights(config: Mapping[str, Any], seed: int = 0, prefix: str = "") -> dict[str, np.ndarray]:
    """Return random weights of an encoder; scales and shifts are random too, so that none can be left out."""
    random = np.random.default_rng(seed)
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], hidden),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], hidden),
        "embeddings.token_type_embeddings.weight": (2, hidden),
        **_norm("embeddings", hidden),
    }
    for number in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{number}"
        for part in ("query", "key", "value"):
            shapes |= _linear(f"{layer}.attention.self.{part}", hidden, hidden)
        shapes |= _linear(f"{layer}.attention.output.dense", hidden, hidden)
        shapes |= _norm(f"{layer}.attention.output", hidden)
        shapes |= _linear(f"{layer}.intermediate.dense", inner, hidden)
        shapes |= _linear(f"{layer}.output.dense", hidden, inner)
        shapes |= _norm(f"{layer}.output", hidden)
    spread = 1 / np.sqrt(hidden)
    return {prefix + name: random.normal(0, spread, shape).astype(np.float32) for name, shape in shapes.items()}


def _linear(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def _norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.LayerNorm.weight": (size,), f"{name}.LayerNorm.bias": (size,)}


CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": 24,
    "intermediate_size": 40,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 64,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "vocab_size": 60,
}


def make_tokenizer(words: int = 60) -> Tokenizer:
    """Return a tokenizer whose words are the letters."""
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3}
    vocabulary |= {chr(ord("a") + n): len(vocabulary) + n for n in range(26)}
    vocabulary |= {f"##{chr(ord('a') + n)}": 30 + n for n in range(min(26, words - 30))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=special)
    return tokenizer


def write_encoder(folder: Path, config: Mapping[str, Any] = CONFIG, pooling: str = "mean", seed: int = 0) -> Weights:
    """Write a random encoder in the layout of sentence-transformers; return its weights."""
    weights = make_weights(config, seed)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors")
    kinds = ("Transformer", "Pooling", "Normalize")
    paths = ("", "1_Pooling", "2_Normalize")
    modules = [
        {"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in zip(kinds, paths, strict=True)
    ]
    modes = {"pooling_mode_mean_tokens": pooling == "mean", "pooling_mode_cls_token": pooling == "cls"}
    (folder / "1_Pooling").mkdir(exist_ok=True)
    for name, document in (
        ("config.json", config),
        ("modules.json", modules),
        ("1_Pooling/config.json", modes),
        ("sentence_bert_config.json", {"max_seq_length": 32}),
    ):
        (folder / name).write_text(json.dumps(document), encoding="utf-8")
    make_tokenizer(config["vocab_size"]).save(str(folder / "tokenizer.json"))
    return weights
