"""The local stack as processes: up, down, killed in the middle, twice at once, and nothing left behind."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from eventmill.dev import process
from eventmill.dev.addresses import Addresses
from eventmill.dev.folder import StackFolder
from eventmill.dev.parts import BASE, KINDS
from eventmill.dev.ports import LOOPBACK, is_free
from eventmill.dev.stack import Stack
from eventmill.dev.state import State


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give the folder of this module's own stack. Root's Postgres can't enter it, which is one more thing tried."""
    place = tmp_path_factory.mktemp("a stack") / "of its own"
    yield place
    Stack(place).down(wipe=True)


@pytest.fixture
def at_rest(folder: Path) -> Path:
    """Give the folder of the stack, which does not run."""
    Stack(folder).down()
    return folder


@pytest.fixture
def stack(folder: Path) -> Stack:
    """Give the stack of this module, which runs, at ports that no usual server has."""
    found = Stack(folder, usual_ports=False)
    found.up()
    return found


def kept(folder: Path) -> State:
    """Return what the stack keeps about itself."""
    state = StackFolder(folder).load()
    assert state is not None
    return state


def running(state: State) -> dict[str, list[int]]:
    """Return the ids of all processes of a stack, however they came to be."""
    return {name: sorted(p.pid for p in process.marked(state.marker(name))) for name in BASE}


def command_line(*arguments: str) -> list[str]:
    """Return the command line of `eventmill dev`."""
    return [sys.executable, "-m", "eventmill.cli", "dev", *arguments]


def cut_off_when(argv: Sequence[str], line: str, cut: Callable[[subprocess.Popen[str]], None]) -> tuple[int, str]:
    """Run a command, do `cut` to it as soon as it has said `line`, return its exit code and what it said."""
    said = ""
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        while text := child.stderr.readline():
            said += text
            if line in text:
                cut(child)
        return child.wait(60), said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_start_that_is_interrupted_leaves_nothing(at_rest: Path, number: signal.Signals) -> None:
    """Ctrl-C, or a supervisor's SIGTERM, while Kafka starts: no process, no port, and a quiet end."""
    argv = command_line("up", "--folder", str(at_rest))
    code, said = cut_off_when(argv, "postgres is ready", lambda child: child.send_signal(number))
    assert code == 128 + number
    assert "Traceback" not in said
    state = kept(at_rest)
    assert running(state) == {"postgres": [], "kafka": [], "registry": []}
    assert all(is_free(port) for port in state.ports.values())


def test_a_start_that_is_killed_is_finished_by_the_next(at_rest: Path) -> None:
    """Kill -9 of the command: what it had started is adopted, not started twice."""
    argv = command_line("up", "--folder", str(at_rest))
    code, _ = cut_off_when(argv, "postgres is ready", lambda child: child.kill())
    assert code == -signal.SIGKILL
    begun = running(kept(at_rest))
    assert begun["postgres"]
    said: list[str] = []
    Stack(at_rest).up(report=said.append)
    assert any(text.startswith("postgres runs already") for text in said)
    heads = {part.name: part.pid for part in Stack(at_rest).status()}
    assert heads["postgres"] in begun["postgres"]
    assert {name: pids for name, pids in running(kept(at_rest)).items() if name != "postgres"} == {
        "kafka": [heads["kafka"]],
        "registry": [heads["registry"]],
    }


def test_status_and_env_tell_what_runs(folder: Path, stack: Stack) -> None:
    """As JSON for programs, with an exit code for scripts."""
    shown = subprocess.run(command_line("status", "--json", "--folder", str(folder)), capture_output=True, check=True)
    assert shown.stdout.count(b'"ready"') == 3
    variables = subprocess.run(
        command_line("env", "--folder", str(folder)), capture_output=True, text=True, check=True
    ).stdout
    told = subprocess.run(
        ["/bin/sh", "-c", f'{variables}\necho "$KAFKA" "$REGISTRY"'], capture_output=True, text=True, check=True
    )
    addresses = stack.addresses()
    assert told.stdout.split() == [addresses.bootstrap, addresses.registry]


