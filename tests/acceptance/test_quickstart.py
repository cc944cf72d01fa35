"""A newcomer's first hour: the quickstart is followed to the letter (tests/pages.py says how), on real servers."""

import re
import socket
import sys
from pathlib import Path

from eventmill.dev.addresses import Addresses
from pages import Shell, blocks, commands, play

PAGE = (Path(__file__).parents[2] / "docs/how-to/quickstart.md").read_text("utf-8")


def test_the_quickstart_does_what_it_says(tmp_path: Path, addresses: Addresses, unique: str) -> None:
    """Every file is written, every command run as shown, and prints what is shown: from a CSV file to dead letters.

    The names of pipeline and topic are made unique, and the stand-in's port is a free one; nothing else is changed.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def translate(text: str) -> str:
        text = re.sub(r"\b(shop|reviews)\b", rf"{unique}\1", text)
        return text.replace("8090", str(port))

    environ = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "KAFKA": addresses.bootstrap,
        "REGISTRY": addresses.registry,
    }
    with Shell(tmp_path, environ) as shell:
        count = play(PAGE, tmp_path, shell, translate)
    said = [command for block in blocks(PAGE) if block.kind in ("run", "until") for command in commands(block)]
    in_setup = sum(1 for block in blocks(PAGE) if block.name == "setup" for _ in commands(block))
    assert count == len(said) - in_setup > 8
