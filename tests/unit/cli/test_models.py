"""`eventmill models`: what a person who makes and checks models meets."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner, Result

import numpy_bert
from eventmill.cli import app
from eventmill_connectors.onnx.artifact import open_artifact
from eventmill_connectors.onnx.parity import Parity, write_parity
from eventmill_connectors.onnx.session import CUDA, Device, OnnxSession


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, beside the weights of a small encoder."""
    numpy_bert.write_encoder(tmp_path / "tiny-bert")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    """Run `eventmill models` in this process."""
    return CliRunner().invoke(app, ["models", *arguments])


def build(*arguments: str) -> Result:
    """Build the small encoder as `tiny`."""
    done = run("build", "tiny", "--from", "tiny-bert", *arguments)
    assert done.exit_code == 0, done.output
    return done


def test_a_build_says_what_it_made_and_how_it_was_checked(here: Path) -> None:
    """Place, kind, provider, nearness, bits, and that it is live."""
    lines = build().stdout.splitlines()
    version = open_artifact(here / "models" / "tiny").manifest.version
    assert lines[0] == f"models/tiny/{version}: embedding, fp32, vectors of 24 dimensions"
    assert lines[1].startswith("gate passed on CPUExecutionProvider: 32 unoptimised records, at most ")
    assert lines[2:] == ["a record has the same bits alone and in a batch", f"live: tiny@{version}"]


def test_a_model_is_listed_shown_and_checked(here: Path) -> None:
    """By its name or its version, for people and for scripts."""
    document = json.loads(build("--json").stdout)
    assert (document["name"], document["gate"]["provider"]) == ("tiny", "CPUExecutionProvider")
    assert document["gate"]["batch_difference"] == 0
    listed = run("list")
    assert [line.split()[:5] for line in listed.stdout.splitlines()[1:]] == [
        ["tiny", document["version"], "live", "embedding", "fp32"]
    ]
    assert json.loads(run("list", "--json").stdout)[0]["version"] == document["version"]
    shown = run("show", "models/tiny").stdout
    assert f"version       {document['version']}" in shown
    assert "outputs       sentence_embedding float32[batch, 24]" in shown
    shown = json.loads(run("show", f"models/tiny/{document['version']}", "--json").stdout)
    stored = json.loads((here / "models/tiny" / document["version"] / "manifest.json").read_text())
    assert set(shown) == {*stored, "folder"}
    checked = run("check", "models/tiny")
    assert checked.exit_code == 0
    assert "gate passed" in checked.stdout
    assert "live" not in checked.stdout


def test_going_back_to_an_earlier_version_is_one_command(here: Path) -> None:
    """A version that is damaged or not there can't be chosen."""
    first = json.loads(build("--json").stdout)["version"]
    second = json.loads(build("--json", "--precision", "fp16").stdout)["version"]
    assert open_artifact(here / "models" / "tiny").manifest.version == second
    done = run("use", "models/tiny", first)
    assert (done.exit_code, done.stderr) == (0, f"models/tiny is now version {first}.\n")
    assert open_artifact(here / "models" / "tiny").manifest.version == first
    os.truncate(here / "models" / "tiny" / second / "model.onnx", 10)
    unknown = "has no version 0123\nSee: eventmill models list models"
    for version, reason in ((second, "model.onnx is not the file"), ("0123", unknown)):
        failed = run("use", "models/tiny", version)
        assert failed.exit_code == 2
        assert reason in failed.stderr
    assert open_artifact(here / "models" / "tiny").manifest.version == first


def test_a_damaged_version_is_told_beside_the_others(here: Path) -> None:
    """A list of models does not end at the first that is broken."""
    version = json.loads(build("--json").stdout)["version"]
    run("build", "other", "--from", "tiny-bert")
    (here / "models" / "tiny" / version / "manifest.json").write_text("{")
    (here / "models" / "tiny" / "aliases.json").write_text("{")
    listed = run("list")
    assert listed.exit_code == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["NAME", "other"]
    assert "is no manifest: it is not JSON" in listed.stderr
    assert "aliases.json can't be read" in listed.stderr


def test_labels_make_a_classifier(here: Path) -> None:
    """The head is trained, reported and folded in; the labels are those of the file."""
    rows = [f"{'a' * n} b,first\n{'c' * n} d,second\n" for n in range(1, 15)]
    (here / "labels.csv").write_text("text,label\n" + "".join(rows))
    done = build("--labels", "labels.csv", "--method", "means")
    assert "Training a head on 28 texts with 2 labels" in done.stderr
    assert "Accuracy" in done.stdout
    manifest = open_artifact(here / "models" / "tiny").manifest
    assert (manifest.task, manifest.labels) == ("classification", ("first", "second"))
    assert manifest.head is not None
    assert manifest.head["method"] == "means"
    right = 100 * manifest.head["measures"]["accuracy"]
    assert f"head          means, {right:.1f} % of 28 texts right" in run("show", "models/tiny").stdout
    assert [spec.name for spec in manifest.outputs] == ["sentence_embedding", "logits", "confidence", "label"]


