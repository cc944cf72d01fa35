"""Connectors from topics: what every one of them must say, where secrets are, and names that would not do."""

import json
import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill_connectors.connect.connector import Connector, Source
from eventmill_connectors.connect.converters import Converter, avro_converter
from eventmill_connectors.connect.generate import Options, connector, needed
from eventmill_connectors.connect.references import References, names_in
from eventmill_connectors.connect.sinks import Sink
from eventmill_schemas.errors import UsageError

RESULTS = Source("mail.triage.results", "event_id")
APICURIO = "http://registry:8080/apis/ccompat/v7"
# Settings whose value must never be in a file, by the words in their names.
SECRET = re.compile(r"password|secret|private\.key|keyfile|access\.key")


def made(sink: Sink, source: Source = RESULTS, **options: object) -> Connector:
    """Return a connector with the usual options."""
    return connector(sink, source, Options(**{"values": avro_converter(APICURIO), **options}))  # type: ignore[arg-type]


@pytest.mark.parametrize("sink", list(Sink))
def test_only_committed_records_are_read_and_all_of_them(sink: Sink) -> None:
    """From the first record on; what can't be decoded goes to a topic of the connector's own."""
    config = made(sink).config
    assert config["consumer.override.isolation.level"] == "read_committed"
    assert config["consumer.override.auto.offset.reset"] == "earliest"
    assert config["topics"] == RESULTS.topic
    assert config["errors.tolerance"] == "all"
    assert config["errors.deadletterqueue.topic.name"] == f"{made(sink).name}.dlq"
    assert config["errors.deadletterqueue.context.headers.enable"] == "true"


@pytest.mark.parametrize("sink", list(Sink))
def test_each_connector_has_a_name_of_its_own(sink: Sink) -> None:
    """By topic and sink: several warehouses may read one topic."""
    names = {made(kind, Source(topic, "k")).name for kind, topic in product(Sink, ("a.results", "a.costs"))}
    assert len(names) == 2 * len(Sink)
    assert made(sink).name.startswith(RESULTS.topic)


@pytest.mark.parametrize(("sink", "places"), list(product(Sink, (References(), References("/run/w.properties")))))
def test_secrets_are_references(sink: Sink, places: References) -> None:
    """To the workers' environment, or to a file of theirs; each that is needed is named once."""
    found = made(sink, references=places)
    secrets = {key: value for key, value in found.config.items() if SECRET.search(key)}
    assert secrets
    assert all(value.startswith("${") and value.endswith("}") for value in secrets.values())
    provider = "${env:" if places.file is None else "${file:/run/w.properties:"
    assert all(value.startswith(provider) for value in secrets.values())
    names = needed(found)
    assert len(set(names)) == len(names) >= len(secrets)
    assert all(name in json.dumps(dict(found.config)) for name in names)


def test_postgres_rows_are_found_by_the_field_that_identifies_them() -> None:
    """Not by the record's key, which is the input's; nothing is ever deleted."""
    config = made(Sink.POSTGRES, Source("mail.triage.costs", "cost_id")).config
    assert (config["primary.key.mode"], config["primary.key.fields"]) == ("record_value", "cost_id")
    assert (config["insert.mode"], config["delete.enabled"]) == ("upsert", "false")
    assert config["collection.name.format"] == "mail_triage_costs"
    assert config["transforms.flatten.type"].endswith("Flatten$Value")


def test_bigquery_is_given_a_key_that_it_can_merge_by() -> None:
    """It merges by the record's key, so the identifying field is made that key."""
    config = made(Sink.BIGQUERY).config
    assert config["transforms.key.fields"] == "event_id"
    assert (config["upsertEnabled"], config["transforms"]) == ("true", "key")


def test_iceberg_commits_through_a_topic_of_its_own() -> None:
    """Two connectors with one control topic would commit each other's files."""
    assert made(Sink.ICEBERG).config["iceberg.control.topic"] == f"{made(Sink.ICEBERG).name}.control"


@pytest.mark.parametrize(
    ("address", "kind", "expected"),
    [
        (APICURIO, None, "http://registry:8080/apis/registry/v3"),
        (f"{APICURIO}/", None, "http://registry:8080/apis/registry/v3"),
        ("http://registry:8080", Converter.APICURIO, "http://registry:8080/apis/registry/v3"),
        ("http://registry:8080/apis/registry/v3", Converter.APICURIO, "http://registry:8080/apis/registry/v3"),
        ("${env:REGISTRY}", Converter.APICURIO, "${env:REGISTRY}"),
    ],
)
def test_apicurios_converter_is_given_its_own_api(address: str, kind: Converter | None, expected: str) -> None:
    """Pipelines know the Confluent-compatible one, which the converter does not speak."""
    found = avro_converter(address, kind)
    assert found["value.converter"] == "io.apicurio.registry.utils.converter.AvroConverter"
    assert found["value.converter.apicurio.registry.url"] == expected


@pytest.mark.parametrize("address", ["http://registry:8081", "https://one:8081,https://two:8081"])
def test_any_other_registry_gets_confluents_converter(address: str) -> None:
    """With the address as it is, several of them too."""
    found = avro_converter(address)
    assert found["value.converter"] == "io.confluent.connect.avro.AvroConverter"
    assert found["value.converter.schema.registry.url"] == address


def test_a_registrys_password_is_not_written_into_a_file() -> None:
    """The message does not tell it either."""
    with pytest.raises(UsageError) as caught:
        avro_converter("https://user:hunter2@registry:8081")
    assert "hunter2" not in str(caught.value)
    assert "${env:" in str(caught.value.remedy)


@given(st.text(st.sampled_from("abcXYZ019._-"), min_size=1, max_size=60))
def test_a_table_needs_no_quotes(topic: str) -> None:
    """Whatever the topic is called, as far as Kafka allows it."""
    assert re.fullmatch(r"[a-z_][a-z0-9_]*", Source(topic, "k").table)


def test_a_name_that_postgres_would_cut_is_refused() -> None:
    """Two long topics could otherwise become one table."""
    with pytest.raises(UsageError, match="64 characters, Postgres takes 63"):
        made(Sink.POSTGRES, Source("t" * 64, "event_id"))
    assert made(Sink.POSTGRES, Source("t" * 63, "event_id"))
    assert made(Sink.ICEBERG, Source("t" * 64, "event_id"))


def test_a_dead_letter_topic_that_kafka_would_refuse_is_told() -> None:
    """Before anything is made."""
    with pytest.raises(UsageError, match="Kafka takes 249"):
        made(Sink.S3, Source("t" * 245, "event_id"))


def test_settings_of_ones_own_win_and_empty_ones_take_out() -> None:
    """For what we don't know better."""
    config = made(Sink.POSTGRES, own={"batch.size": "10", "tasks.max": "4", "transforms": ""}).config
    assert (config["batch.size"], config["tasks.max"]) == ("10", "4")
    assert "transforms" not in config


@pytest.mark.parametrize("text", ["", "vault", "file:", "file:relative", "file:/a:b", "env:"])
def test_an_unknown_place_of_secrets_is_refused(text: str) -> None:
    """With the two that there are."""
    with pytest.raises(UsageError, match="is not a place of secrets") as caught:
        References.parse(text)
    assert "file:/path" in str(caught.value.remedy)


@given(st.sampled_from(["env", "file:/run/secrets/w.properties"]), st.from_regex(r"[A-Z][A-Z_]{0,20}", fullmatch=True))
def test_a_reference_is_found_again(place: str, name: str) -> None:
    """By the one that says what workers must have."""
    assert names_in(f"x{References.parse(place).to(name)}y") == (name,)
