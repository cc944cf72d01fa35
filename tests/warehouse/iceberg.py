"""Results in an Iceberg table on local files, read back by pyiceberg. Part of `make warehouse`, not of `make test`."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends import Worker
from eventmill.dev.addresses import Addresses
from eventmill.dev.stack import Stack
from warehouse_pipeline import SortPipeline, result

READER = Path(__file__).with_name("read_iceberg.py")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of this module's own stack."""
    return tmp_path_factory.mktemp("iceberg") / "stack"


@pytest.fixture(scope="module")
def own(place: Path) -> Iterator[Addresses]:
    """Run a stack with the Iceberg sink."""
    stack = Stack(place, usual_ports=False)
    try:
        yield stack.up(iceberg=True, report=print)
    finally:
        stack.down(wipe=True)


def table(pytestconfig: pytest.Config, place: Path, own: Addresses, name: str) -> dict[str, Any] | None:
    """Return the table as pyiceberg reads it, None while it is not there."""
    python = pytestconfig.rootpath / ".eventmill/pyiceberg/bin/python"
    assert python.exists(), "run: make warehouse"
    uri = own.postgres.replace("postgresql://", "postgresql+psycopg2://")
    argv = [str(python), str(READER), uri, (place / "connect" / "warehouse").as_uri(), f"eventmill.{name}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if "NoSuchTableError" in done.stderr or "UndefinedTable" in done.stderr:
        return None
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_results_are_rows_of_an_iceberg_table(
    tmp_path: Path, pytestconfig: pytest.Config, place: Path, own: Addresses, unique: str
) -> None:
    """Records stay records, decimals exact, times have their zone; aborted ones are absent; an update is a row more."""
    assert own.connect is not None
    pipeline = SortPipeline(tmp_path, own, Worker(own.connect, own.registry, lambda: None), unique)
    pipeline.apply()
    pipeline.connect("--sink", "iceberg", "--set", "iceberg.control.commit.interval-ms=2000")
    pipeline.write("results", [result("a", large=1), result("b")])
    pipeline.write("results", [result("aborted")], commit=False)
    pipeline.write("results", [result("a", large=2)])
    deadline = time.monotonic() + 60
    while (found := table(pytestconfig, place, own, pipeline.table("results"))) is None or len(found["rows"]) < 3:
        assert time.monotonic() < deadline, found
    pipeline.must("connect", "status")
    assert sorted((row["event_id"], row["large"]) for row in found["rows"]) == [("a", 1), ("a", 2), ("b", 2**62)]
    columns = found["columns"]
    assert columns["amount"] == columns["cost"] == "decimal(38, 12)"
    assert columns["processed_at"] == "timestamptz"
    assert columns["writer"].startswith("struct")
    row = next(row for row in found["rows"] if row["event_id"] == "b")
    expected = result("b")
    assert row["amount"] == str(expected["amount"])
    assert row["tags"] == expected["tags"]
    assert row["writer"] == expected["writer"]
    assert row["seen_at"] == str(expected["seen_at"])
    assert (row["category"], row["day"], row["urgent"]) == ("BUG", "2026-02-28", True)
