"""Whether a connector works: its tasks tell, its own state does not."""

import pytest

from connect_peer import status
from eventmill_connectors.connect.status import parse_status

TRACE = """org.apache.kafka.connect.errors.ConnectException: Exiting WorkerSinkTask due to unrecoverable exception.
\tat org.apache.kafka.connect.runtime.WorkerSinkTask.deliverMessages(WorkerSinkTask.java:636)
Caused by: org.apache.kafka.connect.errors.ConnectException: Failed to process a sink record
\t... 10 more
Caused by: org.postgresql.util.PSQLException: ERROR: relation does not exist
\tat org.postgresql.core.v3.QueryExecutorImpl.receiveErrorResponse(QueryExecutorImpl.java:2733)
"""


@pytest.mark.parametrize(
    ("connector", "tasks", "works", "failed"),
    [
        ("RUNNING", ["RUNNING"], True, False),
        ("RUNNING", ["RUNNING", "RUNNING"], True, False),
        ("RUNNING", ["RUNNING", "FAILED"], False, True),
        ("RUNNING", ["FAILED"], False, True),
        ("RUNNING", [], False, False),
        ("RUNNING", ["UNASSIGNED"], False, False),
        ("FAILED", [], False, True),
        ("PAUSED", ["PAUSED"], False, False),
    ],
)
def test_it_works_only_if_all_tasks_run(connector: str, tasks: list[str], works: bool, failed: bool) -> None:
    """A connector that is RUNNING with a dead task, or with none, moves nothing."""
    found = parse_status(status("a", connector, *tasks, trace=TRACE))
    assert (found.works, found.failed) == (works, failed)
    assert (found.complaint is None) == works


def test_the_complaint_is_the_first_line_and_the_cause() -> None:
    """The first line is the same for everything that goes wrong in a sink; the reason is the last cause."""
    complaint = parse_status(status("a", "RUNNING", "RUNNING", "FAILED", trace=TRACE)).complaint
    assert complaint is not None
    assert complaint.startswith("task 1 is FAILED: org.apache.kafka.connect.errors.ConnectException: Exiting")
    assert complaint.endswith("Cause: org.postgresql.util.PSQLException: ERROR: relation does not exist")
    assert "\n" not in complaint


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        (status("a", "RUNNING"), "it has no tasks"),
        (status("a", "PAUSED", "PAUSED"), "the connector is PAUSED"),
        (status("a", "RUNNING", "RUNNING", "UNASSIGNED"), "task 1 is UNASSIGNED"),
        (status("a", "FAILED", trace="one line"), "the connector is FAILED: one line"),
        (status("a", "RUNNING", "FAILED"), "task 0 is FAILED"),
    ],
)
def test_what_does_not_work_without_a_trace_is_told_too(document: dict[str, object], complaint: str) -> None:
    """By its state."""
    assert parse_status(document).complaint == complaint
