"""Which ports a stack takes."""

import socket
from collections.abc import Iterator

import pytest

from eventmill.dev.ports import LOOPBACK, choose, is_free


@pytest.fixture
def listener() -> Iterator[int]:
    """Give the port of a server that belongs to somebody else."""
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


def test_a_port_with_a_listener_is_not_free(listener: int) -> None:
    """Nor is it chosen, although it is preferred."""
    assert not is_free(listener)
    assert choose(listener) != listener


def test_a_port_whose_connections_linger_is_free() -> None:
    """A server may start again at the port that it had a moment ago."""
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection((LOOPBACK, port))
        accepted, _ = server.accept()
        accepted.close()
        client.close()
    assert is_free(port)
    assert choose(port) == port


def test_a_port_promised_to_another_part_is_not_chosen() -> None:
    """Two parts that are not started yet don't get the same port."""
    port = choose()
    assert choose(port, taken=[port]) != port


def test_a_random_port_is_free_and_outside_the_range_of_outgoing_connections() -> None:
    """A kept port would else be lost to any client of the machine between two starts."""
    for _ in range(20):
        port = choose()
        assert is_free(port)
        assert 1024 < port < 32768
