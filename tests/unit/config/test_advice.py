"""Warnings: what is legal and probably not meant."""

import json
from typing import Any

import pytest

from eventmill.config import load_with_lines
from eventmill.config.advice import advise


def warnings(project: Any) -> list[str]:
    """Return the warnings about a project, with the folder left out."""
    return [str(advice).replace(f"{project.folder}/", "") for advice in advise(load_with_lines(project.file, {}))]


def test_a_good_pipeline_has_none(project: Any) -> None:
    """Nobody gets used to warnings."""
    assert warnings(project) == []


def test_a_stage_that_is_misspelt_as_an_input(project: Any) -> None:
    """An input that is nearly a stage's name is a topic, and probably not meant."""
    line = project.spoil("input: triage", "input: triaje")
    assert warnings(project) == [
        f"pipeline.yaml:{line}: `triaje` is no stage, so it is read as a topic. Did you mean `triage`?"
    ]


def test_a_topic_with_a_name_of_its_own_is_fine(project: Any) -> None:
    """So is the topic that a stage is named after with an ending."""
    project.spoil("input: triage", "input: letters")
    assert warnings(project) == []


def test_a_route_that_no_step_asks(project: Any) -> None:
    """Only where no function could ask it."""
    project.spoil('      - python: "mail:count_words"\n', "")
    project.spoil(", fields: [summary]", "")
    project.spoil('python: {function: "mail:page", name: pager}', "complete: {route: writer, prompt: prompts/page.md}")
    line = project.spoil("prices:", "  spare: [{provider: openai, model: small}]\nprices:")
    project.write("prompts/page.md", "{{ event.summary }}")
    assert warnings(project) == [f"pipeline.yaml:{line}: no step asks the route `spare`"]


def test_a_route_that_a_function_may_ask(project: Any) -> None:
    """A function names its route at run time."""
    project.spoil("prices:", "  spare: [{provider: openai, model: small}]\nprices:")
    assert warnings(project) == []


def test_a_price_for_no_model(project: Any) -> None:
    """The price was probably meant for another name."""
    project.spoil("model: small, base_url", "model: smal, base_url")
    assert warnings(project) == ["pipeline.yaml:13: no route has the model `small`, which has a price here"]


def test_a_price_for_dated_versions(project: Any) -> None:
    """A price holds for the dated versions of its model too."""
    project.spoil("model: small, base_url", "model: small-2026-01-31, base_url")
    assert warnings(project) == []


def test_a_field_that_always_has_its_default(project: Any) -> None:
    """Nobody fills it, so it says nothing."""
    fields = [
        {"name": "summary", "type": "string"},
        {"name": "mood", "type": ["null", "string"], "default": None},
    ]
    project.write("schemas/triage.avsc", json.dumps({"type": "record", "name": "T", "fields": fields}))
    project.spoil('      - python: "mail:count_words"\n', "")
    assert warnings(project) == ["schemas/triage.avsc: no step fills `mood`: it always has its default"]


@pytest.mark.parametrize(
    ("avro", "words"),
    [
        ({"type": "map", "values": "string"}, "is a map"),
        (["null", "string", "long"], "is a union of several types"),
        ({"type": "long", "logicalType": "timestamp-micros"}, "timestamp-millis"),
    ],
)
def test_types_that_no_warehouse_takes(project: Any, avro: Any, words: str) -> None:
    """Said while the schema can still be changed."""
    fields = [{"name": "text", "type": avro}]
    project.write("schemas/page.avsc", json.dumps({"type": "record", "name": "P", "fields": fields}))
    (warning,) = warnings(project)
    assert warning.startswith("schemas/page.avsc: the field 'text' ")
    assert words in warning
