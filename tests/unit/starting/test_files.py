"""What `eventmill init` makes of what is known of the events: always a pipeline that can be loaded and renders."""

import csv
import io
import json
import re
import tempfile
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventmill.config import load
from eventmill.starting.begin import write
from eventmill.starting.estimate import EVENT_TOKENS, OUTPUT_TOKENS, SECONDS_PER_CALL, estimate
from eventmill.starting.events import Choice, Events, choose
from eventmill.starting.example import example
from eventmill.starting.files import LABELS, Names, files, pipeline_name, symbols_of
from eventmill_agents.prompt import PromptRenderer
from eventmill_schemas.errors import UsageError
from eventmill_schemas.events import Event, RawRecord, Source
from eventmill_schemas.pipeline import CompleteStep, Format, Kafka, Pipeline
from eventmill_schemas.result_schema import published

NAMES = Names("shop", "sort")
KAFKA = Kafka("kafka:9092", "http://registry:8081")
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=40), st.lists(st.text(max_size=5)))


def made(events: Events, folder: Path) -> Pipeline:
    """Write the files for the events and load the pipeline."""
    write(folder, files(NAMES, KAFKA, events, choose(events)), force=False)
    return load(folder / "pipeline.yaml", {})


@settings(max_examples=60)
@given(
    samples=st.lists(st.dictionaries(st.text(min_size=1, max_size=12), VALUES, max_size=6), min_size=1, max_size=6),
    topic=st.from_regex(r"\A[A-Za-z0-9._-]{1,20}\Z").filter(lambda name: name not in {".", ".."}),
)
def test_whatever_json_events_hold_the_files_make_a_pipeline(samples: list[dict[str, Any]], topic: str) -> None:
    """Field names with blanks, quotes, braces, topics that look like numbers: it loads, and renders all samples."""
    events = Events(topic, Format.JSON, None, samples)
    with tempfile.TemporaryDirectory() as folder:
        pipeline = made(events, Path(folder))
    (stage,) = pipeline.stages
    choice = choose(events)
    assert (stage.inputs, stage.format) == ((topic,), Format.JSON)
    assert (stage.id_field, stage.tenant_field) == (choice.id, choice.tenant)
    step = stage.steps[0]
    assert isinstance(step, CompleteStep)
    renderer = PromptRenderer(step.prompt, step.name)
    for sample in samples:
        record = RawRecord(Source(topic, 0, 0), None, b"", (), -1)
        _, user = renderer.render(Event("e", None, sample, record), {})
        assert all(text.replace("\0", "\ufffd") in user for text in _texts(sample, choice))


def _texts(sample: Mapping[str, Any], choice: Choice) -> list[str]:
    return [str(sample[name]) for name in choice.texts]


@given(labels=st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=10))
def test_any_label_becomes_a_symbol_of_an_enum(labels: list[str]) -> None:
    """Avro's rule for names, and no symbol twice."""
    symbols = symbols_of(labels)
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", symbol) for symbol in symbols)
    assert len(set(symbols)) == len(symbols) > 0


@given(folder=st.text(max_size=30))
def test_any_folder_gives_a_name(folder: str) -> None:
    """One that pipelines may have."""
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*", pipeline_name(folder))


def test_fields_are_taken_for_what_they_are() -> None:
    """Id by name and by being another one in every sample, tenant by name, classes by coming again, texts by type."""
    samples = [
        {"id": f"e{n}", "tenant": "acme", "body": f"Text {n} here", "category": "ab"[n % 2], "size": n, "extra": "x"}
        for n in range(6)
    ]
    del samples[0]["extra"]   # what one sample lacks no template may rely on
    choice = choose(Events("t", Format.JSON, None, samples))
    assert choice == Choice("id", "tenant", ("body",), "category", ("a", "b"))
    repeated = [{**sample, "id": "same"} for sample in samples]
    assert choose(Events("t", Format.JSON, None, repeated)).id is None


def test_the_results_of_another_stage_are_events_too() -> None:
    """What every result has besides its own fields says who it is, and is nothing to read."""
    avro = published({"type": "record", "name": "R", "fields": [{"name": "summary", "type": "string"}]}, "r.avsc")
    assert choose(Events("p.s.results", Format.AVRO, avro)) == Choice("event_id", "tenant", ("summary",))


