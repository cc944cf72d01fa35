"""Lines of a file or stream, one at a time: bytes, numbered from 1, never longer than a limit."""

import codecs
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from eventmill_schemas.errors import UsageError

MAX_LINE = 16 << 20
"""Bytes that a line, or a CSV record over several lines, may have."""

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_PLAIN = '\r\n\t,;"{}[]:0a'


class Unreadable(Exception):
    """The file can't be read at all; `line` says where that shows."""

    def __init__(self, reason: str, line: int = 1, remedy: str | None = None) -> None:
        super().__init__(reason)
        self.line = line
        self.remedy = remedy


class Line(NamedTuple):
    """One line without its end; `data` None: it is longer than the limit, and was passed over."""

    number: int
    data: bytes | None
    end: bytes = b""


def read_lines(stream: BinaryIO, limit: int = MAX_LINE) -> Iterator[Line]:
    """Yield the lines of `stream` (ended by LF or CR LF), without a byte order mark at the start.

    At no time more than about twice `limit` is held. Raises Unreadable for UTF-16.
    """
    number = 0
    while data := stream.readline(limit + 2):   # room for the line's end
        number += 1
        if number == 1:
            if data.startswith(_UTF16):
                raise Unreadable("the file is UTF-16", remedy=_RECODE)
            data = data.removeprefix(codecs.BOM_UTF8)
        line = data.removesuffix(b"\n").removesuffix(b"\r")
        if len(line) <= limit:
            yield Line(number, line, data[len(line) :])
            continue
        while not data.endswith(b"\n") and (data := stream.readline(limit)):
            pass
        yield Line(number, None)


def checked_encoding(name: str) -> str:
    """Return the encoding's name as Python knows it.

    Raises UsageError where there is none, or where its line ends are not those of ASCII.
    """
    try:
        encoding = codecs.lookup(name).name
        plain = _PLAIN.encode(encoding) == _PLAIN.encode("ascii")
    except (LookupError, ValueError):
        raise UsageError(f"there is no text encoding {name!r}", remedy="Usual ones: utf-8, cp1252, latin-1") from None
    if not plain:
        raise UsageError(f"lines can't be told apart in {name}", remedy=_RECODE)
    return encoding


_RECODE = "Make it UTF-8 first: `iconv -f UTF-16 -t UTF-8 FILE`; `--from -` reads what is piped in"
