"""Sessions: what they run on, what they give, and what they say when they can't."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from eventmill_connectors.onnx.artifact import Artifact, open_artifact
from eventmill_connectors.onnx.import_onnx import ImportRequest, import_onnx
from eventmill_connectors.onnx.session import CPU, CUDA, Device, OnnxSession
from eventmill_connectors.onnx.tokens import text_inputs
from eventmill_schemas.errors import ModelFailed, ModelUnusable, OutOfMemory


@pytest.fixture(scope="module")
def session(built: Artifact) -> OnnxSession:
    """Give a session of the small encoder on the CPU."""
    return OnnxSession(built, Device())


def test_it_says_what_runs_it(session: OnnxSession, built: Artifact) -> None:
    """The provider and the operators are those that ONNX Runtime reports after loading."""
    assert session.provider == CPU
    assert session.operators[CPU]["com.microsoft.Attention"] == 2
    assert session.operator_counts() == built.manifest.operators


def test_asking_for_a_gpu_where_there_is_none_is_refused(
    built: Artifact, capfd: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime would take the CPU without an error, and write to the terminal; neither happens."""
    if OnnxSession(built, Device("cuda", require_gpu=False)).provider == CUDA:
        pytest.skip("this machine has a GPU")
    with pytest.raises(ModelUnusable) as caught:
        OnnxSession(built, Device("cuda"))
    assert "can't run on a GPU here: " in caught.value.message
    assert "device: cpu" in str(caught.value.remedy)
    assert capfd.readouterr() == ("", "")


@pytest.mark.gpu
def test_on_a_gpu_it_computes_the_same(built: Artifact, session: OnnxSession) -> None:
    """The CUDA path gives what the CPU gives, within the tolerance of float32, and says that it is the GPU."""
    on_gpu = OnnxSession(built, Device("cuda", require_gpu=False, memory_limit=1 << 30))
    if on_gpu.provider != CUDA:
        pytest.skip("this machine has no GPU")
    inputs = text_inputs(built.manifest, [[2, 5, 9, 3], [2, 7, 3]], 8)
    found, expected = on_gpu.run(inputs), session.run(inputs)
    np.testing.assert_allclose(found["sentence_embedding"], expected["sentence_embedding"], atol=1e-5)


def test_binding_gives_the_outputs_of_a_plain_run(built: Artifact, session: OnnxSession) -> None:
    """What carries tensors to a GPU and back loses nothing and mixes up nothing, tried on the CPU's memory."""
    inputs = text_inputs(built.manifest, [[2, 5, 9, 3], [2, 7, 3]], 8)
    plain, bound = session.run(inputs), session._run_bound(inputs, "cpu")
    assert plain.keys() == bound.keys()
    for name, array in plain.items():
        np.testing.assert_array_equal(array, bound[name])


def test_many_threads_get_each_their_own(built: Artifact, session: OnnxSession) -> None:
    """One session serves callers at once: every text its vector."""
    rows = [[2, 4 + number, 30 + number, 3] for number in range(24)]
    alone = [session.run(text_inputs(built.manifest, [row], 8))["sentence_embedding"] for row in rows]
    start = threading.Barrier(4)

    def one(part: int) -> list[np.ndarray]:
        start.wait(10)
        return [session.run(text_inputs(built.manifest, [row], 8))["sentence_embedding"] for row in rows[part::4]]

    with ThreadPoolExecutor(4) as pool:
        for part, found in enumerate(pool.map(one, range(4))):
            np.testing.assert_array_equal(found, alone[part::4])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"input_ids": np.ones((1, 8), np.int64)}, "Unexpected input data type"),
        ({"input_ids": np.ones((2, 8), np.int32)}, "Non-zero status code"),
        ({"input_ids": np.full((1, 8), 1000, np.int32)}, "out of range"),
        ({"other": np.ones((1, 8), np.int32)}, "Invalid input name: other"),
        ({"input_ids": None}, "Required inputs"),
    ],
)
def test_what_a_model_does_not_take_is_one_error(
    session: OnnxSession, built: Artifact, change: dict[str, np.ndarray | None], reason: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Whatever ONNX Runtime raises is a ModelFailed of one line, nothing is printed, and the session lives."""
    good = text_inputs(built.manifest, [[2, 5, 3]], 8)
    changed = {name: array for name, array in {**good, **change}.items() if array is not None}
    with pytest.raises(ModelFailed, match=reason) as caught:
        session.run(changed)
    assert "\n" not in caught.value.message
    assert not isinstance(caught.value, OutOfMemory)
    assert capfd.readouterr() == ("", "")
    assert session.run(good)["sentence_embedding"].shape == (1, 24)


def test_want_of_memory_is_told_apart_and_survived(tmp_path: Path) -> None:
    """A batch for which there is no memory raises OutOfMemory; the next one is computed."""
    graph = helper.make_graph(
        [helper.make_node("ConstantOfShape", ["x"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "big.onnx").write_bytes(model.SerializeToString())
    made = import_onnx(ImportRequest(file=tmp_path / "big.onnx", name="big", models=tmp_path / "models"))
    session = OnnxSession(made.artifact, Device())
    with pytest.raises(OutOfMemory, match="not enough memory"):
        session.run({"x": np.array([2**44])})
    assert session.run({"x": np.array([3])})["y"].tolist() == [0, 0, 0]


def test_a_file_that_is_no_model_is_refused(home: Path) -> None:
    """Whoever loads a damaged file, hashes or not, gets a message."""
    artifact = open_artifact(home)
    artifact.model.write_bytes(b"no model")
    with pytest.raises(ModelUnusable, match="can't be loaded"):
        OnnxSession(artifact, Device())


def test_the_graph_is_not_optimised_where_it_is_asked_for(tmp_path: Path) -> None:
    """The reference of the gate is the graph as it is in the file."""
    nodes = [helper.make_node("Identity", ["x"], ["a"]), helper.make_node("Add", ["a", "one"], ["y"])]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("x", "y")]
    one = numpy_helper.from_array(np.ones(3, np.float32), "one")
    graph = helper.make_graph(nodes, "graph", value[:1], value[1:], [one])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    artifact = import_onnx(ImportRequest(file=tmp_path / "m.onnx", name="m", models=tmp_path / "models")).artifact
    assert OnnxSession(artifact, Device(), optimised=False).operator_counts() == {"Add": 1, "Identity": 1}
    assert OnnxSession(artifact, Device()).operator_counts() == {"Add": 1}
