"""Graphs built from the weights compute what torch and transformers compute with the same weights."""

import json
import shutil

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from eventmill_connectors.onnx.assembly import parity_texts
from eventmill_connectors.onnx.build import MINILM_PARITY, EncoderRequest, build
from eventmill_connectors.onnx.bulk import embedder
from eventmill_connectors.onnx.manifest import EMBEDDING
from eventmill_connectors.onnx.parity import read_parity
from eventmill_connectors.onnx.session import Device, OnnxSession
from eventmill_connectors.onnx.sources import installed_minilm, read_encoder
from eventmill_connectors.onnx.tokens import load_tokenizer
from parity.oracle import Oracle, minilm, minilm_folder, padded


@pytest.fixture(scope="module")
def of_torch():
    """Give the oracle of MiniLM, and the vectors it computes of the frozen texts."""
    oracle = minilm()
    return oracle, oracle.vectors(parity_texts())


def of_graph(source, models, precision="fp32"):
    """Return the vectors of the frozen texts as the built, gated and loaded artefact computes them."""
    artifact = build(source, EncoderRequest("encoder", models, precision)).artifact
    session = OnnxSession(artifact, Device())
    return embedder(artifact.manifest, load_tokenizer(artifact), session)(parity_texts())


def nearness(name, found, expected):
    """Return the largest difference of a component and the smallest cosine similarity, and print them."""
    max_abs = float(np.abs(found - expected).max())
    lengths = np.linalg.norm(found.astype(np.float64), axis=1) * np.linalg.norm(expected, axis=1)
    cosine = float((np.einsum("ij,ij->i", found.astype(np.float64), expected) / lengths).min())
    print(f"\n{name}: max abs {max_abs:.1e}, 1 - cosine {1 - cosine:.1e}")
    return max_abs, cosine


def test_the_frozen_vectors_of_minilm_are_those_of_torch(of_torch):
    """The repository's file holds the tokens of transformers' tokenizer, and torch's vectors to the last bit."""
    oracle, vectors = of_torch
    frozen = read_parity(MINILM_PARITY)
    assert list(frozen.texts) == parity_texts()
    ids, mask = padded([oracle.tokens(text) for text in frozen.texts])
    assert np.array_equal(frozen.inputs["input_ids"], ids)
    assert np.array_equal(frozen.inputs["attention_mask"], mask)
    max_abs, cosine = nearness("the frozen vectors", frozen.outputs[EMBEDDING], vectors)
    assert max_abs < 2e-8   # float32 itself has steps of 1.5e-8 there
    assert cosine > 1 - 1e-12


def test_minilm_is_torchs(of_torch, tmp_path):
    """The fused graph, optimised, in batches, is as near to double precision as single precision can be."""
    max_abs, cosine = nearness("MiniLM, fp32", of_graph(installed_minilm(), tmp_path), of_torch[1])
    assert max_abs < 1e-6
    assert cosine > 1 - 1e-10


def test_minilm_in_half_precision_is_near(of_torch, tmp_path):
    """Weights and activations of 16 bits cost the fourth digit."""
    max_abs, cosine = nearness("MiniLM, fp16", of_graph(installed_minilm(), tmp_path, "fp16"), of_torch[1])
    assert max_abs < 2e-3
    assert cosine > 0.9999


@pytest.mark.parametrize(("pooling", "activation", "heads"), [
    ("mean", "gelu", 4), ("cls", "gelu_new", 2), ("cls", "gelu_pytorch_tanh", 8),
])
def test_any_bert_is_torchs(tmp_path, pooling, activation, heads):
    """It is the architecture that is built, not one model: other sizes, poolings and activations, random weights."""
    torch.manual_seed(11)
    config = BertConfig(
        hidden_size=64, num_hidden_layers=3, num_attention_heads=heads, intermediate_size=160, hidden_act=activation,
        max_position_embeddings=96, initializer_range=0.3, layer_norm_eps=1e-6,
    )
    model = BertModel(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():   # as made, biases are 0 and norms are 1: they would not be seen
            if "bias" in name or "LayerNorm" in name:
                weight.add_(0.2 * torch.randn_like(weight))
    folder = tmp_path / "weights"
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(minilm_folder() / name, folder / name)
    modules = [{"type": "sentence_transformers.models.Transformer", "path": ""},
               {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    mode = {"mean": "mean_tokens", "cls": "cls_token"}[pooling]
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{mode}": True}))

    expected = Oracle(folder, pooling, 96).vectors(parity_texts())
    found = of_graph(read_encoder(folder), tmp_path / "models")
    max_abs, cosine = nearness(f"random BERT, {pooling}, {activation}", found, expected)
    assert max_abs < 1e-5
    assert cosine > 1 - 1e-9
