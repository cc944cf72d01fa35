"""The broker's settings and the command lines of Kafka's tools."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill.dev.java import Java
from eventmill.dev.kafka import properties, settings
from eventmill.dev.kafka_tools import TOOLS, kafka_tool
from eventmill_schemas.errors import UsageError

JAVA = Java(Path("/jre/bin/java"), Path("/cache/stack"), Path("/stack/tmp/tools"))
ports = st.integers(1024, 65535)
values = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\\#!"), min_size=1)


@given(st.dictionaries(st.from_regex(r"[a-z][a-z.]*", fullmatch=True), values))
def test_properties_are_one_line_a_value(given_values: dict[str, str]) -> None:
    """What a reader splits at the first "=" of each line is what was written."""
    lines = properties(given_values).splitlines()
    assert dict(line.split("=", 1) for line in lines) == given_values


@given(ports, ports)
def test_every_listener_is_on_the_loopback_interface(port: int, controller: int) -> None:
    """Broker and controller, and what clients are told."""
    found = settings(port=port, controller_port=controller, data="kafka/data")
    assert found["listeners"] == f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"
    assert found["advertised.listeners"] == f"PLAINTEXT://127.0.0.1:{port}"
    assert found["controller.quorum.voters"] == f"1@127.0.0.1:{controller}"


def test_one_node_needs_no_second_replica_and_makes_no_topic_by_itself() -> None:
    """Every replication factor is 1, or transactions and groups would wait for ever."""
    found = settings(port=1, controller_port=2, data="d")
    factors = {name: value for name, value in found.items() if name.endswith(("replication.factor", "min.isr"))}
    assert len(factors) == 5
    assert set(factors.values()) == {"1"}
    assert found["auto.create.topics.enable"] == "false"


def test_a_tool_is_told_where_the_broker_is() -> None:
    """Nobody has to look up the port."""
    argv = kafka_tool("consumer-groups", ["--describe", "--group", "g"], java=JAVA, bootstrap="127.0.0.1:1").argv
    main = argv.index("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand")
    assert argv[main + 1 :] == ["--bootstrap-server", "127.0.0.1:1", "--describe", "--group", "g"]


@pytest.mark.parametrize("argument", [["--bootstrap-server", "other:9"], ["--bootstrap-server=other:9"]])
def test_a_broker_named_by_the_user_wins(argument: list[str]) -> None:
    """The tools refuse an option that is given twice."""
    argv = kafka_tool("topics", ["--list", *argument], java=JAVA, bootstrap="127.0.0.1:1").argv
    assert "127.0.0.1:1" not in argv


def test_a_tool_that_reads_files_is_told_of_no_broker() -> None:
    """It would refuse the option."""
    assert "--bootstrap-server" not in kafka_tool("dump-log", ["--files", "x"], java=JAVA, bootstrap="b").argv


def test_an_unknown_tool_is_answered_with_those_there_are() -> None:
    """The message names every one."""
    with pytest.raises(UsageError) as caught:
        kafka_tool("topic", [], java=JAVA, bootstrap="b")
    assert "'topic'" in caught.value.message
    assert all(name in str(caught.value.remedy) for name in TOOLS)
