"""Where rows come from: a file or standard input, JSON lines or CSV."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from eventmill.produce.lines import Unreadable, checked_encoding
from eventmill.produce.rows import BadRow, CsvRows, Row, json_rows
from eventmill_schemas.errors import InputFileError, UsageError

STDIN = "-"


class FileFormat(StrEnum):
    """How a file holds its rows."""

    JSONL = "jsonl"
    CSV = "csv"


_SUFFIXES = {
    ".jsonl": FileFormat.JSONL,
    ".ndjson": FileFormat.JSONL,
    ".json": FileFormat.JSONL,
    ".csv": FileFormat.CSV,
    ".tsv": FileFormat.CSV,
}


@dataclass(frozen=True, slots=True)
class Source:
    """A file of rows. `path` "-": standard input. `mapping`: field -> column, as `--map` gives it.

    `skip_lines`: so many lines of the file are passed over, the header of CSV not among them.
    """

    path: str
    format: FileFormat
    mapping: Mapping[str, str] = field(default_factory=dict)
    encoding: str = "utf-8"
    delimiter: str = ","
    skip_lines: int = 0
    drop_unknown: bool = False

    @property
    def name(self) -> str:
        """What messages call it."""
        return "standard input" if self.path == STDIN else self.path

    @property
    def is_rereadable(self) -> bool:
        """Whether it can be read from its start again."""
        return self.path != STDIN and Path(self.path).is_file()


def file_source(
    path: str,
    file_format: FileFormat | None = None,
    *,
    mapping: Mapping[str, str] | None = None,
    encoding: str = "utf-8",
    delimiter: str | None = None,
    skip_lines: int = 0,
    drop_unknown: bool = False,
) -> Source:
    """Return a checked source. The format and the delimiter that are not given follow from the file's name.

    Raises UsageError.
    """
    suffix = Path(path).suffix.lower()
    chosen = file_format or (FileFormat.JSONL if path == STDIN else _SUFFIXES.get(suffix))
    if chosen is None:
        raise UsageError(f"{path}: the name does not say what format it has", remedy="Add `--format jsonl` or `csv`")
    if delimiter is None:
        delimiter = "\t" if suffix == ".tsv" else ","
    if len(delimiter) != 1 or delimiter in '"\r\n' or not delimiter.isascii():
        raise UsageError(f"{delimiter!r} can't be a delimiter", remedy="One character, such as ';' or a tab")
    return Source(path, chosen, mapping or {}, checked_encoding(encoding), delimiter, skip_lines, drop_unknown)


class Reader:
    """Reads a source: `open`, `begin`, `rows`; all three again for every repetition.

    Raises InputFileError where the file can't be read at all, or its header does not fit.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._size: int | None = None
        self._stream: BinaryIO = BytesIO()
        self._rows: Iterable[Row | BadRow] = ()

    def open(self) -> None:
        """Open the file."""
        self.close()
        self._stream = self._open()

    def begin(self, check_header: Callable[[CsvRows], None]) -> None:
        """Read the header of CSV and let `check_header` look at its columns."""
        try:
            self._rows = self._read(self._stream, check_header)
        except Unreadable as error:
            raise self._wrong(error.line, str(error), error.remedy) from None

    def rows(self) -> Iterator[Row | BadRow]:
        """Yield the rows after the header."""
        try:
            yield from self._rows
        except Unreadable as error:
            raise self._wrong(error.line, str(error), error.remedy) from None

    @property
    def fraction(self) -> float | None:
        """How much of the file was read, 0..1; None where its size is not known."""
        return min(1.0, self._stream.tell() / self._size) if self._size else None

    def close(self) -> None:
        """Close the file."""
        if self._source.path != STDIN:
            self._stream.close()

    def _open(self) -> BinaryIO:
        if self._source.path == STDIN:
            return sys.stdin.buffer
        try:
            stream = Path(self._source.path).open("rb")   # noqa: SIM115 - closed by close()
        except (OSError, ValueError) as error:   # ValueError: a NUL in the path
            problem = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise InputFileError(f"the file can't be read: {problem}", file=self._source.path) from None
        self._size = Path(self._source.path).stat().st_size if self._source.is_rereadable else None
        return stream

    def _read(self, stream: BinaryIO, check_header: Callable[[CsvRows], None]) -> Iterable[Row | BadRow]:
        source = self._source
        if source.format == FileFormat.JSONL:
            return json_rows(stream, skip=source.skip_lines, encoding=source.encoding)
        rows = CsvRows(stream, delimiter=source.delimiter, skip=source.skip_lines, encoding=source.encoding)
        try:
            check_header(rows)
        except UsageError as error:
            remedy = error.remedy
            if len(rows.header) == 1 and (other := next((d for d in ";\t|" if d in rows.header[0]), None)):
                remedy = f"The header has one column. Are the columns divided by {other!r}? Then add `--delimiter`"
            raise self._wrong(rows.header_line, error.message, remedy) from None
        return rows

    def _wrong(self, line: int, reason: str, remedy: str | None) -> InputFileError:
        return InputFileError(reason, file=self._source.name, line=line, remedy=remedy)
