"""Every setting that we generate is one that its documentation knows: a sink ignores a misspelt one without a word."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from eventmill_connectors.connect.connector import Source
from eventmill_connectors.connect.converters import Converter, avro_converter
from eventmill_connectors.connect.generate import Options, connector
from eventmill_connectors.connect.sinks import Sink

DOCUMENTED: dict[str, Any] = json.loads(Path(__file__).with_name("connect_keys.json").read_text("utf-8"))
SOURCES = (Source("mail.triage.results", "event_id"), Source("mail.triage.costs", "cost_id"))


def undocumented(config: dict[str, str], sink: Sink, converter: Converter) -> set[str]:
    """Return the settings that no documentation has."""
    common = DOCUMENTED["connect"]
    known = {*common["keys"], *DOCUMENTED[sink]["keys"]}
    known |= {f"consumer.override.{key}" for key in common["consumer.override"]}
    known |= {f"value.converter.{key}" for key in DOCUMENTED[converter]["keys"]}
    for name in filter(None, config.get("transforms", "").split(",")):
        keys = common["transforms"][config[f"transforms.{name}.type"]]
        known |= {f"transforms.{name}.{key}" for key in keys}
    return set(config) - known


@pytest.mark.parametrize(("sink", "source", "converter"), list(product(Sink, SOURCES, Converter)))
def test_every_key_is_documented(sink: Sink, source: Source, converter: Converter) -> None:
    """Of the sink, of Connect, of the converter and of each transform."""
    made = connector(sink, source, Options(avro_converter("http://registry:8081", converter)))
    assert undocumented(dict(made.config), sink, converter) == set()


def test_a_misspelt_key_is_found() -> None:
    """The check can fail: keys near to those that are documented, and those of other sinks, are none."""
    wrong = {"insert.mod": "upsert", "snowflake.url.name": "u", "transforms": "f", "transforms.f.delimeter": "_"}
    wrong["transforms.f.type"] = "org.apache.kafka.connect.transforms.Flatten$Value"
    found = undocumented(wrong, Sink.POSTGRES, Converter.APICURIO)
    assert found == {"insert.mod", "snowflake.url.name", "transforms.f.delimeter"}


@pytest.mark.parametrize("name", list(DOCUMENTED))
def test_every_table_names_its_source_and_has_no_key_twice(name: str) -> None:
    """So that it can be read again when a sink changes."""
    table = DOCUMENTED[name]
    assert table["source"].strip()
    assert len(set(table["keys"])) == len(table["keys"]) > 0


def test_there_is_a_table_for_every_sink_and_converter() -> None:
    """A sink that is added needs one."""
    assert set(DOCUMENTED) == {"connect", *Sink, *Converter}
