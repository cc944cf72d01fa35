"""A pipeline folder that is right in every respect, to be spoilt by the tests."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from eventmill.config import load
from eventmill_schemas.errors import PipelineFileErrors
from eventmill_schemas.pipeline import Pipeline

PIPELINE = """\
pipeline: support-mail
kafka:
  bootstrap: "${KAFKA:-127.0.0.1:9092}"
  registry: http://127.0.0.1:8081
  client:
    security.protocol: SSL
    sasl.password: "${KAFKA_PASSWORD:-hush}"
routes:
  writer:
    - {provider: openai, model: gpt-5-mini, timeout: 90s}
    - {provider: openai, model: small, base_url: "http://127.0.0.1:9000/v1"}
prices:
  - {provider: openai, model: small, input: 0.25, output: "2.00"}
allow_unpriced: false
stages:
  triage:
    input: mails
    event: {id: id, tenant: tenant}
    when: "event.body is defined"
    steps:
      - complete: {route: writer, prompt: prompts/triage.md, fields: [summary]}
      - python: "mail:count_words"
    result: schemas/triage.avsc
    in_flight: 100
    window: 1000
    window_bytes: 32MB
    order: key
    attempts: 2
    call_deadline: 2m
    partitions: 4
    on_failure: dead_letter
  escalate:
    input: triage
    when: "event.summary != ''"
    steps:
      - python: {function: "mail:page", name: pager}
    result: schemas/page.avsc
    topics: {results: pages, dlq: page.failures}
"""

PROMPT = """\
---
name: triage
version: "3"
parameters: {temperature: 0.2, max_output_tokens: 800}
---
# System
You sort the mail of a company.

# User
{{ event.body }}
"""

TRIAGE = {
    "type": "record",
    "name": "Triage",
    "fields": [
        {"name": "subject", "type": "string", "from": "event.subject"},
        {"name": "summary", "type": "string", "doc": "One sentence."},
        {"name": "words", "type": "long", "doc": "Words of the body."},
    ],
}

PAGE = {"type": "record", "name": "Page", "fields": [{"name": "text", "type": "string", "doc": "What is shown."}]}


class Project:
    """A folder with a pipeline file and what it names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "pipeline.yaml"
        self.text = PIPELINE
        self.write("pipeline.yaml", PIPELINE)
        self.write("prompts/triage.md", PROMPT)
        self.write("schemas/triage.avsc", json.dumps(TRIAGE, indent=2))
        self.write("schemas/page.avsc", json.dumps(PAGE, indent=2))

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file of the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def spoil(self, old: str, new: str) -> int:
        """Replace `old`, which is in the file once, by `new`; return the line where it stood."""
        assert self.text.count(old) == 1, f"{old!r} is not there exactly once"
        line = self.text[: self.text.index(old)].count("\n") + 1
        self.text = self.text.replace(old, new)
        self.write("pipeline.yaml", self.text)
        return line

    def load(self, environ: Mapping[str, str] | None = None) -> Pipeline:
        """Load the pipeline."""
        return load(self.file, environ or {})

    def mistakes(self, environ: Mapping[str, str] | None = None) -> list[tuple[str, int | None, str]]:
        """Load what must be wrong; return file (from the folder), line and message with remedy of each mistake."""
        with pytest.raises(PipelineFileErrors) as caught:
            self.load(environ)
        assert str(caught.value).splitlines() == [str(error) for error in caught.value.errors]
        return [
            (
                str(Path(error.file).relative_to(self.folder)),
                error.line,
                f"{error.message}. {error.remedy}" if error.remedy else error.message,
            )
            for error in caught.value.errors
        ]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Make a right project in a folder of its own."""
    return Project(tmp_path)


@pytest.fixture(scope="session")
def make_project() -> Callable[[Path], Project]:
    """Make a project in a given folder, for property tests."""
    return Project
