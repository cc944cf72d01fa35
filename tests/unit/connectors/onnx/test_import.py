"""Importing ONNX files: whatever they hold, it is a model that passes the gate, or a message."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import numpy_bert
from eventmill_connectors.onnx.artifact import Artifact, open_artifact
from eventmill_connectors.onnx.assembly import Made
from eventmill_connectors.onnx.bert import build_encoder
from eventmill_connectors.onnx.gate import check
from eventmill_connectors.onnx.head import Head
from eventmill_connectors.onnx.import_onnx import ImportRequest, import_onnx
from eventmill_connectors.onnx.manifest import EMBEDDING
from eventmill_connectors.onnx.parity import Parity, read_parity, write_parity
from eventmill_connectors.onnx.session import Device, OnnxSession
from eventmill_connectors.onnx.sources import read_encoder
from eventmill_connectors.onnx.tokens import text_inputs
from eventmill_schemas.errors import ModelUnusable, UsageError

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def imported(file: Path, **options: Any) -> Made:
    """Import a file, and see that a worker could open and load it."""
    made = import_onnx(ImportRequest(file=file, name="some", models=file.parent / "models", **options))
    opened = open_artifact(file.parent / "models" / "some")
    assert opened == made.artifact
    check(opened, OnnxSession(opened, Device()))
    return made


def refused(file: Path, **options: Any) -> ModelUnusable:
    """Import a file that can't be; return the error, and see that nothing is left behind."""
    with pytest.raises(ModelUnusable) as caught:
        import_onnx(ImportRequest(file=file, name="some", models=file.parent / "models", **options))
    assert not any((file.parent / "models").glob("*"))
    return caught.value


def constant(name: str, value: Any) -> onnx.TensorProto:
    """Return a weight."""
    return numpy_helper.from_array(np.asarray(value), name)


def written(folder: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: Sequence[Any] = (),
            opset: int = 17) -> Path:
    """Write an ONNX file."""
    graph = helper.make_graph(nodes, "graph", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def value(name: str, kind: int, *shape: int | str) -> onnx.ValueInfoProto:
    """Return the description of an input or output."""
    return helper.make_tensor_value_info(name, kind, shape)


def test_a_tabular_model(save_graph: Any) -> None:
    """Logistic regression on three columns: shapes and types are in the manifest, and it computes what it should."""
    weights = np.array([[1, -1], [0.5, 2], [0, 3]], np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["y"], axis=1)]
    made = imported(save_graph(nodes, [constant("w", weights)], columns=2))
    manifest = made.artifact.manifest
    assert (manifest.task, manifest.precision, manifest.takes_text) == ("generic", "fp32", False)
    assert [(spec.name, spec.dtype, spec.shape) for spec in manifest.inputs] == [("x", "float32", ("n", 3))]
    assert made.report.rows == 4
    found = OnnxSession(made.artifact, Device()).run({"x": np.array([[1, 2, 3]], np.float32)})["y"]
    logits = np.array([1, 2, 3]) @ weights
    np.testing.assert_allclose(found[0], np.exp(logits) / np.exp(logits).sum(), rtol=1e-5)


def test_an_image_model(tmp_path: Path) -> None:
    """A convolution of fixed size, one image at a time."""
    file = written(
        tmp_path,
        [helper.make_node("Conv", ["pixels", "w"], ["maps"], pads=[1, 1, 1, 1]),
         helper.make_node("GlobalAveragePool", ["maps"], ["scores"])],
        [value("pixels", FLOAT, 1, 3, 8, 8)],
        [value("scores", FLOAT, 1, 2, 1, 1)],
        [constant("w", np.random.default_rng(0).normal(size=(2, 3, 3, 3)).astype(np.float32))],
    )
    made = imported(file)
    assert (made.report.rows, made.artifact.manifest.batch_invariant) == (1, False)


def test_operators_that_are_not_known_are_all_named(save_graph: Any) -> None:
    """By their names, before anything is stored."""
    nodes = [helper.make_node("Frobnicate", ["x"], ["a"]), helper.make_node("Blur", ["a"], ["y"])]
    assert "operators that ONNX does not know: Blur, Frobnicate" in refused(save_graph(nodes)).message


