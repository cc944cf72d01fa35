"""The page about trying a pipeline, followed to the letter (tests/pages.py says how). It needs no server."""

import sys
from pathlib import Path

from pages import Shell, play

PAGE = (Path(__file__).parents[2] / "docs/how-to/trying.md").read_text("utf-8")


def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    """Files are written and commands run as shown, from `init` to a test of one's own, and print what it says."""
    with Shell(tmp_path, {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}) as shell:
        count = play(PAGE, tmp_path, shell, lambda text: text)
    assert count == 5
