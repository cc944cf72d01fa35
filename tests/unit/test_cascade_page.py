"""The page about cascades shows what works."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema_rs
import yaml

from eventmill.config.json_schema import json_schema
from eventmill_streams.metrics import Metrics
from pages import blocks

PAGES = Path(__file__).parents[2] / "docs/how-to"
PAGE = (PAGES / "cascade.md").read_text("utf-8")


def test_its_files_and_its_test_work(tmp_path: Path) -> None:
    """The pipeline is right, and the test that the reader copies passes: one call for two events."""
    for kind, name, text in blocks(PAGE):
        assert kind == "file"
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert jsonschema_rs.is_valid(json_schema(), yaml.safe_load((tmp_path / "pipeline.yaml").read_text()))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_sort.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_the_labels_that_the_page_about_models_trains_on_are_kinds() -> None:
    """A reader who builds `kinds` there has a model that `eventmill check` takes here."""
    labels = next(b.text for b in blocks((PAGES / "models.md").read_text("utf-8")) if b.name == "labels.csv")
    schema = json.loads(next(b.text for b in blocks(PAGE) if b.name == "sorted.avsc"))
    assert {row["label"] for row in csv.DictReader(labels.splitlines())} < set(schema["fields"][0]["type"]["symbols"])


def test_its_expressions_name_metrics_that_exist() -> None:
    """A reader who copies one finds something."""
    exposed = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for value in vars(Metrics()).values()
        if hasattr(value, "describe")
        for family in value.describe()
    }
    named = set(re.findall(r"eventmill_\w+", PAGE))
    assert named
    assert named <= exposed
