"""Pages of the documentation as tests run them.

A marker in an HTML comment stands in the line before a fenced block and says what the block is:

- `<!-- file: NAME -->`: the content of a file that the reader writes.
- `<!-- run: NAME -->`: a console; lines with `$ ` are commands, run one after the other in one shell, the lines below
  each are all that it prints. Exit codes must be 0.
- `<!-- until: NAME -->`: the same, and each command is repeated until it prints that: something else works on it.
- `<!-- run: setup -->`: what makes the environment; the tests have theirs, so it is not run.
- `<!-- output: NAME -->`: the end of what some other command prints; the test of the page knows which.

A fenced console without a marker is for reading only.
"""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Self

_BLOCK = re.compile(r"^<!-- (file|run|until|output): (\S+) -->\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)

_VARYING = (   # what differs from run to run, and what stands for it when texts are compared
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*Z", "<time>"),
    (r"\b\d+@\d+", "<place>"),   # offsets count transaction markers, and how many there are depends on the ticks
    (r'"offset":\d+', '"offset":<offset>'),
    (r"\b[0-9a-f]{32}\b", "<hash>"),
    (r"with schema \d+", "with schema <id>"),
    (r"in [\d.]+ s, [\d,]+/s", "in <seconds>"),
    (r"at most \d\.\de-\d\d off", "at most <little> off"),   # by the processor
    (r'"duration_ms":\d+', '"duration_ms":<number>'),
    (r" +", " "),   # tables are as wide as the names in them
)


class Block(NamedTuple):
    """A marked block. `text` ends with a newline."""

    kind: str
    name: str
    text: str


class Command(NamedTuple):
    """One command of a console, and what it prints."""

    line: str
    output: str


def blocks(page: str) -> list[Block]:
    """Return the marked blocks of a page, in their order."""
    found = [Block(*match.groups()) for match in _BLOCK.finditer(page)]
    markers = re.findall(r"^<!-- .* -->$", page, re.MULTILINE)
    assert len(found) == len(markers), f"a marker stands before no fenced block: {markers}"
    return found


def commands(block: Block) -> Iterator[Command]:
    """Return the commands of a console, in their order."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        line, _, output = part.partition("\n")
        yield Command(line, output)


def comparable(text: str) -> str:
    """Return a text without what differs from run to run."""
    for pattern, instead in _VARYING:
        text = re.sub(pattern, instead, text)
    return text.strip()


class Shell:
    """One bash for all commands of a page: folders, variables and background jobs last. Use as a context manager."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        """Start it in `folder`."""
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env={**os.environ, **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> Self:
        """Give the shell."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the shell and its background jobs."""
        self.run('for job in $(jobs -p); do kill "$job"; done; wait')
        self._bash.communicate("exit\n", 20)

    def run(self, line: str) -> tuple[int, str]:
        """Run a command line; return its exit code and all that it printed."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"{line}\nprintf '\\0%s\\n' $?\n")
        self._bash.stdin.flush()
        printed = []
        for text in self._bash.stdout:
            before, end, code = text.partition("\0")
            printed.append(before)
            if end:
                return int(code), "".join(printed)
        raise AssertionError(f"the shell ended in {line!r}: {''.join(printed)}")


def play(page: str, folder: Path, shell: Shell, translate: Callable[[str], str], seconds: float = 90) -> int:
    """Write the files and run the commands of a page; compare what they print. Return the number of commands.

    `translate` replaces names that must be unique, in files and commands and in what should be printed.
    """
    count = 0
    for kind, name, text in blocks(page):
        if kind == "file":
            (folder / translate(name)).write_text(translate(text), encoding="utf-8")
        elif kind in ("run", "until") and name != "setup":
            for line, output in commands(Block(kind, name, text)):
                expected, end = comparable(translate(output)), time.monotonic() + seconds
                while True:
                    code, printed = shell.run(translate(line))
                    as_shown = code == 0 and comparable(printed) == expected
                    if as_shown or kind == "run" or time.monotonic() > end:
                        break
                    time.sleep(0.5)
                assert code == 0, f"{line}: exit code {code}\n{printed}"
                assert comparable(printed) == expected, f"{line} printed\n{printed}\ninstead of\n{translate(output)}"
                count += 1
    return count
