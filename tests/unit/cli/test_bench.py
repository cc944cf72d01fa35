"""What `eventmill bench` refuses before it measures anything."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from eventmill.cli import app


@pytest.mark.parametrize(
    ("rows", "said"), [("n1,n4", "there is no row 'n4'"), (" , ", "names no row"), ("all", "there is no row 'all'")]
)
def test_rows_that_there_are_not_are_named(rows: str, said: str) -> None:
    """With those that there are."""
    done = CliRunner().invoke(app, ["bench", "--rows", rows])
    assert done.exit_code == 2
    assert said in done.stderr
    assert "n1, n2, n3, n5, n6, n9, n11" in done.stderr


def test_outside_of_the_repository_nothing_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checker and the bare loop are not there, and that is said."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["bench", "--rows", "N1, n2"])
    assert done.exit_code == 2
    assert "tests/checker.py" in done.stderr
    assert list(tmp_path.iterdir()) == []
