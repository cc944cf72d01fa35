"""`eventmill bench --short`: every event of every run comes out once, and eventmill keeps up with the bare loop."""

import json
from pathlib import Path

import pytest

from eventmill.dev.addresses import Addresses
from whole_run import whole_run

LEAST = 60.0   # per cent of the bare loop's rate: far below the goal, for machines with other work


def test_short_bench_counts_and_keeps_up(
    tmp_path: Path, addresses: Addresses, pytestconfig: pytest.Config
) -> None:
    """The figures are printed and not asserted; the ratio is to a control in the same minute."""
    file = tmp_path / "bench.json"
    with whole_run(pytestconfig.rootpath, tmp_path, addresses, "bench", "--short", "--json", str(file)) as run:
        assert run.code(240) == 0, run.said
        assert run.started() == {}
    print(run.out.read_text())
    report = json.loads(file.read_text())
    assert report["clean"]
    assert [count["events"] for count in report["counts"]] == [1_000, 1_000, 20_000]
    for count in report["counts"]:
        assert (count["settled"], count["lost"], count["duplicates"]) == (count["events"], 0, 0), count
    rows = {row["row"]: row for row in report["rows"]}
    assert list(rows) == ["N1", "N2", "N3", "N5", "N6"]
    assert rows["N1"]["value"] >= LEAST, rows["N1"]
    for name, row in rows.items():
        assert row["value"] > 0
        assert row["command"] == f"eventmill bench --rows {name.lower()}"
        assert row["goal"] in run.said
        assert row["measured"] in run.said
