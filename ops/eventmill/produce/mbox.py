"""Messages of an mbox file, one at a time: where a message begins and ends, and its bytes.

Source: RFC 4155 and the practice that it describes. The `From ` line is what divides messages; a Content-Length header
is not believed.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from eventmill.produce.lines import Unreadable

MAX_MESSAGE = 64 << 20
"""Bytes that a message may have."""

_MAX_LINES = 1_000_000   # of one message: 64 MiB of base64 have fewer, and each header line costs memory
_CHUNK = 1 << 20
_DATED = re.compile(rb"From .*\d{1,2}:\d\d.*\d{4}.*")
_HEADER = re.compile(rb"[!-9;-~]+[ \t]*:")
_QUOTED = re.compile(rb">+From ")


class RawMail(NamedTuple):
    """One message, from its `From ` line to the next. `number` counts from 1. `data` None: `problem` says why."""

    number: int
    line: int
    data: bytes | None
    problem: str = ""


class _Piece(NamedTuple):
    """A line, or a part of one that is longer than a chunk."""

    number: int
    data: bytes
    begins: bool


def read_messages(stream: BinaryIO, limit: int = MAX_MESSAGE, max_lines: int = _MAX_LINES) -> Iterator[RawMail]:
    """Yield the messages of `stream`. At no time more than one message is held.

    `From ` begins a message only after an empty line, before a header, and with a time in it where the file's first one
    has one: elsewhere it is text. `>From ` loses one `>`. Raises Unreadable for a file that is no mbox.
    """
    pieces = _pieces(stream)
    first = next((piece for piece in pieces if piece.data.strip()), None)
    if first is None:
        return
    if not first.data.startswith(b"From "):
        remedy = "A file of one mail (.eml) is made one with a line `From - Thu Jan  1 00:00:00 1970` before it"
        raise Unreadable("the file is no mbox: it does not begin with a line `From ...`", first.number, remedy)
    is_dated = _DATED.match(first.data) is not None
    current = _Collected(1, first.number, limit, max_lines)
    after_empty, held = False, None   # `held`: a line that is the next message's first if a header follows it
    for piece in pieces:
        if held is not None:
            if _HEADER.match(piece.data):
                yield current.finished()
                current = _Collected(current.number + 1, held.number, limit, max_lines)
            else:
                current.add(held)
            held = None
        may_begin = piece.begins and after_empty and piece.data.startswith(b"From ")
        if may_begin and (not is_dated or _DATED.match(piece.data)):
            held, after_empty = piece, False
            continue
        current.add(piece)
        after_empty = piece.begins and not piece.data.strip(b"\r\n")
    if held is not None:
        current.add(held)
    yield current.finished()


class _Collected:
    """Collects the lines of one message, up to its limits."""

    def __init__(self, number: int, line: int, limit: int, max_lines: int) -> None:
        self.number = number
        self._line = line
        self._limit = limit
        self._max_lines = max_lines
        self._size = 0
        self._lines: list[bytes] = []
        self._problem = ""

    def add(self, piece: _Piece) -> None:
        """Take a line."""
        if self._problem:
            return
        data = piece.data
        if data[:1] == b">" and piece.begins and _QUOTED.match(data):
            data = data[1:]
        self._size += len(data)
        self._lines.append(data)
        if self._size > self._limit:
            self._problem = f"the message is longer than {self._limit:,} bytes"
        elif len(self._lines) > self._max_lines:
            self._problem = f"the message has more than {self._max_lines:,} lines"
        if self._problem:
            self._lines = []

    def finished(self) -> RawMail:
        """Return the message; the empty line before the next one is not part of it."""
        if self._problem:
            return RawMail(self.number, self._line, None, self._problem)
        if self._lines and not self._lines[-1].strip(b"\r\n"):
            self._lines.pop()
        return RawMail(self.number, self._line, b"".join(self._lines))


def _pieces(stream: BinaryIO) -> Iterator[_Piece]:
    number, begins = 0, True
    while data := stream.readline(_CHUNK):
        number += begins
        yield _Piece(number, data, begins)
        begins = data.endswith(b"\n")
