"""`eventmill apply` where no server needs to be asked."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from eventmill.cli import app


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nowhere.yaml: the file can't be read"),
        (["--partitions", "3"], "--partitions is for the input topics that --inputs creates"),
        (["--inputs", "--partitions", "0"], "--partitions"),
    ],
)
def test_wrong_use_is_exit_code_2_before_anything_is_asked(tmp_path: Path, options: list[str], message: str) -> None:
    """A missing file, an option without effect and an impossible number are told at once."""
    done = CliRunner().invoke(app, ["apply", *options, str(tmp_path / "nowhere.yaml")])
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.output
