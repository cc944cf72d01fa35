"""`eventmill doctor` on a real broker and registry: before `apply`, after it, and without servers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from eventmill.cli import app
from eventmill.dev.addresses import Addresses
from eventmill_connectors.kafka.admin import Topics

PIPELINE = """
pipeline: {name}
kafka: {{bootstrap: "{kafka}", registry: "{registry}"}}
stages:
  copy: {{input: {name}.in, result: copy.avsc}}
"""
COPY = {"type": "record", "name": "Copy", "fields": [{"name": "text", "type": "string", "from": "event.text"}]}
Doctor = Callable[..., tuple[int, dict[str, list[tuple[str, str]]]]]


@pytest.fixture
def file(tmp_path: Path, addresses: Addresses, unique: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a pipeline without models, in the folder that the command runs in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "copy.avsc").write_text(json.dumps(COPY))
    made = tmp_path / "pipeline.yaml"
    made.write_text(PIPELINE.format(name=unique, kafka=addresses.bootstrap, registry=addresses.registry))
    return made


def doctor() -> tuple[int, dict[str, list[tuple[str, str]]]]:
    """Run the command on pipeline.yaml; return its exit code and (level, detail) by check."""
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert "Traceback" not in done.output
    found: dict[str, list[tuple[str, str]]] = {}
    document: dict[str, Any] = json.loads(done.stdout)
    for finding in document["findings"]:
        found.setdefault(finding["check"], []).append((finding["level"], finding["detail"]))
        assert finding["hint"] or finding["level"] == "ok" or finding["check"] == "topics"
    return done.exit_code, found


def test_from_missing_to_well(file: Path, addresses: Addresses, unique: str) -> None:
    """Before `apply` topics and schemas fail by name; after it all is well; a smaller output is a warning."""
    code, before = doctor()
    assert code == 1
    assert before["topics"][0][0] == "fail"
    assert f"{unique}.in" in before["topics"][0][1]
    assert [level for level, _ in before["schemas"]] == ["fail", "fail"]

    assert CliRunner().invoke(app, ["apply", "--inputs", "--partitions", "2"]).exit_code == 0
    code, after = doctor()
    assert code == 0, after
    assert [level for level, _ in after["topics"] + after["schemas"] + after["registry"]] == ["ok", "ok", "ok"]
    assert addresses.bootstrap in after["kafka"][0][1]
    assert "clock" in after

    Topics({"bootstrap.servers": addresses.bootstrap}).grow(f"{unique}.in", 3)
    code, grown = doctor()
    assert code == 0
    assert {level for level, _ in grown["topics"]} == {"warn"}
    assert any(f"{unique}.copy.results has 2 partitions" in detail for _, detail in grown["topics"])


def test_servers_that_are_away_are_told_each(file: Path, unique: str) -> None:
    """Neither Kafka nor the registry hides that the other is away; what depends on them is not guessed."""
    file.write_text(PIPELINE.format(name=unique, kafka="127.0.0.1:9", registry="http://127.0.0.1:9"))
    code, found = doctor()
    assert code == 1
    assert [level for level, _ in found["kafka"] + found["registry"]] == ["fail", "fail"]
    assert "topics" not in found
    assert "schemas" not in found
