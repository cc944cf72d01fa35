"""The compose file has the servers of the local stack, with its settings: neither can change alone."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from backends import _PORTS, COMPOSE_FILE
from eventmill.dev import connect, jars, kafka
from eventmill.dev.folder import StackFolder
from eventmill.dev.java import Java
from eventmill.dev.parts import KINDS, build
from eventmill.dev.ports import USUAL
from eventmill.dev.postgres import CLUSTER, DATABASES
from eventmill.dev.registry import API, Registry
from eventmill.dev.state import new_state

# Where the stack and containers must differ: addresses, paths, and what names them.
_KAFKA_PLACES = {
    "controller.quorum.voters",
    "listeners",
    "advertised.listeners",
    "inter.broker.listener.name",
    "log.dirs",
    "listener.security.protocol.map",
}
_WORKER_PLACES = {"bootstrap.servers", "listeners", "rest.advertised.host.name", "plugin.path"}
_MAVEN = re.compile(r"<(\w+)\.version>(.*?)</")


@pytest.fixture(scope="module")
def compose(pytestconfig: pytest.Config) -> dict[str, Any]:
    """Give the compose file."""
    return dict(yaml.safe_load((pytestconfig.rootpath / COMPOSE_FILE).read_text()))


def environment(compose: dict[str, Any], service: str) -> dict[str, str]:
    """Return the variables of a service, which must be text: YAML would make `1` a number and `yes` a truth."""
    found = compose["services"][service]["environment"]
    assert all(isinstance(value, str) for value in found.values())
    return dict(found)


def test_every_part_of_the_stack_is_a_service(compose: dict[str, Any]) -> None:
    """And a page to look at them."""
    assert {*KINDS, "ui"} <= set(compose["services"])


def test_kafka_has_the_settings_of_the_stack(compose: dict[str, Any]) -> None:
    """In the image's form: KAFKA_, capitals, _ for the dot."""
    ours = kafka.settings(port=1, controller_port=2, data="d")
    variables = environment(compose, "kafka")
    found = {name.removeprefix("KAFKA_").lower().replace("_", "."): value for name, value in variables.items()}
    assert {k: v for k, v in found.items() if k not in _KAFKA_PLACES} == {
        k: v for k, v in ours.items() if k not in _KAFKA_PLACES
    }


def test_the_worker_has_the_settings_of_the_stack(compose: dict[str, Any]) -> None:
    """All but addresses and the place of plug-ins."""
    lines = compose["configs"]["connect.properties"]["content"].splitlines()
    found = dict(line.split("=", 1) for line in lines)
    assert {k: v for k, v in found.items() if k not in _WORKER_PLACES} == connect.settings()
    assert set(found) >= _WORKER_PLACES


def test_workers_are_given_the_same_values(compose: dict[str, Any], tmp_path: Path) -> None:
    """A connector that was generated for one runs on the other."""
    state = new_state()
    state.ports = {name: port for port, name in enumerate(USUAL, 1)}
    part = build("connect", StackFolder(tmp_path), state)
    assert isinstance(part, connect.Connect)
    ours = {name for name in part.variables if name.startswith("WAREHOUSE_")}
    assert ours == {name for name in environment(compose, "connect") if name.startswith("WAREHOUSE_")}


def test_the_registry_has_the_settings_of_the_stack(compose: dict[str, Any], tmp_path: Path) -> None:
    """Apart from where it and its database listen."""
    java = Java(Path("java"), Path("archives"), tmp_path)
    ours = Registry(tmp_path, java, "m", 5432, "eventmill", 8081, 9000).command().environment
    places = ("QUARKUS_HTTP_HOST", "QUARKUS_HTTP_PORT", "QUARKUS_MANAGEMENT", "APICURIO_DATASOURCE_URL")
    wanted = {k: v for k, v in ours.items() if k.startswith(("QUARKUS", "APICURIO")) and not k.startswith(places)}
    found = {k: v for k, v in environment(compose, "registry").items() if not k.startswith(places)}
    assert found == wanted


def test_postgres_is_made_as_in_the_stack(compose: dict[str, Any]) -> None:
    """The same locale and databases."""
    found = environment(compose, "postgres")
    assert tuple(found["POSTGRES_INITDB_ARGS"].split()) == CLUSTER
    made = {found["POSTGRES_DB"], *re.findall(r"create database (\w+)", compose["configs"]["databases"]["content"])}
    assert made == set(DATABASES)


def test_ports_are_the_usual_ones_on_the_loopback_interface(compose: dict[str, Any]) -> None:
    """Each can be chosen by a variable, which the tests do."""
    found = {}
    for name, service in compose["services"].items():
        for text in service.get("ports", []):
            match = re.fullmatch(r"127\.0\.0\.1:\$\{(\w+):-(\d+)\}:\d+", text)
            assert match is not None, text
            found[name] = match.groups()
    assert {variable for variable, _ in found.values()} == set(_PORTS)
    usual = {name: int(port) for name, (_, port) in found.items() if name != "ui"}
    assert usual == {name: USUAL[name] for name in KINDS}


def test_images_are_of_the_versions_of_the_stack(compose: dict[str, Any]) -> None:
    """Kafka and Connect of one version, the registry as well; nothing floats."""
    versions = dict(_MAVEN.findall(jars.SERVERS.poms["pom.xml"].decode()))
    images = {name: service["image"] for name, service in compose["services"].items()}
    assert images["kafka"] == images["connect"] == f"apache/kafka:{versions['kafka']}"
    assert images["registry"] == f"apicurio/apicurio-registry:{versions['apicurio']}"
    assert not [image for image in images.values() if ":" not in image or image.endswith(":latest")]


def test_the_sink_is_fetched_by_the_poms_of_the_stack(compose: dict[str, Any], pytestconfig: pytest.Config) -> None:
    """The same files, all of them, and the folder that the worker looks in."""
    names = [one["source"] for one in compose["services"]["connect-plugins"]["configs"]]
    mounted = {name: compose["configs"][name]["file"] for name in names}
    assert set(mounted) == set(jars.CONNECT.poms)
    for name, file in mounted.items():
        assert (pytestconfig.rootpath / file).read_bytes() == jars.CONNECT.poms[name]
    assert "plugin.path=/archives/plugins" in compose["configs"]["connect.properties"]["content"]
    assert "-Dout=/archives" in compose["services"]["connect-plugins"]["command"]


def test_what_services_say_of_each_other_is_so(compose: dict[str, Any]) -> None:
    """Hosts are services, Kafka's inner address is one that it announces, waiting is for services that there are."""
    assert "INSIDE://kafka:29092" in environment(compose, "kafka")["KAFKA_ADVERTISED_LISTENERS"]
    ui = environment(compose, "ui")
    assert ui["KAFKA_CLUSTERS_0_BOOTSTRAPSERVERS"] == "kafka:29092"
    assert ui["KAFKA_CLUSTERS_0_SCHEMAREGISTRY"] == f"http://registry:8080{API}"
    assert ui["KAFKA_CLUSTERS_0_KAFKACONNECT_0_ADDRESS"] == "http://connect:8083"
    for service in compose["services"].values():
        for other, how in service.get("depends_on", {}).items():
            waited_for = compose["services"][other]
            assert ("healthcheck" in waited_for) == (how["condition"] == "service_healthy")
