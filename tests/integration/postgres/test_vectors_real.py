"""Real mails, MiniLM's vectors, the real database, the commands as a user types them."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from eventmill.cli import app
from eventmill.dev.addresses import Addresses
from eventmill.vectors import text_encoder
from eventmill_connectors.onnx.artifact import open_artifact
from eventmill_connectors.onnx.build import EncoderRequest, build
from eventmill_connectors.onnx.sources import installed_minilm
from eventmill_connectors.postgres.changes import Wanted
from eventmill_connectors.postgres.pool import Database
from eventmill_connectors.postgres.stores import open_stores
from eventmill_schemas.events import Source
from eventmill_schemas.local_models import Chunk, Owner, Query, VectorSpace
from eventmill_schemas.pipeline import VectorStore

_EXAMPLES = (Path(__file__).parents[3] / "examples/support-mail/mails.jsonl").read_text().splitlines()
MAILS = [
    mail for mail in map(json.loads, _EXAMPLES) if len(mail["body"]) < 1500
][:20]

PIPELINE = """
pipeline: {name}
kafka: {{bootstrap: "${{KAFKA}}", registry: "${{REGISTRY}}"}}
postgres: "${{DATABASE_URL:-}}"
models:
  minilm: {{onnx: models/minilm, price_per_hour: 0.04}}
stores:
  mails: {{model: minilm}}
stages:
  index:
    input: {name}.mails
    event: {{id: id, tenant: tenant}}
    result: index.avsc
    steps:
      - embed: {{model: minilm, text: "{{{{ event.body }}}}", store: mails}}
"""
RESULT = {
    "type": "record",
    "name": "Indexed",
    "fields": [{"name": "length", "type": "int", "from": "event.body | length"}],
}


@dataclass(frozen=True)
class Place:
    """A pipeline file, and the command line for it, in this process."""

    file: Path
    environ: dict[str, str]

    @property
    def model(self) -> Path:
        """The folder of its model."""
        return self.file.parent / "models" / "minilm"

    def run(self, *arguments: str, expect: int = 0, **environ: str) -> Result:
        """Run a command to its end."""
        file = ("-p", str(self.file)) if arguments[0] == "search" else (str(self.file),)
        found = (*arguments, *file)
        done = CliRunner().invoke(app, found, env={**self.environ, **environ})
        assert done.exit_code == expect, done.output
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done

    def found(self, text: str, *options: str) -> list[dict[str, Any]]:
        """Return the passages that `eventmill search` finds."""
        document = json.loads(self.run("search", "mails", text, "--json", *options).stdout)
        assert document["store"] == "mails"
        passages: list[dict[str, Any]] = document["passages"]
        return passages


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, addresses: Addresses, database_url: str) -> Place:
    """Give a pipeline with MiniLM built from its weights, on an empty database."""
    folder = tmp_path_factory.mktemp("search")
    build(installed_minilm(), EncoderRequest("minilm", folder / "models"))
    (folder / "pipeline.yaml").write_text(PIPELINE.format(name=f"p{database_url.rpartition('/')[2]}"))
    (folder / "index.avsc").write_text(json.dumps(RESULT))
    environ = {"KAFKA": addresses.bootstrap, "REGISTRY": addresses.registry, "DATABASE_URL": database_url}
    return Place(folder / "pipeline.yaml", environ)


async def store(place: Place, url: str) -> list[Any]:
    """Store every mail as one passage; return what each mail's own text finds."""
    artifact = open_artifact(place.model)
    assert artifact.manifest.vector_space is not None
    wanted = Wanted(VectorStore("mails", "minilm"), VectorSpace(artifact.manifest.vector_space, 384))
    vectors = text_encoder(artifact)([mail["body"] for mail in MAILS])
    stores, notes = await open_stores(Database(url), [wanted])
    assert notes == ()
    owners = [Owner(mail["id"], mail["tenant"], Source("mails", 0, number)) for number, mail in enumerate(MAILS)]
    await asyncio.gather(
        *(
            stores.upsert("mails", owner, [Chunk(mail["body"], vector)])
            for owner, mail, vector in zip(owners, MAILS, vectors, strict=True)
        )
    )
    found = [await stores.search("mails", Query(vector, 2, any_tenant=True)) for vector in vectors]
    await stores.close()
    return found


def test_from_an_empty_database_to_a_search(place: Place, database_url: str) -> None:
    """Search before `apply` names it; `apply` makes what is missing, once; then each mail finds itself first.

    A question in other words finds the mail that it is about; tenants find their own.
    """
    refused = place.run("search", "mails", "heating", expect=2)
    assert "is not ready: create extension vector" in refused.stderr
    assert "Run `eventmill apply`" in refused.stderr
    asked = place.run("doctor", "--json", expect=1).stdout
    (finding,) = [one for one in json.loads(asked)["findings"] if one["check"] == "stores"]
    assert finding["level"] == "fail"

    dry = place.run("apply", "--inputs", "--dry-run").stdout.splitlines()
    assert "migrate database: 0001 vectors" in dry
    assert place.run("apply", "--inputs").stdout.splitlines() == dry
    again = json.loads(place.run("apply", "--json").stdout)
    assert (again["changes"], again["applied"], again["problems"]) == ([], 0, [])
    looked = json.loads(place.run("doctor", "--json").stdout)["findings"]
    assert {one["level"] for one in looked if one["check"] in {"stores", "postgres"}} == {"ok"}
    assert "nothing found" in place.run("search", "mails", "heating").stderr

    own = asyncio.run(store(place, database_url))
    assert [found[0].event_id for found in own] == [mail["id"] for mail in MAILS]
    assert all(found[0].similarity > 0.999 for found in own)

    by_id = {mail["id"]: mail for mail in MAILS}
    first, *others = place.found("the payroll export is broken: nobody has any hours in it", "--limit", "3")
    assert by_id[first["event_id"]]["subject"] == "payroll export shows 0 hours for everyone"
    assert len(others) == 2
    assert first["text"] == by_id[first["event_id"]]["body"]
    assert first["source"] == {"topic": "mails", "partition": 0, "offset": list(by_id).index(first["event_id"])}
    of_tenant = place.found("payroll export", "--tenant", "nordlicht")
    assert {by_id[one["event_id"]]["tenant"] for one in of_tenant} == {"nordlicht"}
    assert place.found("payroll export", "--min-similarity", "0.99") == []

    head, *lines = place.run("search", "mails", "payroll export", "--limit", "2").stdout.splitlines()
    assert head.split() == ["SIMILARITY", "EVENT", "SOURCE", "TEXT"]
    assert len(lines) == 2
    assert lines[0].split()[1] == first["event_id"]


def test_what_a_search_says_when_it_cannot(place: Place, database_url: str) -> None:
    """A wrong store, a blank text, no database, a server that is away, a wrong address: one message, never a trace."""
    password = database_url.partition("@")[0].rpartition(":")[2]
    for arguments, environ, code, says in [
        (("search", "mial", "x"), {}, 2, "Its stores: mails"),
        (("search", "mails", "  "), {}, 2, "blank"),
        (("search", "mails", "x"), {"DATABASE_URL": ""}, 2, "Set DATABASE_URL"),
        (("search", "mails", "x"), {"DATABASE_URL": f"postgresql://me:{password}@127.0.0.1:1/x"}, 1, "127.0.0.1:1/x"),
        (("search", "mails", "x"), {"DATABASE_URL": f"mysql://me:{password}@h/x"}, 2, "postgresql://"),
    ]:
        said = place.run(*arguments, expect=code, **environ)
        assert says in said.stderr
        assert password not in said.stderr + said.stdout
