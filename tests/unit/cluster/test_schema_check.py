"""Whether a schema may follow what is there, by level; and the pipeline as it was in another folder."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from eventmill.cli import app
from eventmill.cluster.schema_check import Known, judge
from eventmill_connectors.registry import Registered


def schema(*fields: Any) -> str:
    """Make a record schema of (name, type) or (name, type, default)."""
    made = [dict(zip(("name", "type", "default"), field, strict=False)) for field in fields]
    return json.dumps({"type": "record", "name": "R", "fields": made})


NO_DEFAULT = "is not written, and has no default that its reader could take"
A = schema(("a", "string"))
AB = schema(("a", "string"), ("b", "int"))
AB_OPTIONAL = schema(("a", "string"), ("b", "int", 0))
A_NUMBER = schema(("a", "int"))


def known(level: str, *versions: str, takes: bool | None = None) -> Known:
    """Make a subject."""
    return Known([Registered(n, n, text) for n, text in enumerate(versions, start=1)], level, takes)


@pytest.mark.parametrize(
    ("new", "there", "meaning"),
    [
        (A, known("BACKWARD"), "new"),
        (A, known("BACKWARD", A), "registered"),
        (AB, known("BACKWARD", A), "incompatible"),
        (AB_OPTIONAL, known("BACKWARD", A), "compatible"),
        (A, known("BACKWARD", AB), "compatible"),
        (A, known("FORWARD", AB), "incompatible"),
        (AB, known("FORWARD", A), "compatible"),
        (A, known("FULL", AB), "incompatible"),
        (AB, known("FULL", A), "incompatible"),
        (AB_OPTIONAL, known("FULL", A), "compatible"),
        (A, known("BACKWARD", A_NUMBER, AB_OPTIONAL), "compatible"),
        (A, known("BACKWARD_TRANSITIVE", A_NUMBER, AB_OPTIONAL), "incompatible"),
        (A_NUMBER, known("NONE", A), "compatible"),
        (AB_OPTIONAL, known("BACKWARD", A, takes=False), "incompatible"),
        (A, known("BACKWARD", A, takes=False), "registered"),
        (A, known("BACKWARD", 'syntax = "proto3";', takes=False), "incompatible"),
        (A, known("BACKWARD", schema(("a", "of.another.Subject")), takes=True), "compatible"),
    ],
)
def test_the_level_says_who_must_read_what(new: str, there: Known, meaning: str) -> None:
    """The newest version or all; the new schema the old records, or the old readers the new ones.

    A registry that refuses what the rules allow has the last word.
    """
    assert judge("t-value", new, there).meaning == meaning


def test_each_reason_names_field_version_and_reader() -> None:
    """All of them."""
    verdict = judge("t-value", schema(("a", "int"), ("c", "int")), known("FULL_TRANSITIVE", A))
    assert verdict.reasons == (
        "the field 'a' is string, which can't be read as int (records of version 1, by readers of the new schema)",
        f"the field 'c' {NO_DEFAULT} (records of version 1, by readers of the new schema)",
        "the field 'a' is int, which can't be read as string (new records, by readers of version 1)",
    )


PIPELINE = """
pipeline: {name}
kafka: {{bootstrap: 127.0.0.1:1, registry: "http://127.0.0.1:1"}}
stages:
  copy: {{input: notes, event: {{id: id}}, result: copy.avsc, steps: []}}
"""


def folder(path: Path, *fields: Any, name: str = "p") -> Path:
    """Write a pipeline whose results have these fields."""
    path.mkdir()
    (path / "pipeline.yaml").write_text(PIPELINE.format(name=name))
    made = [{"name": name, "type": avro, "from": f"event.{name}"} for name, avro in fields]
    (path / "copy.avsc").write_text(json.dumps({"type": "record", "name": "Copy", "fields": made}))
    return path


def check(new: Path, old: Path, *more: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(app, ["schema", "check", str(new / "pipeline.yaml"), "--against", str(old), *more])


def test_a_pipeline_is_compared_with_itself_as_it_was(tmp_path: Path) -> None:
    """Without the network: 0 where results can be read on, 1 with the field where they can't."""
    before, same = folder(tmp_path / "before", ("a", "string")), folder(tmp_path / "same", ("a", "string"))
    changed = folder(tmp_path / "changed", ("a", "long"))
    assert check(same, before).exit_code == 0
    found = check(changed, before)
    assert found.exit_code == 1
    assert "p.copy.results-value: what is there can't be followed by this schema:" in found.stdout
    assert "  the field 'a' is string, which can't be read as long (records of version 1" in found.stdout
    document = json.loads(check(changed, before, "--json").stdout)
    assert document["ok"] is False
    assert [one["schema"] for one in document["subjects"]] == ["incompatible", "registered"]
    renamed = folder(tmp_path / "renamed", ("a", "long"), name="q")
    assert [one["schema"] for one in json.loads(check(renamed, before, "--json").stdout)["subjects"]] == ["new", "new"]


def test_wrong_use_is_told(tmp_path: Path) -> None:
    """With exit code 2."""
    here = folder(tmp_path / "here", ("a", "string"))
    for more in (["--registry", "http://127.0.0.1:1"], ["--input", "notes=note.avsc"]):
        found = check(here, here, *more)
        assert found.exit_code == 2
        assert "--against asks no registry" in found.stderr
    found = CliRunner().invoke(app, ["schema", "check", str(here / "pipeline.yaml"), "--input", "notes"])
    assert (found.exit_code, "this is not TOPIC=FILE.avsc" in found.stderr) == (2, True)
    assert check(here, tmp_path).exit_code == 2
