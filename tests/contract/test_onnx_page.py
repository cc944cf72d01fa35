"""The page on models says what is: its commands are run as they are shown."""

import sys
from pathlib import Path

from pages import Shell, play

PAGE = (Path(__file__).parents[2] / "docs/how-to/models.md").read_text("utf-8")


def test_the_page_builds_the_model_that_it_shows(tmp_path: Path) -> None:
    """From the package to a live version, which is the same on every machine."""
    with Shell(tmp_path, {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}) as shell:
        assert play(PAGE, tmp_path, shell, str) == 2
