"""Model artefacts on disk: `<models>/<name>/<version>/` and the alias that says which version is live.

A version is written beside its place, synced and renamed: it is there as a whole or not at all, and never changes.
"""

import dataclasses
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from eventmill_connectors.onnx.manifest import (
    MODEL_FILE,
    PARITY_FILE,
    TOKENIZER_FILE,
    Manifest,
    ManifestUnreadable,
    content_version,
    manifest_text,
    read_manifest,
)
from eventmill_schemas.errors import ModelUnusable, UsageError

MANIFEST_FILE, ALIASES_FILE, LIVE = "manifest.json", "aliases.json", "live"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_STAGING = ".new-"
_LEFT_SECONDS = 86_400   # no build takes a day
_CHOOSE = "Choose a version with `eventmill models use`"
_AGAIN = "Build or import it again, or copy the whole folder anew"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A version of a model whose files are what its manifest says."""

    folder: Path
    manifest: Manifest

    @property
    def model(self) -> Path:
        """The ONNX file."""
        return self.folder / MODEL_FILE

    @property
    def parity(self) -> Path:
        """The frozen inputs and outputs."""
        return self.folder / PARITY_FILE

    @property
    def tokenizer(self) -> Path | None:
        """The tokenizer of a model that takes texts."""
        return self.folder / TOKENIZER_FILE if TOKENIZER_FILE in self.manifest.files else None

    def __str__(self) -> str:
        return f"{self.manifest.name}@{self.manifest.version or 'new'}"


def open_artifact(path: Path) -> Artifact:
    """Open `<models>/<name>` (its live version) or `<models>/<name>/<version>`, and compare the hashes of all files.

    Raises ModelUnusable, which says what is missing or damaged and what to do.
    """
    folder = _version_folder(path)
    manifest = _manifest(folder)
    if folder != path and folder.name != manifest.version:
        raise ModelUnusable(f"{folder} holds version {manifest.version}", remedy=_AGAIN)
    for name, expected in manifest.files.items():
        file = folder / name
        try:
            found = file_hash(file)
        except OSError as error:
            raise ModelUnusable(f"{file} can't be read: {error.strerror}", remedy=_AGAIN) from error
        if found != expected:
            raise ModelUnusable(
                f"{file} is not the file that the manifest describes: its sha256 is {found[:12]}..., "
                f"not {expected[:12]}...",
                remedy=_AGAIN,
            )
    return Artifact(folder, manifest)


def versions(path: Path) -> dict[str, Manifest | ModelUnusable]:
    """Return the versions of the model `<models>/<name>`, oldest first; files are not compared with their hashes."""
    folders = [one for one in path.iterdir() if one.is_dir() and not one.name.startswith(".")]
    found: dict[str, Manifest | ModelUnusable] = {}
    for folder in sorted(folders, key=lambda one: (one.stat().st_mtime_ns, one.name)):
        try:
            found[folder.name] = _manifest(folder)
        except ModelUnusable as error:
            found[folder.name] = error
    return found


def live_version(path: Path) -> str | None:
    """Return which version of the model `<models>/<name>` is live, None if none is. Raises ModelUnusable."""
    file = path / ALIASES_FILE
    try:
        aliases = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ModelUnusable(f"{file} can't be read: {error}", remedy=_CHOOSE) from error
    version = aliases.get(LIVE) if isinstance(aliases, dict) else None
    if version is not None and not (isinstance(version, str) and _NAME.fullmatch(version)):
        raise ModelUnusable(f"{file} names no version", remedy=_CHOOSE)
    return version


def make_live(path: Path, version: str) -> None:
    """Let the model `<models>/<name>` stand for `version` from now on. Raises ModelUnusable if it is not there."""
    if not _NAME.fullmatch(version) or not (path / version / MANIFEST_FILE).is_file():
        raise ModelUnusable(
            f"the model {path} has no version {version}", remedy=f"See: eventmill models list {path.parent}"
        )
    temporary = path / f"{_STAGING}{ALIASES_FILE}-{os.getpid()}"
    temporary.write_text(json.dumps({LIVE: version}) + "\n", encoding="utf-8")
    _sync(temporary)
    temporary.replace(path / ALIASES_FILE)
    _sync(path)


def check_name(name: str) -> str:
    """Return `name` if a model may have it. Raises UsageError."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} can't be the name of a model",
            remedy="Use up to 64 lower-case letters, digits, '.', '_' and '-', beginning with a letter or digit",
        )
    return name