def test_an_operator_of_a_runtime_that_is_not_here_is_named(save_graph: Any) -> None:
    """ONNX Runtime says which of a foreign domain it lacks."""
    file = save_graph([helper.make_node("Frobnicate", ["x"], ["y"], domain="com.acme")])
    assert "com.acme:Frobnicate" in refused(file).message


def test_a_function_in_the_file_is_an_operator(tmp_path: Path, save_graph: Any) -> None:
    """What the file defines itself needs not be known."""
    model = onnx.load(save_graph([helper.make_node("Twice", ["x"], ["y"], domain="mine")]))
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    model.functions.append(helper.make_function("mine", "Twice", ["a"], ["b"], body, [helper.make_opsetid("", 17)]))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    session = OnnxSession(imported(tmp_path / "model.onnx").artifact, Device())
    assert session.run({"x": np.ones((1, 3), np.float32)})["y"].tolist() == [[2, 2, 2]]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"no model at all", "is no ONNX file"), (b"", "is no valid ONNX model"), (None, "there is no file")],
)
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes | None, reason: str) -> None:
    """With its name."""
    if content is not None:
        (tmp_path / "model.onnx").write_bytes(content)
    error = refused(tmp_path / "model.onnx")
    assert reason in error.message
    assert "model.onnx" in error.message


def test_every_half_of_a_file_is_refused(tmp_path: Path, save_graph: Any) -> None:
    """Wherever the copy of a file stopped."""
    weights = [constant("w", np.ones((3, 2), np.float32))]
    whole = save_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], weights, columns=2).read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / "half.onnx").write_bytes(whole[:length])
        refused(tmp_path / "half.onnx")


def test_a_graph_that_is_not_valid_is_refused_by_the_checker(save_graph: Any) -> None:
    """Here: a node before the one that it reads from."""
    nodes = [helper.make_node("Relu", ["z"], ["y"]), helper.make_node("Neg", ["x"], ["z"])]
    assert "topologically sorted" in refused(save_graph(nodes)).message


