"""Small models to break: an encoder with random weights, and graphs of a few nodes."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from eventmill_connectors.onnx.artifact import Artifact
from eventmill_connectors.onnx.build import EncoderRequest, build
from eventmill_connectors.onnx.sources import read_encoder
from numpy_bert import write_encoder


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder in the layout of sentence-transformers, with random weights. Don't change it."""
    folder = tmp_path_factory.mktemp("published") / "tiny-bert"
    write_encoder(folder)
    return folder


@pytest.fixture(scope="session")
def built(encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Give the model that is built of it. Don't change it."""
    models = tmp_path_factory.mktemp("models")
    return build(read_encoder(encoder_folder), EncoderRequest("tiny", models)).artifact


@pytest.fixture
def home(built: Artifact, tmp_path: Path) -> Path:
    """Give the folder `tiny` of a copy of the built model, to break."""
    return Path(shutil.copytree(built.folder.parent, tmp_path / "models" / "tiny"))


SaveGraph = Callable[..., Path]


@pytest.fixture
def save_graph(tmp_path: Path) -> SaveGraph:
    """Give a function that writes an ONNX file of nodes from `x`, float32 [n, 3], to `y`, float32 [n, `columns`]."""

    def save(nodes: Sequence[onnx.NodeProto], weights: Sequence[onnx.TensorProto] = (), *, columns: int = 3,
             name: str = "model.onnx", **saving: object) -> Path:
        domains = {node.domain for node in nodes} | {""}
        graph = helper.make_graph(
            list(nodes),
            "graph",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", columns])],
            list(weights),
        )
        opsets = [helper.make_opsetid(domain, 1 if domain else 17) for domain in sorted(domains)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / name, **saving)
        return tmp_path / name

    return save