def test_classes_of_the_samples_become_enum_and_labels(tmp_path: Path) -> None:
    """The result's symbols are the values seen, the labels file has each text with its own, the prompt hides it."""
    samples = [{"text": f"Text number {n}, at length", "intent": ["pay-in", "pay out"][n % 2]} for n in range(4)]
    made(Events("t", Format.JSON, None, samples), tmp_path)
    schema = json.loads((tmp_path / "schemas/sort.avsc").read_text())
    assert schema["fields"][0]["type"]["symbols"] == ["PAY_IN", "PAY_OUT"]
    rows = list(csv.reader(io.StringIO((tmp_path / "labels.csv").read_text())))
    texts = [[sample["text"], symbol] for sample, symbol in zip(samples, ["PAY_IN", "PAY_OUT"] * 2, strict=True)]
    assert rows == [["text", "label"], *texts]
    assert "intent" not in (tmp_path / "prompts/sort.md").read_text()


def test_without_classes_there_is_a_usual_set_and_labels_are_left_to_fill_in(tmp_path: Path) -> None:
    """Avro events: text fields by the schema, also those that may be null; short codes are not in the labels' texts."""
    fields = [
        {"name": "code", "type": "string"},
        {"name": "note", "type": ["null", "string"]},
        {"name": "at", "type": "long"},
    ]
    avro = {"type": "record", "name": "Note", "fields": fields}
    samples = [{"code": "x7", "note": "All of it is broken.", "at": 1}, {"code": "x8", "note": None, "at": 2}]
    made(Events("notes", Format.AVRO, avro, samples), tmp_path)
    prompt = (tmp_path / "prompts/sort.md").read_text()
    assert "{{ event.code | data }}" in prompt
    assert "{{ event.note | data }}" in prompt
    assert "event.at" not in prompt
    assert list(csv.reader(io.StringIO((tmp_path / "labels.csv").read_text())))[1:] == [
        ["All of it is broken.", ""]
    ]
    assert json.loads((tmp_path / "schemas/sort.avsc").read_text())["fields"][0]["type"]["symbols"] == list(LABELS)
    assert json.loads((tmp_path / "schemas/notes-value.avsc").read_text()) == avro


def test_passwords_are_never_written(tmp_path: Path) -> None:
    """An address with credentials is left to the environment."""
    secret = Kafka("kafka:9092", "https://user:hunter2@registry")
    written = files(NAMES, secret, example(), choose(example()))
    assert all("hunter2" not in text for text in written.values())
    assert "${KAFKA:-kafka:9092}" in written["pipeline.yaml"]


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """One file that is there stops all of them; with force each is replaced whole."""
    (tmp_path / "b").write_text("mine")
    with pytest.raises(UsageError, match="b is there already"):
        write(tmp_path, {"a": "1", "b": "2"}, force=False)
    assert not (tmp_path / "a").exists()
    assert (tmp_path / "b").read_text() == "mine"
    assert write(tmp_path, {"a": "1", "sub/b": "2", "b": "3"}, force=True) == [
        tmp_path / "a", tmp_path / "sub/b", tmp_path / "b",
    ]
    assert (tmp_path / "b").read_text() == "3"
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="can't be written"):
        write(tmp_path / "file", {"a": "1"}, force=False)


def test_the_estimate_is_arithmetic_on_what_it_says(tmp_path: Path) -> None:
    """Tokens of the rendered prompts and the answer's schema at 4 characters, the list price, calls over seconds."""
    avro = {"type": "record", "name": "Note", "fields": [{"name": "body", "type": "string"}]}
    short, long = ([{"body": "x" * size}] * 3 for size in (400, 4400))
    pipeline = made(Events("notes", Format.AVRO, avro, short), tmp_path)
    stage = pipeline.stage("sort")
    small = estimate(pipeline, stage, Events("notes", Format.AVRO, avro, short), 1000)
    large = estimate(pipeline, stage, Events("notes", Format.AVRO, avro, long), 1000)
    assert large.input_tokens - small.input_tokens == 1000
    assert (small.samples, small.output_tokens, small.events) == (3, OUTPUT_TOKENS, 1000)
    assert small.price is not None
    assert small.price * 10**6 == small.input_tokens * Decimal("0.25") + OUTPUT_TOKENS * 2
    assert small.cost == small.price * 1000
    assert small.rate == stage.in_flight / SECONDS_PER_CALL
    assert small.seconds == 1000 / small.rate
    none = estimate(pipeline, stage, Events("notes", Format.AVRO, avro), 0)
    assert (none.samples, none.cost, none.seconds) == (0, 0, 0)
    assert none.input_tokens > EVENT_TOKENS