def test_the_same_labels_make_the_same_version(here: Path) -> None:
    """Training has no chance in it."""
    (here / "labels.csv").write_text("text,label\n" + "".join(f"{'ab'[n % 2] * (n + 1)},{n % 2}\n" for n in range(20)))
    arguments = ("--labels", "labels.csv", "--method", "means", "--json")
    first, again = (json.loads(build(*arguments).stdout)["version"] for _ in range(2))
    assert first == again


def test_given_vectors_decide(here: Path) -> None:
    """Those of another tool pass; others are refused, and the model is not stored."""
    weights = numpy_bert.make_weights(numpy_bert.CONFIG)
    texts, tokenizer = ("a b c", "hello"), numpy_bert.make_tokenizer()
    vectors = np.array([numpy_bert.embed(weights, numpy_bert.CONFIG, tokenizer.encode(text).ids) for text in texts])
    write_parity(here / "right.npz", Parity({}, {"sentence_embedding": vectors}, texts))
    assert "2 given records" in build("--parity", "right.npz").stdout
    write_parity(here / "wrong.npz", Parity({}, {"sentence_embedding": vectors[::-1]}, texts))
    failed = run("build", "other", "--from", "tiny-bert", "--parity", "wrong.npz")
    assert failed.exit_code == 2
    assert "does not compute what it should (given outputs)" in failed.stderr
    assert not (here / "models" / "other").exists()


def test_an_onnx_file_is_imported_with_class_names(here: Path) -> None:
    """A classifier of another tool, in two words."""
    spec = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["scores"])], "graph",
        [spec("x", TensorProto.FLOAT, ["n", 2])], [spec("scores", TensorProto.FLOAT, ["n", 2])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), here / "m.onnx")
    (here / "names.txt").write_text("yes\nno\n")
    done = run("import", "m.onnx", "fraud", "--class-names", "names.txt")
    assert "classification, fp32, 2 labels" in done.stdout
    assert open_artifact(here / "models" / "fraud").manifest.labels == ("yes", "no")
    (here / "names.txt").write_text("yes\nyes\n")
    failed = run("import", "m.onnx", "fraud", "--class-names", "names.txt")
    assert (failed.exit_code, failed.stderr.splitlines()[0]) == (2, "error: names.txt names 'yes' twice")
    failed = run("import", "m.onnx", "fraud", "--tokenizer", "none.json")
    assert (failed.exit_code, failed.stderr.strip()) == (2, "error: none.json can't be read: No such file or directory")


@pytest.mark.parametrize(
    ("arguments", "reason", "remedy"),
    [
        (["list"], "there is no folder models", "eventmill models build minilm"),
        (["show", "models/none"], "there is no model at models/none", "eventmill models build"),
        (["check", "tiny-bert"], "tiny-bert is no model, or none of its versions is live", "eventmill models"),
        (["build", "Tiny", "--from", "tiny-bert"], "'Tiny' can't be the name of a model", "lower-case"),
        (["build", "tiny", "--from", "none"], "No such file", "1_Pooling"),
        (["build", "tiny", "--labels", "none.csv"], "none.csv: the file can't be read", ""),
        (["import", "none.onnx", "some"], "there is no file none.onnx", ""),
        (["import", "none.onnx", "some", "--class-names", "none.txt"], "none.txt can't be read", ""),
        (["import", "tiny-bert/config.json", "some"], "config.json is no ONNX file", ""),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(arguments: list[str], reason: str, remedy: str) -> None:
    """Exit code 2, one message, one line of advice, no stack trace."""
    failed = run(*arguments)
    assert failed.exit_code == 2, failed.output
    assert reason in failed.stderr
    assert remedy in failed.stderr
    assert "Traceback" not in failed.output


def test_asking_for_a_gpu_that_is_not_there_fails_the_check(here: Path) -> None:
    """The reason is that of the library which is missing, or of the driver."""
    build()
    artifact = open_artifact(here / "models" / "tiny")
    has_gpu = OnnxSession(artifact, Device("cuda", require_gpu=False)).provider == CUDA
    done = run("check", "models/tiny", "--device", "cuda")
    assert done.exit_code == (0 if has_gpu else 2)
    assert ("gate passed on CUDA" in done.stdout) if has_gpu else ("can't run on a GPU here" in done.stderr)


def test_without_the_extra_its_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever installed only eventmill can still list, and is told what to install."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for command in ("build", "import", "check"):
        failed = run(command, "some")
        assert failed.exit_code == 2
        assert "local models need onnxruntime, which is not installed" in failed.stderr
        assert "pip install 'eventmill[onnx]'" in failed.stderr
    build_help = run("--help")
    assert build_help.exit_code == 0


def test_a_model_in_the_usual_folder_is_found_by_its_name() -> None:
    """`show tiny` means models/tiny, unless there is something called tiny right here."""
    build()
    by_name, by_folder = run("show", "tiny"), run("show", "models/tiny")
    assert by_name.exit_code == 0
    assert by_name.stdout == by_folder.stdout
    Path("tiny").mkdir()
    assert run("show", "tiny").exit_code == 2
