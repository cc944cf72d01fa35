"""Rows of files, and how JSON lines and CSV give them: column names with their values, one row at a time.

A row that can't be read is a BadRow with its line and the reason; what comes after it is read all the same, unless
nobody can know where the next row begins.
"""

import csv
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from eventmill.produce.lines import MAX_LINE, Line, Unreadable, read_lines
from eventmill_schemas import json_events
from eventmill_schemas.errors import Undecodable


class Row(NamedTuple):
    """One row. `line` is its number: of its first line, or of the record or mail where those are counted.

    Values of CSV are text, those of JSON are JSON's; `raw` is the line of JSON as it stands in the file. `text_line`:
    the line of the file where a row that is not counted in lines begins, if it has lines.
    """

    line: int
    last_line: int
    values: dict[str, Any]
    raw: bytes | None = None
    text_line: int | None = None


class BadRow(NamedTuple):
    """What is no row, and why; numbers as those of `Row`. `final`: no row can be told from what is after it."""

    line: int
    last_line: int
    reason: str
    remedy: str | None = None
    final: bool = False
    text_line: int | None = None


def json_rows(
    stream: BinaryIO, *, skip: int = 0, encoding: str = "utf-8", limit: int = MAX_LINE
) -> Iterator[Row | BadRow]:
    """Yield the JSON objects of `stream`, one a line; empty lines are passed over, and the first `skip` lines."""
    for number, data, _ in read_lines(stream, limit):
        if number <= skip:
            continue
        if data is None:
            yield BadRow(number, number, _too_long(limit))
        elif data.strip():
            yield _json_row(number, data, encoding)


def _json_row(number: int, data: bytes, encoding: str) -> Row | BadRow:
    try:
        text = data if encoding == "utf-8" else data.decode(encoding).encode()
        return Row(number, number, json_events.decode(text), text)
    except UnicodeDecodeError as error:
        return BadRow(number, number, *_not_text(error))
    except Undecodable as error:
        reason = error.message.removeprefix("the value is ").replace("(line 1, column", "(column")
        return BadRow(number, number, f"the line is {reason}", _json_remedy(data))


def _json_remedy(data: bytes) -> str | None:
    match data.strip():
        case b"{":
            return "Write each event on one line: `jq -c . FILE` does it"
        case text if text.startswith(b"["):
            return "Write each event on a line of its own: `jq -c '.[]' FILE` does it"
        case _:
            return _ENCODING if not _is_utf8(data) else None


class CsvRows:
    """The rows of a CSV file after its header, which is read at once (RFC 4180, any delimiter, line ends LF or CR LF).

    Iterate once. The first `skip` lines of the file, but not the header, are passed over unread. Raises Unreadable.
    """

    def __init__(
        self, stream: BinaryIO, *, delimiter: str = ",", skip: int = 0, encoding: str = "utf-8", limit: int = MAX_LINE
    ) -> None:
        # One setting for the whole process, 128 KiB by default; only ever raised here.
        csv.field_size_limit(max(csv.field_size_limit(), limit))
        self._feed = _Feed(read_lines(stream, limit), encoding, limit)
        self._reader = csv.reader(self._feed, delimiter=delimiter, strict=True)
        self._skip = skip
        self._header, self.header_line = self._read_header()

    @property
    def header(self) -> tuple[str, ...]:
        """The names of the columns, as they stand in the file."""
        return tuple(self._header)

    def __iter__(self) -> Iterator[Row | BadRow]:
        """Yield the rows."""
        self._feed.skip_to(self._skip)
        while (cells := self._next()) is not None:
            if isinstance(cells, BadRow):
                yield cells
                if cells.final:
                    return
            elif cells:
                yield self._row(cells)

    def _row(self, cells: list[str]) -> Row | BadRow:
        first, last = self._feed.first, self._feed.number
        if len(cells) != len(self._header):
            count = f"{len(cells)} value{'s' if len(cells) != 1 else ''}"
            return BadRow(first, last, f"the row has {count}, the header {len(self._header)} columns")
        if cells == self._header:
            return BadRow(first, last, "the header is repeated")
        return Row(first, last, dict(zip(self._header, cells, strict=True)))

    def _read_header(self) -> tuple[list[str], int]:
        while (cells := self._next()) is not None:
            if isinstance(cells, BadRow):
                raise Unreadable(cells.reason, cells.line, cells.remedy)
            if cells:
                return cells, self._feed.first
        raise Unreadable("the file is empty: CSV needs a header line")

    def _next(self) -> list[str] | BadRow | None:
        """Return the next row's cells, [] for an empty line, None at the end."""
        self._feed.begin()
        try:
            cells = next(self._reader)
        except StopIteration:
            return None
        except _Lost as lost:
            return self._bad(str(lost), final=True)
        except csv.Error as error:
            return self._csv_error(str(error))
        fault = self._feed.fault
        return cells if fault is None else self._bad(*fault)

    def _csv_error(self, problem: str) -> BadRow:
        feed = self._feed
        if feed.ended:
            return self._bad("a quoted value begins here and does not end before the file does", final=True)
        if "new-line character" in problem:
            return self._bad("there is a carriage return in the line", "End lines with LF or CR LF")
        if feed.first != feed.number:
            return self._bad(f"a quoted value begins here and is not well ended in line {feed.number}", _QUOTES)
        return self._bad(f"the row is not CSV: {problem}", _QUOTES)

    def _bad(self, reason: str, remedy: str | None = None, *, final: bool = False) -> BadRow:
        return BadRow(self._feed.first, self._feed.number, reason, remedy, final)


class _Lost(Exception):
    """Reading can't go on: where the next row begins is not known."""


class _Feed:
    """Gives lines as text to the CSV reader and remembers where a row began and what was wrong with its lines.

    A line that is not text goes in with replacement characters, so that the quotes around it still count.
    """

    def __init__(self, lines: Iterator[Line], encoding: str, limit: int) -> None:
        self._lines = lines
        self._encoding = encoding
        self._limit = limit
        self._size = 0
        self._skip = 0
        self.first = self.number = 0
        self.fault: tuple[str, str | None] | None = None
        self.ended = False

    def begin(self) -> None:
        """Begin a row with the next line."""
        self.first, self.fault, self._size = 0, None, 0

    def skip_to(self, line: int) -> None:
        """Pass over the lines up to this one."""
        self._skip = line

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        for number, data, end in self._lines:
            if number <= self._skip:
                continue
            self.number = number
            self.first = self.first or number
            if data is None:
                raise _Lost(_too_long(self._limit))
            self._size += len(data) + len(end)
            if self._size - len(end) > self._limit:
                raise _Lost(f"a quoted value begins here and does not end within {self._limit:,} bytes")
            return self._text(data) + end.decode("ascii")
        self.ended = True
        raise StopIteration

    def _text(self, data: bytes) -> str:
        try:
            text = data.decode(self._encoding)
        except UnicodeDecodeError as error:
            self.fault = self.fault or _not_text(error)
            text = data.decode(self._encoding, "replace")
        if "\0" in text:
            self.fault = self.fault or ("the row has a NUL character", "Is the file binary, or UTF-16?")
            text = text.replace("\0", "\ufffd")
        return text


def _not_text(error: UnicodeDecodeError) -> tuple[str, str]:
    reason = f"byte 0x{error.object[error.start]:02x} at {error.start + 1} of the line is not {error.encoding}"
    return reason, _ENCODING


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _too_long(limit: int) -> str:
    return f"the line is longer than {limit:,} bytes"


_ENCODING = "If the file is in another encoding, name it: `--encoding cp1252`"
_QUOTES = "Values with a quote are written in quotes, with the quote doubled"

