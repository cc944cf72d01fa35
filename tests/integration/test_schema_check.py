"""`eventmill schema check` with a real registry: its verdict, the fields behind it, and nothing changed."""

import asyncio
import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from eventmill.cli import app
from eventmill.dev.addresses import Addresses
from eventmill_connectors.registry import Registered, SchemaRegistry

PIPELINE = """
pipeline: {name}
kafka: {{bootstrap: {addresses.bootstrap}, registry: "{addresses.registry}"}}
stages:
  copy: {{input: {name}.notes, event: {{id: id}}, result: copy.avsc, steps: []}}
"""


def record(**fields: Any) -> dict[str, Any]:
    """Make a record schema whose fields are computed."""
    made = [{"name": name, "type": avro, "from": f"event.{name}"} for name, avro in fields.items()]
    return {"type": "record", "name": "Copy", "fields": made}


def test_a_change_that_readers_cant_follow_is_refused_with_its_field(
    tmp_path: Path, addresses: Addresses, unique: str
) -> None:
    """New before `apply`, registered after it, incompatible after the change; the registry is as before."""
    (tmp_path / "pipeline.yaml").write_text(PIPELINE.format(name=unique, addresses=addresses))
    result, note = tmp_path / "copy.avsc", tmp_path / "note.avsc"
    result.write_text(json.dumps(record(a="string", b="int")))
    note.write_text(json.dumps({"type": "record", "name": "Note", "fields": [{"name": "id", "type": "string"}]}))

    def check(*more: str) -> tuple[int, dict[str, Any]]:
        done = CliRunner().invoke(app, ["schema", "check", str(tmp_path / "pipeline.yaml"), "--json", *more])
        assert done.stdout, done.output
        return done.exit_code, {one["subject"].removeprefix(unique): one for one in json.loads(done.stdout)["subjects"]}

    code, found = check("--input", f"{unique}.notes={note}")
    assert (code, {one["schema"] for one in found.values()}) == (0, {"new"})
    assert ".notes-value" in found
    applied = CliRunner().invoke(app, ["apply", str(tmp_path / "pipeline.yaml"), "--inputs"])
    assert applied.exit_code == 0, applied.output
    code, found = check()
    assert (code, {one["schema"] for one in found.values()}) == (0, {"registered"})
    before = versions(addresses, f"{unique}.copy.results-value")
    assert len(before) == 1

    result.write_text(json.dumps(record(a="long", b="long")))
    code, found = check()
    assert code == 1
    verdict = found[".copy.results-value"]
    assert (verdict["schema"], verdict["level"]) == ("incompatible", "BACKWARD_TRANSITIVE")
    assert verdict["reasons"] == [
        "the field 'a' is string, which can't be read as long (records of version 1, by readers of the new schema)"
    ]
    assert found[".copy.costs-value"]["schema"] == "registered"
    result.write_text(json.dumps(record(a="string")))
    code, found = check()
    assert (code, found[".copy.results-value"]["schema"]) == (0, "compatible")
    assert versions(addresses, f"{unique}.copy.results-value") == before


def versions(addresses: Addresses, subject: str) -> list[Registered]:
    """Ask the registry what it has."""

    async def ask() -> list[Registered]:
        registry = SchemaRegistry(addresses.registry)
        try:
            return await registry.versions(subject)
        finally:
            await registry.close()

    return asyncio.run(ask())
