"""Artefacts on disk: whole or refused, the same for the same content, and one of them live."""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from eventmill_connectors.onnx.artifact import (
    Artifact,
    describe,
    live_version,
    make_live,
    new_folder,
    open_artifact,
    store,
    versions,
)
from eventmill_connectors.onnx.manifest import Manifest, content_version, manifest_text, read_manifest
from eventmill_schemas.errors import ModelUnusable, UsageError


def test_a_name_opens_its_live_version_and_a_version_itself(built: Artifact) -> None:
    """Pipelines name either; both are the same artefact."""
    by_name, by_version = open_artifact(built.folder.parent), open_artifact(built.folder)
    assert by_name == by_version == built
    assert by_name.folder.name == by_name.manifest.version == live_version(built.folder.parent)


def _half(folder: Path) -> None:
    os.truncate(folder / "model.onnx", (folder / "model.onnx").stat().st_size // 2)


def _flipped(folder: Path) -> None:
    content = bytearray((folder / "model.onnx").read_bytes())
    content[-1] ^= 1
    (folder / "model.onnx").write_bytes(content)


def _edited(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["max_tokens"] += 8
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_half, "model.onnx is not the file that the manifest describes"),
        (_flipped, "model.onnx is not the file that the manifest describes"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "tokenizer.json is not the file"),
        (lambda folder: (folder / "model.onnx").unlink(), "model.onnx can't be read: No such file"),
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json can't be read"),
        (lambda folder: os.truncate(folder / "manifest.json", 100), "manifest.json is no manifest: it is not JSON"),
        (lambda folder: (folder / "manifest.json").write_text("{}"), "manifest.json is no manifest: name: Field requi"),
        (_edited, "manifest.json was changed"),
    ],
)
def test_case_105_a_damaged_artefact_is_refused_with_the_reason(
    home: Path, damage: Callable[[Path], None], reason: str
) -> None:
    """Half-written, changed and missing files are named, and what to do is said."""
    folder = next(path for path in home.iterdir() if path.is_dir())
    damage(folder)
    with pytest.raises(ModelUnusable) as caught:
        open_artifact(home)
    assert reason in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("aliases", "reason"),
    [
        (None, "none of its versions is live"),
        ("{}", "none of its versions is live"),
        ("{", "can't be read"),
        ('{"live": "../../etc"}', "names no version"),
        ('{"live": 3}', "names no version"),
        ('{"live": "0123456789ab"}', "is 0123456789ab, which is not there"),
    ],
)
def test_case_105_a_broken_alias_is_refused_with_the_reason(home: Path, aliases: str | None, reason: str) -> None:
    """No version is guessed."""
    (home / "aliases.json").unlink()
    if aliases is not None:
        (home / "aliases.json").write_text(aliases)
    with pytest.raises(ModelUnusable, match=reason):
        open_artifact(home)


def test_what_is_not_there_is_said_with_the_way_to_make_it(tmp_path: Path) -> None:
    """A pipeline may be run before its models are built."""
    with pytest.raises(ModelUnusable, match="there is no model at") as caught:
        open_artifact(tmp_path / "models" / "minilm")
    assert "eventmill models build" in str(caught.value.remedy)


def test_a_later_format_is_refused_by_its_number(built: Artifact) -> None:
    """A model from a newer eventmill is not read half."""
    document = json.loads(manifest_text(built.manifest))
    document["format"] = 2
    with pytest.raises(ValueError, match="its format is 2, and this eventmill knows formats up to 1"):
        read_manifest(json.dumps(document))


def test_a_manifest_is_read_as_it_was_written(built: Artifact) -> None:
    """Nothing is lost between a build and a worker."""
    assert read_manifest(manifest_text(built.manifest)) == built.manifest


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "a/b", "", ".."])
def test_case_105_a_manifest_names_no_file_outside_its_folder(built: Artifact, name: str) -> None:
    """A copied model can't make a worker read other files."""
    manifest = dataclasses.replace(built.manifest, files={**built.manifest.files, name: "0" * 64})
    with pytest.raises(ValueError, match="is no file name"):
        read_manifest(manifest_text(manifest))


