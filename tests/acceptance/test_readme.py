"""The README says what is: its pipeline, its links, its make targets, and what the demo prints."""

import re
import shutil
from pathlib import Path

import pytest

from eventmill.config import load
from eventmill_schemas.pipeline import Pipeline
from pages import blocks
from whole_run import DemoRun

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
EXAMPLE = ROOT / "examples/support-mail"
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
PAGES = sorted(
    page for page in ROOT.rglob("*.md") if not any(part.startswith(".") for part in page.relative_to(ROOT).parts)
)


def test_the_pipeline_in_the_readme_is_that_of_the_example(tmp_path: Path) -> None:
    """Put beside the example's files it loads, and means the same as the example's own pipeline.yaml."""
    found = re.findall(r"^```yaml\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    folder = tmp_path / "example"
    shutil.copytree(EXAMPLE, folder)
    own = _meaning(load(folder / "pipeline.yaml", {}))
    (folder / "pipeline.yaml").write_text(found[0], encoding="utf-8")
    assert _meaning(load(folder / "pipeline.yaml", {})) == own


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_linked_file_exists(page: Path) -> None:
    """Links between the pages of the repository, and from them to files and folders, lead somewhere."""
    links = LINK.findall(page.read_text("utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing, f"{page.relative_to(ROOT)} links to {', '.join(missing)}"


def test_every_folder_and_make_target_that_is_named_exists() -> None:
    """What a reader is told to type with `make` is a target, and what the map of the repository lists is a folder."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|\$ )make ([a-z-]+)", README))
    assert {"demo", "test"} <= named <= targets
    folders = re.findall(r"^([a-z]+)/ {2,}", README, re.MULTILINE)
    assert len(folders) == 5
    assert all((ROOT / folder).is_dir() for folder in folders)


def test_the_demo_prints_what_the_readme_shows(demo: DemoRun) -> None:
    """A real run gives the README's block line by line, counts, tokens and dollars included.

    Only the order of dead letters may differ, it is that of their failing, and what the model in the worker cost, which
    is the time that it took.
    """
    shown = next(block.text for block in blocks(README) if block.kind == "output" and block.name == "demo")
    assert len(shown.splitlines()) > 12
    printed = _lines(demo.out)
    assert _lines(shown)[:19] == printed[:19], demo.out
    assert sorted(_lines(shown)) == sorted(printed[: len(_lines(shown))]), demo.out


_LOCAL = re.compile(r"mail@[0-9a-f]{12} (.*) [0-9.]+$")   # the local model's version and, at the end, its cost


def _lines(text: str) -> list[str]:
    return [_LOCAL.sub(r"mail@ \1", " ".join(line.split())) for line in text.splitlines() if line.strip()]


def _meaning(pipeline: Pipeline) -> str:
    return repr(pipeline)