def test_external_data_is_taken_in(tmp_path: Path, save_graph: Any) -> None:
    """The artefact is whole without the file of weights, which need not stay."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    weights = [constant("w", np.full((3, 2), 2, np.float32))]
    saving = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0}
    made = imported(save_graph(nodes, weights, columns=2, **saving))
    (tmp_path / "weights.bin").unlink()
    session = OnnxSession(open_artifact(made.artifact.folder), Device())
    assert session.run({"x": np.ones((1, 3), np.float32)})["y"].tolist() == [[6, 6]]


def test_external_data_that_is_missing_is_named(tmp_path: Path, save_graph: Any) -> None:
    """A model is copied with all of its files, or refused."""
    saving = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0}
    weights = [constant("w", np.ones((3, 2), np.float32))]
    file = save_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], weights, columns=2, **saving)
    (tmp_path / "weights.bin").unlink()
    assert "weights.bin" in refused(file).message


def test_more_than_one_file_can_hold_is_refused_before_it_is_read(tmp_path: Path, save_graph: Any) -> None:
    """Three GiB of weights (a sparse file) are not read to find out."""
    saving = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0}
    weights = [constant("w", np.ones((3, 2), np.float32))]
    file = save_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], weights, columns=2, **saving)
    os.truncate(tmp_path / "weights.bin", 3 << 30)
    assert "larger than the 2 GiB" in refused(file).message


def test_models_of_other_weights_are_in_other_spaces(built: Artifact, tmp_path: Path) -> None:
    """Also where the file itself is the same, and only the weights beside it differ, or the pooling."""
    numpy_bert.make_tokenizer().save(str(tmp_path / "tokenizer.json"))
    spaces = set()
    for factor, pooling in ((1, "mean"), (2, "mean"), (1, "cls")):
        file = _encoder_without_pooling(built, tmp_path)
        model = onnx.load(file)
        weight = model.graph.initializer[0]
        weight.CopyFrom(numpy_helper.from_array(factor * numpy_helper.to_array(weight), weight.name))
        (tmp_path / "weights.bin").unlink(missing_ok=True)
        onnx.save(model, file, save_as_external_data=True, location="weights.bin", size_threshold=0)
        made = imported(file, tokenizer=tmp_path / "tokenizer.json", max_tokens=32, pooling=pooling)
        spaces.add(made.artifact.manifest.vector_space)
    assert len(spaces) == 3


@pytest.mark.parametrize(
    ("node", "invariant"),
    [
        (helper.make_node("Softmax", ["x"], ["y"], axis=1), True),
        (helper.make_node("Softmax", ["x"], ["y"], axis=0), False),
        (helper.make_node("CumSum", ["x", "zero"], ["y"]), False),
    ],
)
def test_a_model_that_mixes_the_records_of_a_batch_is_found_out(
    save_graph: Any, node: onnx.NodeProto, *, invariant: bool
) -> None:
    """It is imported, and will be given one record at a time."""
    made = imported(save_graph([node], [constant("zero", np.int64(0))]))
    assert made.artifact.manifest.batch_invariant is invariant
    assert (made.report.batch_difference is None) is not invariant


def test_an_optimisation_that_changes_the_result_is_found_out(tmp_path: Path) -> None:
    """ONNX Runtime 1.31 loses the bias of a product quantised by rows, without an error."""
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMulInteger", ["x", "w", "zero"], ["products"]),
        helper.make_node("Cast", ["products"], ["numbers"], to=FLOAT),
        helper.make_node("Mul", ["rows", "columns"], ["scale"]),
        helper.make_node("Mul", ["numbers", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "bias"], ["y"]),
    ]
    weights = [
        constant("w", random.integers(-100, 100, (8, 6)).astype(np.int8)),
        constant("zero", np.uint8(128)),
        constant("columns", random.random(6).astype(np.float32)),
        constant("bias", 1e5 * random.random(6).astype(np.float32)),
    ]
    inputs = [value("x", TensorProto.UINT8, "n", 4, 8), value("rows", FLOAT, "n", 4, 1)]
    error = refused(written(tmp_path, nodes, inputs, [value("y", FLOAT, "n", 4, 6)], weights))
    assert "does not compute what it should (unoptimised outputs): y is up to" in error.message
    assert "optimises" in str(error.remedy)


def test_given_outputs_are_what_it_must_compute(save_graph: Any, tmp_path: Path) -> None:
    """Right ones pass and are frozen; wrong ones are refused; others' names are too."""
    file = save_graph([helper.make_node("Neg", ["x"], ["y"])])
    inputs = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_parity(tmp_path / "right.npz", Parity({"x": inputs}, {"y": -inputs}))
    made = imported(file, parity=tmp_path / "right.npz")
    assert made.artifact.manifest.parity.reference == "given"
    assert read_parity(made.artifact.parity).outputs["y"].tolist() == (-inputs).tolist()
    shutil.rmtree(tmp_path / "models")
    write_parity(tmp_path / "wrong.npz", Parity({"x": inputs}, {"y": inputs}))
    assert "does not compute what it should (given outputs)" in refused(file, parity=tmp_path / "wrong.npz").message
    write_parity(tmp_path / "other.npz", Parity({"z": inputs}, {"y": inputs}))
    assert "x, z" in refused(file, parity=tmp_path / "other.npz").message
    (tmp_path / "plain.npz").write_bytes(b"")
    assert "no file of arrays" in refused(file, parity=tmp_path / "plain.npz").message
    np.savez(tmp_path / "plain.npz", x=inputs)
    assert "unknown array 'x'" in refused(file, parity=tmp_path / "plain.npz").message


