"""Every pipeline that can be written down is read as what was meant."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from eventmill.config import load
from eventmill_schemas.pipeline import (
    CompleteStep,
    Format,
    Kafka,
    ModelRef,
    Order,
    Pipeline,
    PriceOverride,
    PythonStep,
    Stage,
)


class Dumper(yaml.SafeDumper):
    """Writes YAML 1.1, and puts quotes around what 1.2 takes for a number: `08`, `1e3`."""


Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?$", re.IGNORECASE), list("-+.0123456789")
)

PROJECT_STAGE = "schemas/triage.avsc"

names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,8}", fullmatch=True)
characters = st.characters(min_codepoint=33, max_codepoint=0x2000, exclude_categories=("Cc", "Cs"))
texts = st.text(characters, min_size=1, max_size=8).filter(lambda text: "${" not in text)
topics = st.from_regex(r"IN[A-Za-z0-9-]{1,20}", fullmatch=True)
durations = st.integers(1, 86_400_000).map(lambda ms: timedelta(milliseconds=ms))
prices = st.decimals(0, 1_000_000, places=6)
counts = st.integers(1, 10**9)
models = st.builds(
    ModelRef,
    provider=st.just("openai"),
    model=texts,
    base_url=st.none() | st.just("http://127.0.0.1:1/v1"),
    timeout=durations,
)
step_names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)


@st.composite
def pipelines(draw: st.DrawFn, example: Pipeline) -> Pipeline:
    """Draw a right pipeline whose prompts and schemas are those of `example`."""
    ask = example.stages[0].steps[0]
    assert isinstance(ask, CompleteStep)
    name = draw(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,8}", fullmatch=True))
    entries = st.lists(models, min_size=1, max_size=2).map(tuple)
    routes = draw(st.dictionaries(step_names, entries, min_size=1, max_size=3))
    stages: list[Stage] = []
    for stage_name in draw(st.lists(names, min_size=1, max_size=4, unique=True)):
        upstream = draw(st.sampled_from([None, *stages]))
        in_flight = draw(counts)
        steps = [
            CompleteStep(step, draw(st.sampled_from(sorted(routes))), ask.prompt, ("summary",))
            if draw(st.booleans())
            else PythonStep(step, "some.module:function")
            for step in draw(st.lists(step_names, min_size=1, max_size=4, unique=True))
        ]
        if not any(isinstance(step, PythonStep) for step in steps):   # somebody has to fill the other field
            steps.append(PythonStep("the-last-step", "m:f"))   # longer than any drawn name
        stages.append(
            Stage(
                name=stage_name,
                inputs=(draw(topics),) if upstream is None else (f"{name}.{upstream.name}.results",),
                format=draw(st.sampled_from(Format)) if upstream is None else Format.AVRO,
                id_field=draw(st.none() | texts),
                tenant_field=draw(st.none() | texts),
                when=draw(st.none() | st.sampled_from(["event.a == 'b'", "meta.offset > 3"])),
                steps=tuple(steps),
                result=example.stages[0].result,
                in_flight=in_flight,
                window=draw(st.none() | st.integers(in_flight, 10**9)),
                window_bytes=draw(st.integers(1, 1 << 40)),
                order=draw(st.sampled_from(Order)),
                attempts=draw(counts),
                call_deadline=draw(durations),
                topics={},
                partitions=draw(st.none() | counts),
                upstream=upstream is not None,
            )
        )
    keys = draw(st.lists(st.tuples(st.just("openai"), texts), unique=True, max_size=3))
    return Pipeline(
        name=name,
        folder=example.folder,
        kafka=Kafka(
            draw(st.sampled_from(["127.0.0.1:9092", "a:1,b:2"])),
            draw(st.sampled_from(["http://r:1", "https://u:p@r/x"])),
            draw(st.dictionaries(texts.map("x.{}".format), texts, max_size=3)),   # none of those that are refused
        ),
        stages=tuple(stages),
        routes=routes,
        prices=tuple(
            PriceOverride(provider, model, draw(prices), draw(prices), draw(st.none() | prices))
            for provider, model in keys
        ),
        allow_unpriced=draw(st.booleans()),
    )


def duration(value: timedelta) -> str:
    """Write a duration."""
    return f"{value // timedelta(milliseconds=1)}ms"


def present(**keys: Any) -> dict[str, Any]:
    """Leave out what is None."""
    return {key: value for key, value in keys.items() if value is not None}


def step(spec: Any) -> dict[str, Any]:
    """Write a step."""
    if isinstance(spec, PythonStep):
        return {"python": {"function": spec.target, "name": spec.name}}
    return {
        "complete": {
            "route": spec.route,
            "prompt": "prompts/triage.md",
            "fields": list(spec.fields),
            "name": spec.name,
        }
    }


def stage(spec: Stage) -> dict[str, Any]:
    """Write a stage."""
    return present(
        input=spec.inputs[0],
        format=str(spec.format),
        event={"id": spec.id_field, "tenant": spec.tenant_field},
        when=spec.when,
        steps=[step(one) for one in spec.steps],
        result=PROJECT_STAGE,
        in_flight=spec.in_flight,
        window=spec.window,
        window_bytes=spec.window_bytes,
        order=str(spec.order),
        attempts=spec.attempts,
        call_deadline=duration(spec.call_deadline),
        partitions=spec.partitions,
    )


def written(pipeline: Pipeline) -> str:
    """Write a pipeline as the text of its file; prices as text, for PyYAML has no exact number."""
    document = {
        "pipeline": pipeline.name,
        "kafka": {
            "bootstrap": pipeline.kafka.bootstrap,
            "registry": pipeline.kafka.registry,
            "client": dict(pipeline.kafka.client),
        },
        "routes": {
            name: [
                present(provider=m.provider, model=m.model, base_url=m.base_url, timeout=duration(m.timeout))
                for m in entries
            ]
            for name, entries in pipeline.routes.items()
        },
        "prices": [
            present(
                provider=price.provider,
                model=price.model,
                input=f"{price.input:f}",
                output=f"{price.output:f}",
                cache_read=None if price.cache_read is None else f"{price.cache_read:f}",
            )
            for price in pipeline.prices
        ],
        "allow_unpriced": pipeline.allow_unpriced,
        "stages": {one.name: stage(one) for one in pipeline.stages},
    }
    return json.dumps(document, indent=1)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory, make_project: Callable[[Path], Any]) -> Pipeline:
    """Return a loaded pipeline whose folder the drawn ones share."""
    return make_project(tmp_path_factory.mktemp("project")).load()


@given(data=st.data(), as_yaml=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_pipeline_is_read_as_it_was_written(example: Pipeline, data: st.DataObject, as_yaml: bool) -> None:
    """Every key in every combination comes through, written as block YAML and as JSON, which is YAML too."""
    pipeline = data.draw(pipelines(example))
    text = written(pipeline)
    if as_yaml:
        text = yaml.dump(json.loads(text), Dumper=Dumper, sort_keys=False, allow_unicode=True)
    file = Path(example.folder) / "drawn.yaml"
    file.write_text(text, encoding="utf-8")
    found = load(file, {})
    assert replace(found, stages=()) == replace(pipeline, stages=())
    assert found.stages == pipeline.stages
    assert all(isinstance(price.input, Decimal) for price in found.prices)
