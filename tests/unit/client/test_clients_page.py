"""The page about clients says what the client takes, no more and no less."""

import inspect
import re
from pathlib import Path

from eventmill.client import Producer, costs, results

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/how-to/clients.md").read_text("utf-8")


def test_every_argument_is_described() -> None:
    """Of both readers, which take the same; and of the producer."""
    table = PAGE.split("| argument | meaning |")[1].split("\n\n")[0]
    cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert named == set(inspect.signature(results).parameters) == set(inspect.signature(costs).parameters)
    head = re.search(r"\*\*`Producer\((.*?)\)`\*\*", PAGE)
    assert head is not None
    assert re.findall(r"\w+", head[1]) == list(inspect.signature(Producer).parameters)


def test_the_examples_are_those_that_are_there() -> None:
    """Each program is named, and each name is a program."""
    table = PAGE.split("| file | what |")[1].split("\n\n")[0]
    named = set(re.findall(r"`(\w+\.\w+)`", table))
    assert named == {file.name for file in (ROOT / "examples/clients").iterdir() if file.suffix != ".md"}