def test_the_version_follows_the_content_and_nothing_else(built: Artifact) -> None:
    """Another name, origin or measurement is the same version; another limit or file is not."""
    manifest = built.manifest
    same = dataclasses.replace(manifest, name="other", version="", source="elsewhere", producer="later", head={"a": 1})
    assert content_version(same) == manifest.version
    for other in (
        dataclasses.replace(manifest, max_tokens=31),
        dataclasses.replace(manifest, labels=("a", "b")),
        dataclasses.replace(manifest, files={**manifest.files, "model.onnx": "0" * 64}),
    ):
        assert content_version(other) != manifest.version


def _store(models: Path, manifest: Manifest, content: bytes) -> Artifact:
    with new_folder(models, "made") as folder:
        (folder / "model.onnx").write_bytes(content)
        (folder / "parity.npz").write_bytes(b"")
        return store(describe(folder, manifest))


def test_storing_leaves_a_whole_version_or_nothing(built: Artifact, tmp_path: Path) -> None:
    """What is not stored leaves no trace, and what is stored no other file."""
    with new_folder(tmp_path, "made") as folder:
        (folder / "model.onnx").write_bytes(b"half")
    assert list(tmp_path.iterdir()) == []
    stored = _store(tmp_path, built.manifest, b"one")
    assert {path.name for path in (tmp_path / "made").iterdir()} == {stored.manifest.version, "aliases.json"}


def test_what_a_killed_build_left_is_no_version_and_goes_in_time(built: Artifact, tmp_path: Path) -> None:
    """It is not listed and not opened; a build of another process may be at work on it, but not for days."""
    stored = _store(tmp_path, built.manifest, b"one")
    left, at_work = tmp_path / "made" / ".new-left", tmp_path / "made" / ".new-at-work"
    for folder in (left, at_work):
        folder.mkdir()
        (folder / "model.onnx").write_bytes(b"half")
    os.utime(left, (0, 0))
    assert list(versions(tmp_path / "made")) == [stored.manifest.version]
    assert open_artifact(tmp_path / "made") == stored
    _store(tmp_path, built.manifest, b"two")
    assert (left.exists(), at_work.exists()) == (False, True)


def test_a_version_that_is_there_stays_as_it_is_and_a_damaged_one_is_replaced(built: Artifact, tmp_path: Path) -> None:
    """Building again changes nothing, and repairs."""
    first = _store(tmp_path, built.manifest, b"one")
    inode = (first.folder / "model.onnx").stat().st_ino
    again = _store(tmp_path, built.manifest, b"one")
    assert (again.folder, (again.folder / "model.onnx").stat().st_ino) == (first.folder, inode)
    (first.folder / "model.onnx").write_bytes(b"two")
    assert open_artifact(_store(tmp_path, built.manifest, b"one").folder).model.read_bytes() == b"one"


def test_the_newest_is_live_until_another_is_chosen(built: Artifact, tmp_path: Path) -> None:
    """Going back is one command, and a version that is not there can't be chosen."""
    first, second = (_store(tmp_path, built.manifest, content) for content in (b"one", b"two"))
    home = tmp_path / "made"
    assert open_artifact(home).folder == second.folder
    make_live(home, first.manifest.version)
    assert open_artifact(home).folder == first.folder
    assert set(versions(home)) == {first.manifest.version, second.manifest.version}
    with pytest.raises(ModelUnusable, match="has no version"):
        make_live(home, "0123456789ab")
    assert open_artifact(home).folder == first.folder


@pytest.mark.parametrize("name", ["", "A", "a/b", "..", ".a", "a b", "x" * 65])
def test_a_name_is_one_folder(name: str, tmp_path: Path) -> None:
    """A model is never written elsewhere than below the folder of models."""
    with pytest.raises(UsageError, match="can't be the name of a model"), new_folder(tmp_path, name):
        pass