def test_every_part_listens_on_the_loopback_interface_only(folder: Path, stack: Stack) -> None:
    """Nobody on the network reaches a broker without a password."""
    assert {part.state for part in stack.status()} == {"ready"}
    state = kept(folder)
    found = [
        connection.laddr
        for name in KINDS
        for member in process.marked(state.marker(name))
        for connection in member.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert {place.port for place in found} >= set(state.ports.values())
    assert {place.ip.removeprefix("::ffff:") for place in found} == {LOOPBACK}


def test_connect_runs_where_it_was_asked_for(folder: Path, stack: Stack) -> None:
    """On the loopback interface, at an address that `env` tells; stopped, it is no part of the stack any more."""
    assert stack.addresses().connect is None
    found = stack.up(connect=True)
    assert found.connect is not None
    state = kept(folder)
    assert found.connect == f"http://{LOOPBACK}:{state.ports['connect']}"
    server = process.find(state.marker("connect"), None)
    assert server is not None
    listening = [one.laddr for one in server.net_connections(kind="inet") if one.status == psutil.CONN_LISTEN]
    assert {place.ip.removeprefix("::ffff:") for place in listening} == {LOOPBACK}
    argv = command_line("env", "--folder", str(folder), "--json")
    assert json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)["CONNECT"] == found.connect
    stack.kill("connect")
    assert {part.name: part.state for part in stack.status()}["connect"] == "died"
    stack.stop("connect")
    assert [part.name for part in stack.status()] == list(BASE)
    assert stack.up() == replace(found, connect=None)


def test_two_stacks_run_at_once(addresses: Addresses, stack: Stack, unique: str) -> None:
    """Another folder is another cluster: a topic of one is not in the other."""
    other = stack.addresses()
    assert {other.bootstrap, other.registry, other.postgres}.isdisjoint(
        {addresses.bootstrap, addresses.registry, addresses.postgres}
    )
    create_topic(other.bootstrap, unique)
    assert unique in topics(other.bootstrap)
    assert unique not in topics(addresses.bootstrap)


def test_records_survive_a_broker_that_is_killed(stack: Stack, unique: str) -> None:
    """Kill -9, then `up`: the same address, what was acknowledged is there, the other parts were left alone."""
    before, parts = stack.addresses(), {part.name: part.pid for part in stack.status()}
    create_topic(before.bootstrap, unique)
    producer = Producer({"bootstrap.servers": before.bootstrap, "acks": "all"})
    for number in range(100):
        producer.produce(unique, str(number).encode())
    assert producer.flush(20) == 0

    stack.kill("kafka")
    assert {part.name: part.state for part in stack.status()}["kafka"] == "died"
    assert stack.up() == before
    after = {part.name: part.pid for part in stack.status()}
    assert after["kafka"] != parts["kafka"]
    assert (after["postgres"], after["registry"]) == (parts["postgres"], parts["registry"])
    assert read(before.bootstrap, unique, 100) == [str(number).encode() for number in range(100)]


def test_kafkas_own_tools_run_against_it(folder: Path, stack: Stack, unique: str) -> None:
    """Their exit code is ours, and their output stays as it is."""
    bootstrap = stack.addresses().bootstrap
    create_topic(bootstrap, unique)
    where = ("--folder", str(folder), "get-offsets")
    done = subprocess.run(
        command_line("kafka", *where, "--", "--topic", unique), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"{unique}:0:0\n")
    assert subprocess.run(command_line("kafka", *where, "--", "--no-such"), capture_output=True, check=False).returncode


def test_postgres_comes_back_after_kill_at_another_port_if_its_own_is_taken(folder: Path, stack: Stack) -> None:
    """What was in the way is named; the registry, which knew the old port, works with the new one."""
    stack.kill("postgres")
    port = kept(folder).ports["postgres"]
    said: list[str] = []
    with socket.create_server((LOOPBACK, port)):
        stack.up(report=said.append)
    assert kept(folder).ports["postgres"] != port
    assert any(f"port {port} (postgres) is taken" in text for text in said)
    assert {part.state for part in stack.status()} == {"ready"}


def test_after_everything_was_killed_down_leaves_nothing(folder: Path, stack: Stack) -> None:
    """Also what the parts' deaths left behind; a second `down` has nothing to do, and says nothing."""
    state = kept(folder)
    for part in stack.status():
        assert part.pid is not None
        os.kill(part.pid, signal.SIGKILL)
    said: list[str] = []
    stack.down()
    stack.down(report=said.append)
    assert not said
    assert running(state) == {"postgres": [], "kafka": [], "registry": []}
    assert all(is_free(port) for port in state.ports.values())
    assert {part.state for part in stack.status()} == {"stopped"}


def create_topic(bootstrap: str, name: str) -> None:
    """Make a topic of one partition."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(20)


def topics(bootstrap: str) -> set[str]:
    """Return the names of all topics."""
    return set(AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=20).topics)


def read(bootstrap: str, topic: str, count: int) -> list[bytes | None]:
    """Return the values of the first `count` records of the topic's only partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": topic, "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        return [message.value() for message in consumer.consume(count, timeout=20)]
    finally:
        consumer.close()