def test_a_model_that_can_not_compute_zeros_asks_for_inputs(tmp_path: Path) -> None:
    """And takes the ones that it is given."""
    file = written(
        tmp_path,
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        [value("x", FLOAT, "n", "m")],
        [value("y", FLOAT, "k", 4)],
        [constant("shape", np.array([-1, 4]))],
    )
    error = refused(file)
    assert "can't compute zeros" in error.message
    assert "--parity" in str(error.remedy)
    write_parity(tmp_path / "inputs.npz", Parity({"x": np.ones((1, 4), np.float32)}, {}))
    assert imported(file, parity=tmp_path / "inputs.npz").artifact.manifest.parity.reference == "unoptimised"


@pytest.mark.parametrize("kind", [TensorProto.BFLOAT16, TensorProto.FLOAT8E4M3FN])
def test_types_that_numpy_lacks_are_named(tmp_path: Path, kind: int) -> None:
    """A result could not be read."""
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=kind)]
    file = written(tmp_path, nodes, [value("x", FLOAT, "n", 3)], [value("y", kind, "n", 3)], opset=19)
    assert "y is of the type" in refused(file).message


def test_a_sequence_is_refused(tmp_path: Path) -> None:
    """Only tensors can be given and taken."""
    nodes = [helper.make_node("SequenceConstruct", ["x"], ["y"])]
    outputs = [helper.make_tensor_sequence_value_info("y", FLOAT, None)]
    assert "only tensors" in refused(written(tmp_path, nodes, [value("x", FLOAT, "n", 3)], outputs)).message


def test_text_goes_in_and_out(tmp_path: Path) -> None:
    """Tensors of strings are numpy's objects."""
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    kind = TensorProto.STRING
    made = imported(written(tmp_path, nodes, [value("x", kind, "n")], [value("y", kind, "n")]))
    assert made.artifact.manifest.inputs[0].dtype == "object"
    found = OnnxSession(made.artifact, Device()).run({"x": np.array(["a", "ü"], dtype=object)})
    assert found["y"].tolist() == ["a", "ü"]


def _encoder_without_pooling(built: Artifact, folder: Path) -> Path:
    """Write the small encoder as it would be exported: int64 inputs, vectors of tokens."""
    model = onnx.load(built.model)
    graph = model.graph
    keep = [node for node in graph.node if node.output[0] not in ("mask", "mask_row", "sum", "pooled", EMBEDDING)]
    tokens = keep[-1].output[0]
    names = ("input_ids", "attention_mask")
    for node in keep:
        for index, name in enumerate(node.input):
            if name in names:
                node.input[index] = f"{name}32"
    casts = [helper.make_node("Cast", [name], [f"{name}32"], to=TensorProto.INT32) for name in names]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend([*casts, *keep, helper.make_node("Identity", [tokens], ["last_hidden_state"])])
    graph.input.extend([value(name, INT64, "batch", "seq") for name in names])
    graph.output.append(value("last_hidden_state", FLOAT, "batch", "seq", 24))
    (folder / "exported.onnx").write_bytes(model.SerializeToString())
    numpy_bert.make_tokenizer().save(str(folder / "tokenizer.json"))
    return folder / "exported.onnx"


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_an_exported_encoder_gets_its_pooling(
    built: Artifact, encoder_folder: Path, tmp_path: Path, pooling: str
) -> None:
    """The vectors are those that plain numpy computes, of length 1; its own vector space is named after the file."""
    file = _encoder_without_pooling(built, tmp_path)
    made = imported(file, tokenizer=tmp_path / "tokenizer.json", max_tokens=32, pooling=pooling)
    manifest = made.artifact.manifest
    assert (manifest.task, manifest.dimensions, manifest.normalised) == ("embedding", 24, True)
    assert manifest.batch_invariant
    assert manifest.vector_space is not None
    assert manifest.vector_space != built.manifest.vector_space
    row = [2, 5, 9, 3]
    found = OnnxSession(made.artifact, Device()).run(text_inputs(manifest, [row, [2, 3]], 8))[EMBEDDING]
    weights = numpy_bert.make_weights(numpy_bert.CONFIG)
    np.testing.assert_allclose(found[0], numpy_bert.embed(weights, numpy_bert.CONFIG, row, pooling), atol=2e-6)


