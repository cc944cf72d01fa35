"""What is published about the pipeline file: the JSON Schema and the reference page."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema_rs
import pytest
import yaml
from pydantic import ValidationError

from eventmill.config.json_schema import json_schema, json_schema_text
from eventmill.config.model import PipelineFile
from eventmill.config.prompts import FrontMatter

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "docs" / "reference"
PAGE = (REFERENCE / "pipeline.md").read_text(encoding="utf-8")


KINDS = ("complete", "python", "classify", "embed", "infer", "retrieve")


class Row(NamedTuple):
    """One row of a table of the page."""

    key: str
    type: str
    default: str
    example: str
    meaning: str


def rows(text: str) -> dict[str, Row]:
    """Return the rows of all tables in `text`, by key."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    bare = [Row(*(cell.strip() for cell in line[1:-1].split("|"))) for line in lines]
    found = [row._replace(key=row.key.strip("`"), example=row.example.strip("`")) for row in bare]
    assert len({row.key for row in found}) == len(found)
    return {row.key: row for row in found}


PIPELINE_ROWS = rows(PAGE.partition("## Prompt files")[0])
PROMPT_ROWS = rows(PAGE.partition("## Prompt files")[2])


def keys(schema: dict[str, Any], root: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the path and schema of every key below `schema`."""
    if "$ref" in schema:
        schema = {**root["$defs"][schema["$ref"].rpartition("/")[2]], **schema}
        del schema["$ref"]
    for name, inner in schema.get("properties", {}).items():
        below = f"{path}.{name}" if path else name
        yield below, inner
        yield from keys(inner, root, below)
    names = {
        "stages": "<stage>",
        "routes": "<route>",
        "models": "<model>",
        "stores": "<store>",
        "kafka.client": "<setting>",
        "stages.<stage>.steps[].infer.inputs": "<input>",
        "stages.<stage>.steps[].infer.outputs": "<output>",
    }
    values = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")]
    for inner in values if path in names else ():
        if isinstance(inner, dict):
            yield f"{path}.{names[path]}", inner
            yield from keys(inner, root, f"{path}.{names[path]}")
    if isinstance(schema.get("items"), dict):
        yield from keys(schema["items"], root, f"{path}[]")
    for branch in schema.get("anyOf", ()):
        yield from keys(branch, root, path)


SCHEMA = json_schema()
KEYS = dict(keys(SCHEMA, SCHEMA))


def test_the_published_schema_is_the_one_of_this_version() -> None:
    """docs/reference/pipeline.schema.json is what `eventmill check --schema` prints."""
    assert (REFERENCE / "pipeline.schema.json").read_text(encoding="utf-8") == json_schema_text()


def test_every_key_has_a_description_for_editors() -> None:
    """No key shows up in an editor without a sentence on what it is for."""

    def description(schema: dict[str, Any]) -> str | None:
        section = SCHEMA["$defs"].get(schema.get("$ref", "").rpartition("/")[2], {})
        return schema.get("description") or section.get("description")

    own = {key: schema for key, schema in KEYS.items() if not key.endswith(">")}   # the others are the user's names
    assert [key for key, schema in own.items() if not description(schema)] == []


def test_the_page_describes_every_key_and_no_other() -> None:
    """A key that is added or taken away changes the page too."""
    assert set(PIPELINE_ROWS) == set(KEYS)
    front = set(FrontMatter.model_fields)
    parameters = FrontMatter.model_json_schema()["$defs"]["Parameters"]["properties"]
    assert set(PROMPT_ROWS) == front | {f"parameters.{name}" for name in parameters}


def test_the_page_tells_the_defaults() -> None:
    """Where the schema has a default, the page has the same; where a key is required, the page says so."""
    required = {
        f"{path}{name}"
        for path, definition in (
            ("", SCHEMA),
            ("routes.<route>[].", SCHEMA["$defs"]["ModelEntry"]),
            ("prices[].", SCHEMA["$defs"]["PriceEntry"]),
            ("stages.<stage>.", SCHEMA["$defs"]["StageSection"]),
            ("models.<model>.", SCHEMA["$defs"]["LocalModelEntry"]),
            ("stores.<store>.", SCHEMA["$defs"]["StoreEntry"]),
            ("stages.<stage>.steps[].complete.cite.", SCHEMA["$defs"]["CiteSection"]),
            *((f"stages.<stage>.steps[].{kind}.", SCHEMA["$defs"][f"{kind.title()}Entry"]) for kind in KINDS),
        )
        for name in definition["required"]
    }
    assert {key for key, row in PIPELINE_ROWS.items() if row.default == "required"} == required
    for key, schema in KEYS.items():
        if "default" in schema:
            written = json.dumps(schema["default"]).strip('"')
            assert PIPELINE_ROWS[key].default == f"`{written}`", key


BASE: dict[str, Any] = {
    "pipeline": "p",
    "kafka": {"client": {}},
    "routes": {"writer": [{"provider": "openai", "model": "m"}]},
    "prices": [{"provider": "openai", "model": "m", "input": 1, "output": 1}],
    "models": {"minilm": {"onnx": "models/minilm"}},
    "stores": {"mails": {"model": "minilm"}},
    "stages": {
        "triage": {
            "input": "mails",
            "result": "r.avsc",
            "event": {},
            "topics": {},
            "steps": [
                {"complete": {"route": "writer", "prompt": "p.md", "cite": {"field": "a", "from": "b"}}},
                {"python": {"function": "m:f"}},
                {"classify": {"model": "minilm", "text": "t", "into": "a"}},
                {"embed": {"text": "t"}},
                {"infer": {"model": "minilm", "inputs": {"x": "1"}, "outputs": {"y": "a"}}},
                {"retrieve": {"store": "mails", "text": "t", "into": "a"}},
            ],
        }
    },
}
NAMES = {
    "<stage>": "triage",
    "<route>": "writer",
    "<setting>": "sasl.password",
    "<model>": "minilm",
    "<store>": "mails",
    "<input>": "amount",
    "<output>": "probability",
}


@pytest.mark.parametrize("row", PIPELINE_ROWS.values(), ids=list(PIPELINE_ROWS))
def test_every_example_of_the_page_is_right(row: Row) -> None:
    """The example of a key can be written at its place, and a variation of it under a wrong name can not."""
    file = copy.deepcopy(BASE)
    section: Any = file
    *way, last = re.findall(r"<[a-z]+>|[a-z_]+|\[\]", row.key)
    for step in way:
        index = next((at for at, kind in enumerate(KINDS) if f"[].{kind}" in row.key), 0)
        section = section[index if step == "[]" else NAMES.get(step, step)]
    example = yaml.safe_load(row.example)
    assert list(example) == [NAMES.get(last, last)]
    section.update(example)
    if way and way[-1] == "[]" and last in KINDS:
        section.clear()
        section.update(example)
    PipelineFile.model_validate(file)
    assert jsonschema_rs.is_valid(SCHEMA, file)
    if last not in NAMES:
        section[f"{last}x"] = section.pop(last)
        with pytest.raises(ValidationError):
            PipelineFile.model_validate(file)
        assert not jsonschema_rs.is_valid(SCHEMA, file)


@pytest.mark.parametrize("row", PROMPT_ROWS.values(), ids=list(PROMPT_ROWS))
def test_every_example_of_a_prompt_is_right(row: Row) -> None:
    """The same for the front matter."""
    example = yaml.safe_load(row.example)
    assert list(example) == [row.key.rpartition(".")[2]]
    FrontMatter.model_validate({"parameters": example} if row.key.startswith("parameters.") else example)


def test_the_pipeline_of_the_page_can_be_loaded(project: Any) -> None:
    """The example at the top works as it stands, beside the files that it names."""
    block = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert block is not None
    project.write("pipeline.yaml", block[1])
    assert [stage.name for stage in project.load().stages] == ["triage", "escalate"]
    assert jsonschema_rs.is_valid(SCHEMA, yaml.safe_load(block[1]))


def test_the_prompt_of_the_page_can_be_loaded(project: Any) -> None:
    """So does the example of a prompt file."""
    block = re.search(r"```markdown\n(.*?)```", PAGE, re.DOTALL)
    assert block is not None
    project.write("prompts/triage.md", block[1])
    prompt = project.load().stages[0].steps[0].prompt
    assert (prompt.name, prompt.version, prompt.user) == ("triage", "3", "{{ event.body }}")


def test_editors_take_what_eventmill_takes(project: Any) -> None:
    """Variables are fine wherever a number or a word of a list is asked for, and `x-` keys are the user's own."""
    file = yaml.safe_load(project.text)
    file["x-own"] = {"anything": [1]}
    stage = file["stages"]["triage"]
    for key in ("in_flight", "window", "window_bytes", "order", "attempts", "call_deadline", "partitions"):
        stage[key] = "${X:-1}"
    file["allow_unpriced"] = file["pipeline"] = file["prices"][0]["input"] = "${X}"
    file["routes"]["writer"][0]["provider"] = "${X}"
    assert [str(error) for error in jsonschema_rs.validator_for(SCHEMA).iter_errors(file)] == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("order: key", "order: keys"),
        ("in_flight: 100", "in_flight: 0"),
        ("in_flight: 100", "in_flight: many"),
        ("call_deadline: 2m", "call_deadline: 120"),
        ("window_bytes: 32MB", "window_bytes: 32 MiB"),
        ("pipeline: support-mail", "pipeline: Support Mail"),
        ("  escalate:", "  Escalate:"),
        ("provider: openai, model: gpt-5-mini,", "provider: other, model: gpt-5-mini,"),
        ('- python: "mail:count_words"', "- {}"),
    ],
)
def test_editors_see_the_usual_mistakes(project: Any, old: str, new: str) -> None:
    """The schema is strict: what it can say about a value, it says."""
    project.spoil(old, new)
    assert not jsonschema_rs.is_valid(SCHEMA, yaml.safe_load(project.text))
    project.mistakes()
