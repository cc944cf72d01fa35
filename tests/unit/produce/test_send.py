"""Sending where no broker is: everything is told as failed, nothing is waited for without end."""

import socket

import pytest

from eventmill.produce.encode import Encoded
from eventmill.produce.send import Sender
from eventmill_schemas.errors import SetupError


@pytest.fixture
def nobody() -> str:
    """Give an address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_what_is_not_acknowledged_in_time_has_failed(nobody: str) -> None:
    """With the lowest line, the reason, and the sign that no broker answers; what comes later is not taken."""
    sender = Sender({"bootstrap.servers": nobody, "message.timeout.ms": 1000, "log_level": 0}, "t", 1_000_000)
    for line in (5, 3, 9):
        assert sender.send(line, Encoded(b"k", b"v", []))
    assert sender.wait(30)
    assert (sender.failed_line, sender.timed_out, sender.acknowledged) == (3, True, 0)
    assert sender.failure == "Kafka did not acknowledge it within 1 s"
    assert sender.is_cut_off
    sender.send(1, Encoded(None, b"v", []))
    assert sender.failed_line == 3


def test_giving_up_counts_what_is_left_as_failed(nobody: str) -> None:
    """At once, not after the time-out of thirty seconds."""
    sender = Sender({"bootstrap.servers": nobody, "log_level": 0}, "t", 1_000_000)
    sender.send(7, Encoded(None, b"v", []))
    assert not sender.wait(0.01)
    sender.give_up(10)
    assert sender.wait(0)
    assert (sender.failed_line, sender.failure, sender.timed_out) == (7, "", False)


def test_a_full_queue_takes_nothing_and_does_not_wait_for_ever(nobody: str) -> None:
    """The caller is asked to come again, so that it can look at other things meanwhile."""
    settings = {"bootstrap.servers": nobody, "log_level": 0, "queue.buffering.max.messages": 2}
    sender = Sender(settings, "t", 1_000_000)
    assert [sender.send(line, Encoded(None, b"v", [])) for line in (1, 2, 3)] == [True, True, False]


def test_a_record_above_the_topics_limit_fails_by_itself(nobody: str) -> None:
    """The client refuses it with a reason, and is not asked for another."""
    sender = Sender({"bootstrap.servers": nobody, "log_level": 0}, "t", 2_000)
    sender.send(4, Encoded(None, b"v" * 3_000, []))
    assert sender.failed_line == 4
    assert "too large" in sender.failure


def test_wrong_client_settings_are_a_matter_of_the_set_up() -> None:
    """Named, without a stack trace."""
    with pytest.raises(SetupError, match=r"no\.such\.setting"):
        Sender({"bootstrap.servers": "x", "no.such.setting": "1"}, "t", 1_000_000)
