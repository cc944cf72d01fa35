"""The gate: what does not compute here what it should is refused, with the reason."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import helper, numpy_helper

import numpy_bert
from eventmill_connectors.onnx.artifact import Artifact, describe, open_artifact
from eventmill_connectors.onnx.bert import build_encoder
from eventmill_connectors.onnx.bulk import embedder
from eventmill_connectors.onnx.comparison import compare, distance, tolerance_of
from eventmill_connectors.onnx.gate import check
from eventmill_connectors.onnx.manifest import EMBEDDING, TensorSpec
from eventmill_connectors.onnx.parity import Parity, read_parity, write_parity
from eventmill_connectors.onnx.session import Device, OnnxSession
from eventmill_connectors.onnx.sources import read_encoder
from eventmill_connectors.onnx.tokens import BUCKET, load_tokenizer, padded_length, text_inputs
from eventmill_schemas.errors import ModelUnusable


def gate(artifact: Artifact) -> str:
    """Let an artefact pass the gate; return why it does not."""
    with pytest.raises(ModelUnusable) as caught:
        check(artifact, OnnxSession(artifact, Device()))
    assert caught.value.remedy
    return caught.value.message


def test_what_was_built_passes(built: Artifact) -> None:
    """The report has what was measured: records, nearness, bits, operators and the provider."""
    report = check(built, OnnxSession(built, Device()))
    assert (report.provider, report.rows, report.batch_difference) == ("CPUExecutionProvider", 32, 0.0)
    assert report.max_abs < 1e-6
    assert report.cosine_min is not None
    assert report.cosine_min > 0.999999
    assert report.operators["CPUExecutionProvider"] == built.manifest.operators


def _rebuilt(folder: Path, encoder_folder: Path, change: Callable[[onnx.ModelProto], None]) -> Artifact:
    """Return an artefact with other graph and right hashes: a wrong model, not a damaged file."""
    manifest = open_artifact(folder).manifest
    model = build_encoder(read_encoder(encoder_folder))
    change(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return describe(folder, manifest)


def _without_bias(model: onnx.ModelProto) -> None:
    for weight in model.graph.initializer:
        if weight.name == "layer0.output.dense.bias":
            array = numpy_helper.to_array(weight)
            weight.CopyFrom(numpy_helper.from_array(np.zeros_like(array), weight.name))


def _other_activation(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "BiasGelu":
            node.op_type = "FastGelu"


def _neighbours_added(model: onnx.ModelProto) -> None:
    # The vector of the batch's last record is mixed into all of them.
    model.graph.node[-1].output[0] = "own"
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1]), "last"))
    model.graph.node.append(helper.make_node("Gather", ["own", "last"], ["neighbour"], axis=0))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1e-7), "little"))
    model.graph.node.append(helper.make_node("Mul", ["neighbour", "little"], ["part"]))
    model.graph.node.append(helper.make_node("Add", ["own", "part"], [EMBEDDING]))


def _nan(model: onnx.ModelProto) -> None:
    model.graph.node[-1].output[0] = "own"
    model.graph.initializer.append(numpy_helper.from_array(np.float32("nan"), "nan"))
    model.graph.node.append(helper.make_node("Mul", ["own", "nan"], [EMBEDDING]))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_without_bias, "does not compute what it should: sentence_embedding is up to"),
        (_other_activation, "should run 2 nodes com.microsoft.BiasGelu, and ONNX Runtime made 0 of them"),
        (_neighbours_added, "computes a record otherwise in a batch than alone"),
        (_nan, "does not compute what it should: sentence_embedding is up to inf off"),
    ],
)
def test_a_graph_that_computes_something_else_is_refused(
    home: Path, encoder_folder: Path, change: Callable[[onnx.ModelProto], None], reason: str
) -> None:
    """Each defect changes one thing of a graph whose hashes are right."""
    folder = next(path for path in home.iterdir() if path.is_dir())
    assert reason in gate(_rebuilt(folder, encoder_folder, change))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dimensions": 384}, "have 24 dimensions, and its manifest says 384"),
        ({"outputs": (TensorSpec(EMBEDDING, "float32", ("batch", 384)),)}, "the outputs of tiny@"),
        ({"inputs": (TensorSpec("input_ids", "int64", ("batch", "seq")),)}, "the inputs of tiny@"),
        ({"operators": {"com.microsoft.Attention": 3}}, "should run 3 nodes com.microsoft.Attention"),
        ({"max_tokens": 4}, "it cuts"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(home: Path, change: dict[str, Any], reason: str) -> None:
    """Wrong dimensions, names, types, operators and limits: both sides are named."""
    artifact = open_artifact(home)
    assert reason in gate(Artifact(artifact.folder, dataclasses.replace(artifact.manifest, **change)))


def test_case_105_labels_that_are_too_few_are_refused(tmp_path: Path, built: Artifact) -> None:
    """A class without a name can't be given as a result."""
    session = OnnxSession(built, Device())
    outputs = (*session.outputs, TensorSpec("logits", "float32", ("batch", 3)))
    session.outputs = outputs
    manifest = dataclasses.replace(built.manifest, outputs=outputs, labels=("a", "b"))
    with pytest.raises(ModelUnusable, match="has 3 classes, and its manifest 2 labels"):
        check(Artifact(built.folder, manifest), session)


