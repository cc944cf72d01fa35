"""The graph of a BERT encoder computes what the paper says, for any size, and nothing else is built."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto

import numpy_bert
from eventmill_connectors.onnx.artifact import Artifact
from eventmill_connectors.onnx.bert import build_encoder
from eventmill_connectors.onnx.build import EncoderRequest, build
from eventmill_connectors.onnx.head import Head
from eventmill_connectors.onnx.manifest import MODEL_FILE
from eventmill_connectors.onnx.session import Device, OnnxSession
from eventmill_connectors.onnx.sources import EncoderSource, read_encoder
from eventmill_connectors.onnx.tokens import text_inputs
from eventmill_schemas.errors import ModelUnusable

ROWS = [[2, 5, 9, 11, 3], [2, 3], [2, 7, 7, 7, 7, 7, 7, 3], [2, 40, 3]]


def source(config: Mapping[str, Any], pooling: str = "mean", seed: int = 0, prefix: str = "") -> EncoderSource:
    """Return an encoder with random weights, as it would be read."""
    weights = numpy_bert.make_weights(config, seed, prefix)
    return EncoderSource("tiny", "a test", None, config, weights, b"", pooling, 16, "0" * 64)


def vectors(built: Artifact, model: ModelProto, folder: Path) -> np.ndarray:
    """Compute the vectors of ROWS, padded to one width."""
    (folder / MODEL_FILE).write_bytes(model.SerializeToString())
    session = OnnxSession(Artifact(folder, built.manifest), Device())
    return session.run(text_inputs(built.manifest, ROWS, 8))["sentence_embedding"]


@settings(max_examples=12)
@given(
    size=st.fixed_dictionaries({
        "num_attention_heads": st.integers(1, 4),
        "num_hidden_layers": st.integers(1, 3),
        "intermediate_size": st.integers(1, 40),
        "hidden_act": st.sampled_from(["gelu", "gelu_new"]),
    }),
    per_head=st.sampled_from([4, 8]),
    pooling=st.sampled_from(["mean", "cls"]),
    prefix=st.sampled_from(["", "bert."]),
    seed=st.integers(0, 1000),
)
def test_it_computes_what_the_paper_says(
    built: Artifact, tmp_path_factory: pytest.TempPathFactory, size: dict[str, Any], per_head: int, pooling: str,
    prefix: str, seed: int,
) -> None:
    """Fused operators, padding and mask change nothing: the vectors are those of plain numpy in float64."""
    config = numpy_bert.CONFIG | size | {"hidden_size": size["num_attention_heads"] * per_head}
    encoder = source(config, pooling, seed, prefix)
    expected = [numpy_bert.embed(encoder.tensors, config, row, pooling) for row in ROWS]
    found = vectors(built, build_encoder(encoder), tmp_path_factory.mktemp("graph"))
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_half_precision_halves_the_weights_and_stays_near(built: Artifact, tmp_path: Path) -> None:
    """Weights are stored as float16, the vector is float32 and near that of float32."""
    encoder = source(numpy_bert.CONFIG)
    single, half = build_encoder(encoder), build_encoder(encoder, "fp16")
    assert half.ByteSize() < 0.6 * single.ByteSize()
    found = vectors(built, half, tmp_path)
    assert found.dtype == np.float32
    expected = [numpy_bert.embed(encoder.tensors, encoder.config, row) for row in ROWS]
    assert np.min(np.sum(found * expected, axis=1)) > 0.9995


def test_the_operators_are_the_fused_ones() -> None:
    """One attention and one activation per layer, two normalisations, four products, one embedding in all."""
    counts = Counter(node.op_type for node in build_encoder(source(numpy_bert.CONFIG)).graph.node)
    assert counts["Attention"] == counts["BiasGelu"] == 2
    assert counts["SkipLayerNormalization"] == 4
    assert counts["EmbedLayerNormalization"] == 1
    assert counts["MatMul"] == 3 * 2 + 1
    onnx.checker.check_model(build_encoder(source(numpy_bert.CONFIG)))


def _head(seed: int = 0, dimensions: int = 24) -> Head:
    random = np.random.default_rng(seed)
    weights = random.normal(size=(dimensions, 3)).astype(np.float32)
    return Head(weights, random.normal(size=3).astype(np.float32), 0.4, ("a", "b", "ü"))


def test_a_head_is_folded_in_with_its_temperature(built: Artifact, tmp_path: Path) -> None:
    """Logits, confidence and label are those that the head itself gives for the vectors; labels travel in the file."""
    head = _head()
    model = build_encoder(source(numpy_bert.CONFIG), head=head)
    (tmp_path / MODEL_FILE).write_bytes(model.SerializeToString())
    outputs = OnnxSession(Artifact(tmp_path, built.manifest), Device()).run(text_inputs(built.manifest, ROWS, 8))
    labels, confidences = head.classify(outputs["sentence_embedding"])
    np.testing.assert_allclose(outputs["logits"], head.logits(outputs["sentence_embedding"]), atol=1e-5)
    np.testing.assert_allclose(outputs["confidence"], confidences, atol=1e-6)
    np.testing.assert_array_equal(outputs["label"], labels)
    assert [json.loads(entry.value) for entry in model.metadata_props] == [["a", "b", "ü"]]


def test_a_head_for_other_vectors_is_refused() -> None:
    """Both numbers of dimensions are named."""
    with pytest.raises(ModelUnusable, match="the head is for vectors of 7 dimensions, the encoder's have 24"):
        build_encoder(source(numpy_bert.CONFIG), head=_head(dimensions=7))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "roberta"}, "a model of type 'roberta' is not built here, only BERT encoders"),
        ({"model_type": "modernbert"}, "a model of type 'modernbert'"),
        ({"position_embedding_type": "relative_key"}, "absolute positions"),
        ({"is_decoder": True}, "only BERT encoders"),
        ({"hidden_act": "relu"}, "the activation 'relu'"),
    ],
)
def test_other_architectures_are_refused_with_the_way_to_take(change: dict[str, Any], reason: str) -> None:
    """Nothing is built that would compute something else; an ONNX file of it can be imported."""
    with pytest.raises(ModelUnusable, match=reason) as caught:
        build_encoder(source(numpy_bert.CONFIG | change))
    assert "eventmill models import" in str(caught.value.remedy)


@pytest.mark.parametrize("name", sorted(numpy_bert.make_weights(numpy_bert.CONFIG)))
def test_a_tensor_that_is_missing_or_misshapen_is_named(name: str) -> None:
    """No weight is left out without a word: each one is needed, in its shape."""
    encoder = source(numpy_bert.CONFIG)
    tensors = dict(encoder.tensors)
    tensors[name] = np.zeros((*tensors[name].shape, 2), np.float32)
    other = EncoderSource("t", "t", None, numpy_bert.CONFIG, tensors, b"", "mean", 16, "")
    with pytest.raises(ModelUnusable, match=f"{name} has the shape"):
        build_encoder(other)
    del tensors[name]
    with pytest.raises(ModelUnusable, match=f"the weights lack {name}"):
        build_encoder(other)


def test_two_builds_make_the_same_files(encoder_folder: Path, tmp_path: Path) -> None:
    """The same weights give the same bytes, in another folder and under another name."""
    hashes = []
    for name in ("one", "two"):
        folder = build(read_encoder(encoder_folder), EncoderRequest(name, tmp_path)).artifact.folder
        hashes.append({
            file.name: hashlib.sha256(file.read_bytes().replace(b'"two"', b'"one"')).hexdigest()
            for file in folder.iterdir()
        })
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) == 4


Break = Callable[[Path], None]


def _json(file: str, **change: Any) -> Break:
    def change_it(folder: Path) -> None:
        document = json.loads((folder / file).read_bytes())
        (folder / file).write_text(json.dumps(document | change))

    return change_it


def _few_words(folder: Path) -> None:
    numpy_bert.write_encoder(folder, numpy_bert.CONFIG | {"vocab_size": 40})
    numpy_bert.make_tokenizer(60).save(str(folder / "tokenizer.json"))


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{"), "can't be read"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors can't be read: No such file"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is not JSON"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json can't be read"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "is no tokenizer"),
        (lambda folder: (folder / "modules.json").unlink(), "modules.json can't be read"),
        (lambda folder: (folder / "modules.json").write_text("[]"), "does not say how tokens become one vector"),
        (lambda folder: (folder / "modules.json").write_text('[{"type": "x.Dense"}]'), "has a module 'Dense'"),
        (_json("1_Pooling/config.json", pooling_mode_mean_tokens=False), "pools by nothing"),
        (_json("1_Pooling/config.json", pooling_mode_max_tokens=True), "pools by max_tokens, mean_tokens"),
        (_json("config.json", hidden_size=25), "hidden_size is no multiple"),
        (_json("config.json", vocab_size=70), "word_embeddings.weight has the shape (60, 24)"),
        (_few_words, "the tokenizer knows 56 tokens and the model 40"),
        (_json("config.json", num_hidden_layers="two"), "config.json does not say num_hidden_layers"),
    ],
)
def test_a_broken_folder_is_refused_with_the_reason(tmp_path: Path, break_it: Break, reason: str) -> None:
    """Every file that is read is named when it is not right, and nothing is left behind."""
    numpy_bert.write_encoder(tmp_path / "tiny")
    break_it(tmp_path / "tiny")
    with pytest.raises(ModelUnusable) as caught:
        build(read_encoder(tmp_path / "tiny"), EncoderRequest("tiny", tmp_path / "models"))
    assert reason in caught.value.message
    assert not any((tmp_path / "models").glob("*"))


@pytest.mark.parametrize(("settings_", "pooling"), [
    ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
    ({"pooling_mode": "cls"}, "cls"),
    ({"pooling_mode": "mean"}, "mean"),
])
def test_pooling_is_read_as_either_release_writes_it(tmp_path: Path, settings_: dict[str, Any], pooling: str) -> None:
    """sentence-transformers once wrote a flag per mode, and now writes a name."""
    numpy_bert.write_encoder(tmp_path / "tiny")
    (tmp_path / "tiny" / "1_Pooling" / "config.json").write_text(json.dumps(settings_))
    assert read_encoder(tmp_path / "tiny").pooling == pooling
