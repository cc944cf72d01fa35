"""The page on models trains the head that it shows: its file of labels gives its report."""

import subprocess
import sys
from pathlib import Path

from eventmill_connectors.onnx.artifact import open_artifact
from pages import blocks

PAGE = Path(__file__).parents[2] / "docs/how-to/models.md"


def test_the_labels_on_the_page_give_the_report_on_the_page(tmp_path: Path) -> None:
    """From a newcomer's file to a live classifier, with the report printed and kept in the manifest."""
    by_name = {block.name: block.text for block in blocks(PAGE.read_text("utf-8"))}
    (tmp_path / "labels.csv").write_text(by_name["labels.csv"], encoding="utf-8")
    command = [sys.executable, "-m", "eventmill.cli", "models", "build", "kinds", "--labels", "labels.csv"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(by_name["head"])
    assert done.stderr == "Training a head on 12 texts with 3 labels\n"
    manifest = open_artifact(tmp_path / "models/kinds").manifest
    assert manifest.labels == ("account", "delivery", "refund")
    assert manifest.head is not None
    assert manifest.head["measures"]["accuracy"] == 1
    assert [one["texts"] for one in manifest.head["labels"]] == [4, 4, 4]
