"""Seeing that a file was saved, whatever the editor does."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from eventmill.trying.watch import Watch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a pipeline's folder."""
    (tmp_path / "prompts").mkdir()
    for name in ("pipeline.yaml", "prompts/read.md", "result.avsc"):
        (tmp_path / name).write_text("as it was")
    return tmp_path


def in_place(path: Path) -> None:
    """Save as an editor that writes the file itself: it is empty for a moment."""
    path.write_text("")
    path.write_text("changed")


def by_rename(path: Path) -> None:
    """Save as an editor that writes another file and renames it."""
    other = path.with_name("4913~")
    other.write_text("changed")
    other.replace(path)


def by_moving_away(path: Path) -> None:
    """Save as an editor that keeps the old file under another name first."""
    path.rename(path.with_name(path.name + "~"))
    path.write_text("changed")


@pytest.mark.parametrize(
    ("save", "name"), [(in_place, "pipeline.yaml"), (by_rename, "prompts/read.md"), (by_moving_away, "result.avsc")]
)
def test_a_saved_file_is_seen(folder: Path, save: Callable[[Path], None], name: str) -> None:
    """Written in place or renamed into place: the file is named once, and what was written besides is not."""
    watch = Watch(folder)
    save(folder / name)
    assert watch.wait() == [folder / name]
    assert watch.look() == watch.seen


def test_it_waits_for_the_change(folder: Path) -> None:
    """Nothing is reported before something is saved; a save with the same content is no change."""
    watch = Watch(folder)
    returned: list[list[Path]] = []
    waiting = threading.Thread(target=lambda: returned.append(watch.wait()))
    waiting.start()
    (folder / "result.avsc").write_text("as it was")
    waiting.join(1)
    assert returned == []
    (folder / "result.avsc").write_text("something else")
    waiting.join(20)
    assert returned == [[folder / "result.avsc"]]


def test_files_may_come_and_go(folder: Path) -> None:
    """A new module and a removed prompt are changes; other folders' files count where they are named."""
    outside = folder.with_name("events.jsonl")
    watch = Watch(folder, [outside])
    (folder / "step.py").write_text("x = 1")
    (folder / "prompts/read.md").unlink()
    outside.write_text("{}")
    assert watch.wait() == sorted([folder / "step.py", folder / "prompts/read.md", outside])


def test_what_is_no_part_of_a_pipeline_is_not_watched(folder: Path) -> None:
    """Swap files, caches, environments, models and data beside the pipeline wake nobody."""
    watch = Watch(folder)
    for name in (".pipeline.yaml.swp", "events.jsonl", "__pycache__/step.py", ".venv/a.py", "models/m/a.md", "x.md~"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("new")
    assert watch.look() == watch.seen