def _frozen(home: Path, change: Callable[[Parity], Parity]) -> Artifact:
    artifact = open_artifact(home)
    write_parity(artifact.parity, change(read_parity(artifact.parity)))
    return artifact


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda p: dataclasses.replace(p, outputs={}), "has no outputs to compare with"),
        (lambda p: dataclasses.replace(p, outputs={EMBEDDING: p.outputs[EMBEDDING][:-1]}), "differ in records"),
        (lambda p: dataclasses.replace(p, texts=p.texts[:3]), "differ in records"),
        (lambda p: dataclasses.replace(p, inputs={"pixels": p.inputs["input_ids"]}), "are not those of tiny"),
        (lambda p: dataclasses.replace(p, outputs={EMBEDDING: p.outputs[EMBEDDING] + 2e-5}), "does not compute"),
        (lambda p: dataclasses.replace(p, outputs={EMBEDDING: p.outputs[EMBEDDING][:, :-1]}), "has the shape"),
        (lambda p: dataclasses.replace(p, texts=(*p.texts[:-1], "other")), "it cuts 'other' into other tokens"),
    ],
)
def test_other_frozen_outputs_are_refused(home: Path, change: Callable[[Parity], Parity], reason: str) -> None:
    """Nothing to compare, or something of another model, is no way past the gate."""
    assert reason in gate(_frozen(home, change))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half", b"no archive"])
def test_a_damaged_file_of_frozen_outputs_is_refused(home: Path, content: bytes) -> None:
    """Also one that can't be read at all."""
    artifact = open_artifact(home)
    artifact.parity.write_bytes(content)
    assert "is no file of arrays" in gate(artifact)


def test_the_wrong_tokenizer_is_refused(home: Path) -> None:
    """It would give vectors without an error, of other words."""
    artifact = open_artifact(home)
    assert artifact.tokenizer is not None
    tokenizer = numpy_bert.make_tokenizer()
    tokenizer.normalizer = None
    tokenizer.save(str(artifact.tokenizer))
    assert "the tokenizer of tiny@" in gate(artifact)


@given(tokens=st.integers(0, 600), limit=st.integers(2, 512))
def test_texts_are_padded_by_their_own_length_alone(tokens: int, limit: int) -> None:
    """The next multiple of the bucket, and never more than the model takes."""
    tokens = min(tokens, limit)
    width = padded_length(tokens, limit)
    assert tokens <= width <= limit
    assert width == limit or width % BUCKET == 0
    assert width - max(tokens, 1) < BUCKET


@settings(max_examples=15)
@given(texts=st.lists(st.text("abcdefgh ", max_size=60), min_size=1, max_size=12))
def test_a_text_has_the_same_bits_alone_and_beside_any_others(built: Artifact, texts: list[str]) -> None:
    """Whatever is computed with it: so replays, retries and batches give the same vector."""
    tokenizer, session = load_tokenizer(built), OnnxSession(built, Device())
    together = embedder(built.manifest, tokenizer, session)(texts)
    limit = built.manifest.max_tokens or 0
    for text, vector in zip(texts, together, strict=True):
        ids = tokenizer.encode(text).ids
        alone = session.run(text_inputs(built.manifest, [ids], padded_length(len(ids), limit)))[EMBEDDING]
        assert alone.tobytes() == vector.tobytes()


def test_long_texts_are_cut_on_the_right(built: Artifact) -> None:
    """At the model's limit, whatever the tokenizer's file says about cutting and padding."""
    tokenizer = load_tokenizer(built)
    ids = tokenizer.encode("a b c d " * 20).ids
    assert len(ids) == built.manifest.max_tokens == 32
    assert ids[1:5] == tokenizer.encode("a b c d").ids[1:5]
    assert len(tokenizer.encode("a").ids) == 3