@contextmanager
def new_folder(models: Path, name: str) -> Iterator[Path]:
    """Give an empty folder for the files of a new version of the model `name`; what was not stored is removed."""
    home = models / check_name(name)
    home.mkdir(parents=True, exist_ok=True)
    for left in home.glob(f"{_STAGING}*"):   # by a process that was killed
        if left.stat().st_mtime < time.time() - _LEFT_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_STAGING, dir=home))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if not any(home.iterdir()):
            home.rmdir()


def describe(folder: Path, manifest: Manifest) -> Artifact:
    """Return the artefact that the files of a new folder make; hashes and version are filled in."""
    hashes = {file.name: file_hash(file) for file in sorted(folder.iterdir()) if file.name != MANIFEST_FILE}
    complete = dataclasses.replace(manifest, files=hashes)
    return Artifact(folder, dataclasses.replace(complete, version=content_version(complete)))


def store(artifact: Artifact) -> Artifact:
    """Move a described new folder to the place of its version, and make it live. Return it as it is stored.

    A version that is there already is taken again if it is whole, and replaced if it is damaged.
    """
    home = artifact.folder.parent
    target = home / artifact.manifest.version
    (artifact.folder / MANIFEST_FILE).write_text(manifest_text(artifact.manifest), encoding="utf-8")
    for file in artifact.folder.iterdir():
        _sync(file)
    _sync(artifact.folder)
    artifact.folder.chmod(0o755)   # temporary folders are their maker's own
    if not _is_whole(target):
        shutil.rmtree(target, ignore_errors=True)
        try:
            artifact.folder.rename(target)
        except OSError:
            if not _is_whole(target):   # else another process has just stored the same
                raise
        _sync(home)
    make_live(home, artifact.manifest.version)
    return Artifact(target, artifact.manifest)


def file_hash(file: Path) -> str:
    """Return the sha256 of a file as hex digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _version_folder(path: Path) -> Path:
    if (path / MANIFEST_FILE).is_file():
        return path
    if not path.is_dir():
        raise ModelUnusable(
            f"there is no model at {path}",
            remedy="Make it with `eventmill models build` or `eventmill models import`",
        )
    version = live_version(path)
    if version is None:
        raise ModelUnusable(
            f"{path} is no model, or none of its versions is live",
            remedy="Make one with `eventmill models build`, or choose a version with `eventmill models use`",
        )
    if not (path / version).is_dir():
        raise ModelUnusable(f"the live version of {path} is {version}, which is not there", remedy=_AGAIN)
    return path / version


def _manifest(folder: Path) -> Manifest:
    file = folder / MANIFEST_FILE
    try:
        manifest = read_manifest(file.read_bytes())
    except OSError as error:
        raise ModelUnusable(f"{file} can't be read: {error.strerror}", remedy=_AGAIN) from error
    except ManifestUnreadable as error:
        raise ModelUnusable(f"{file} is no manifest: {error}", remedy=_AGAIN) from error
    missing = [name for name in (MODEL_FILE, PARITY_FILE) if name not in manifest.files]
    if missing:
        raise ModelUnusable(f"{file} does not list {' and '.join(missing)}", remedy=_AGAIN)
    if content_version(manifest) != manifest.version:
        raise ModelUnusable(f"{file} was changed: its content is not version {manifest.version}", remedy=_AGAIN)
    return manifest


def _is_whole(folder: Path) -> bool:
    try:
        open_artifact(folder)
    except ModelUnusable:
        return False
    return True


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