def test_a_model_of_texts_must_give_a_vector_or_a_label(built: Artifact, tmp_path: Path) -> None:
    """Vectors of tokens are neither, and the option that helps is named."""
    file = _encoder_without_pooling(built, tmp_path)
    error = refused(file, tokenizer=tmp_path / "tokenizer.json", max_tokens=32)
    assert "last_hidden_state" in error.message
    assert "--pooling" in str(error.remedy)
    with pytest.raises(UsageError, match="pooling is for models of texts"):
        import_onnx(ImportRequest(file=file, name="some", models=tmp_path / "models", pooling="mean"))


def test_more_tokens_than_the_model_takes_are_found_out(built: Artifact, tmp_path: Path) -> None:
    """The longest of the texts is too long for its positions."""
    file = _encoder_without_pooling(built, tmp_path)
    error = refused(file, tokenizer=tmp_path / "tokenizer.json", max_tokens=128, pooling="mean")
    assert "fails on its frozen inputs" in error.message


def test_a_model_built_here_can_be_imported_again(built: Artifact, tmp_path: Path) -> None:
    """Its frozen inputs and outputs are a file of parity."""
    shutil.copy(built.model, tmp_path / "again.onnx")
    tokenizer, parity = built.tokenizer, built.parity
    made = imported(tmp_path / "again.onnx", tokenizer=tokenizer, max_tokens=32, parity=parity)
    assert made.artifact.manifest.outputs == built.manifest.outputs
    assert made.artifact.manifest.parity.reference == "given"


def test_a_classifier_built_here_brings_its_labels(built: Artifact, encoder_folder: Path, tmp_path: Path) -> None:
    """They are in the file, so that it can be handed on alone."""
    random = np.random.default_rng(0)
    head = Head(random.normal(size=(24, 2)).astype(np.float32), np.zeros(2, np.float32), 1.0, ("ja", "nein"))
    model = build_encoder(read_encoder(encoder_folder), head=head)
    (tmp_path / "classifier.onnx").write_bytes(model.SerializeToString())
    manifest = imported(tmp_path / "classifier.onnx", tokenizer=built.tokenizer, max_tokens=32).artifact.manifest
    assert (manifest.task, manifest.labels, manifest.dimensions) == ("classification", ("ja", "nein"), 24)


@pytest.mark.parametrize("opset", [17, 18])
def test_class_names_make_a_classifier(tmp_path: Path, opset: int) -> None:
    """Label and confidence are computed from the logits; the names are in the manifest."""
    file = written(
        tmp_path, [helper.make_node("Identity", ["x"], ["scores"])], [value("x", FLOAT, "n", 3)],
        [value("scores", FLOAT, "n", 3)], opset=opset,
    )
    made = imported(file, labels=("red", "green", "blue"))
    assert (made.artifact.manifest.task, made.artifact.manifest.labels) == ("classification", ("red", "green", "blue"))
    found = OnnxSession(made.artifact, Device()).run({"x": np.array([[0, 3, 1], [2, 0, 0]], np.float32)})
    assert found["label"].tolist() == [1, 0]
    expected = [np.exp(3) / (1 + np.exp(3) + np.exp(1)), np.exp(2) / (np.exp(2) + 2)]
    np.testing.assert_allclose(found["confidence"], expected, rtol=1e-6)


def test_class_names_that_don_t_fit_are_refused(tmp_path: Path) -> None:
    """Too few names, or nothing to name."""
    file = written(tmp_path, [helper.make_node("Identity", ["x"], ["y"])], [value("x", FLOAT, "n", 3)],
                   [value("y", FLOAT, "n", 3)])
    assert "has 3 classes, and 2 names" in refused(file, labels=("a", "b")).message
    file = written(tmp_path, [helper.make_node("Identity", ["x"], ["y"])], [value("x", FLOAT, "n", 3, 2)],
                   [value("y", FLOAT, "n", 3, 2)])
    error = refused(file, labels=("a", "b"))
    assert error.message == "no output of the model can be taken: it needs one of 2 axes, and has y of 3"
    assert error.remedy is not None
    assert "a number for each class" in error.remedy