NUMBERS = arrays(np.float32, (3, 4), elements=st.floats(-1e3, 1e3, width=32))


@given(expected=NUMBERS, noise=st.floats(-0.9, 0.9), factor=st.floats(2.2, 100))
def test_outputs_pass_within_the_tolerance_and_not_beyond(expected: np.ndarray, noise: float, factor: float) -> None:
    """What is allowed grows with the number; one component too far off is enough to fail."""
    tolerance = tolerance_of("fp32")
    exact = expected.astype(np.float64)
    allowed = tolerance.absolute + tolerance.relative * np.abs(exact)
    compare({"y": exact}, {"y": exact + noise * allowed}, tolerance)
    found = exact.copy()
    found[1, 2] += factor * allowed[1, 2]
    with pytest.raises(ValueError, match="y is up to"):
        compare({"y": exact}, {"y": found}, tolerance)


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_fails_unless_it_is_expected(strange: float) -> None:
    """NaN and infinity are compared as what they are."""
    expected, found = np.array([[1.0, 2.0]]), np.array([[1.0, strange]])
    for one, other in ((expected, found), (found, expected)):
        with pytest.raises(ValueError, match="up to inf off"):
            compare({"y": one}, {"y": other}, tolerance_of("fp32"))
    assert compare({"y": found}, {"y": found}, tolerance_of("fp32")).max_abs == 0
    assert distance(np.array(["a"], object), np.array(["b"], object)) == np.inf


def test_labels_may_differ_only_between_classes_as_near_as_makes_no_difference() -> None:
    """The label that is not the best by far is wrong."""
    logits = np.array([[1.0, 1.0 + 1e-6, 0.0]])
    for label, passes in ((1, True), (0, True), (2, False)):
        outputs = {"logits": logits, "label": np.array([label])}
        if passes:
            compare({"logits": logits, "label": np.array([1])}, outputs, tolerance_of("fp32"))
        else:
            with pytest.raises(ValueError, match="label has other values"):
                compare({"logits": logits, "label": np.array([1])}, outputs, tolerance_of("fp32"))


def test_frozen_arrays_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Names, types, shapes and texts, NUL and emoji included; and the same bytes by every release of Python."""
    texts = ("a\0b", "\N{GRINNING FACE}")
    parity = Parity({"x": np.arange(6).reshape(2, 3)}, {"y": np.zeros((2, 0), np.float16)}, texts)
    write_parity(tmp_path / "one.npz", parity)
    written = hashlib.sha256((tmp_path / "one.npz").read_bytes()).hexdigest()
    assert written == "3fce75279be27f60a47eefdcb569c831a59de921ce7b8e435e2ded2d1aec6a0d"
    write_parity(tmp_path / "small.npz", parity, compressed=True)
    assert (tmp_path / "small.npz").stat().st_size < (tmp_path / "one.npz").stat().st_size
    assert read_parity(tmp_path / "small.npz").texts == parity.texts
    found = read_parity(tmp_path / "one.npz")
    assert found.texts == parity.texts
    for name, array in (*parity.inputs.items(), *parity.outputs.items()):
        again = {**found.inputs, **found.outputs}[name]
        assert (again.dtype, again.shape, again.tolist()) == (array.dtype, array.shape, array.tolist())


def test_the_precision_decides_how_near_is_near_enough() -> None:
    """float32 is held to a hundred times less than float16, and what is quantised to least."""
    single, half, quantised = (tolerance_of(name) for name in ("fp32", "fp16", "int8"))
    assert single.cosine > half.cosine > quantised.cosine
    assert single.vector < half.vector < quantised.vector


@given(logits=arrays(np.float64, (4, 5), elements=st.floats(-30, 30)), noise=arrays(
    np.float64, (4, 5), elements=st.floats(-1, 1)))
def test_a_confidence_may_be_off_by_what_its_logits_may_be(logits: np.ndarray, noise: np.ndarray) -> None:
    """A sharp head turns small differences of vectors into larger ones, which are no fault; a wrong one is."""
    tolerance = tolerance_of("fp32")

    def outputs(values: np.ndarray) -> dict[str, np.ndarray]:
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        return {"logits": values, "confidence": (powers / powers.sum(axis=1, keepdims=True)).max(axis=1)}

    expected = outputs(logits)
    compare(expected, outputs(logits + noise * 0.9e-4), tolerance)
    with pytest.raises(ValueError, match="confidence is up to"):
        compare(expected, {**expected, "confidence": expected["confidence"] + 0.01}, tolerance)
