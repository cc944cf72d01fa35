"""Where rows come from: a file or standard input, and what is in it."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from eventmill.produce.avro_rows import AvroRows
from eventmill.produce.lines import Unreadable, checked_encoding
from eventmill.produce.mail import MAIL_FIELDS, MAIL_SCHEMA, MailRows
from eventmill.produce.rows import BadRow, CsvRows, Row, json_rows
from eventmill_schemas.errors import InputFileError, UsageError

STDIN = "-"


class FileFormat(StrEnum):
    """How a file holds its rows."""

    JSONL = "jsonl"
    CSV = "csv"
    AVRO = "avro"   # object container files
    MBOX = "mbox"


_SUFFIXES = {
    ".jsonl": FileFormat.JSONL,
    ".ndjson": FileFormat.JSONL,
    ".json": FileFormat.JSONL,
    ".csv": FileFormat.CSV,
    ".tsv": FileFormat.CSV,
    ".avro": FileFormat.AVRO,
    ".mbox": FileFormat.MBOX,
}
_UNITS = {FileFormat.AVRO: "record", FileFormat.MBOX: "mail"}
LINES = "line"


@dataclass(frozen=True, slots=True)
class Head:
    """What a file says of its rows before the first one: their columns, and of Avro files their schema."""

    columns: tuple[str, ...]
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A file of rows. `path` "-": standard input. `mapping`: field -> column, as `--map` gives it.

    `skip_lines`: so many lines (records, mails) of the file are passed over, the header of CSV not among them.
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

    @property
    def unit(self) -> str:
        """What is counted in it: "line", "record" or "mail"."""
        return _UNITS.get(self.format, LINES)

    @property
    def skip_option(self) -> str:
        """The option that begins after one of them."""
        return "--skip-lines" if self.unit == LINES else "--skip"

    def place(self, number: int, text_line: int | None = None) -> str:
        """Name a row: `file:line`, `file: record 7`, `file:120: mail 7`."""
        if self.unit == LINES:
            return f"{self.name}:{number}"
        return f"{self.name}{'' if text_line is None else f':{text_line}'}: {self.unit} {number:,}"

    def error(self, row: BadRow, remedy: str | None) -> InputFileError:
        """Return the error that says that a row is none."""
        if self.unit == LINES:
            return InputFileError(row.reason, file=self.name, line=row.line, remedy=remedy)
        reason = f"{self.unit} {row.line:,}: {row.reason}"
        return InputFileError(reason, file=self.name, line=row.text_line, remedy=remedy)


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
        remedy = f"Add `--format`, one of {', '.join(FileFormat)}"
        raise UsageError(f"{path}: the name does not say what format it has", remedy=remedy)
    if delimiter is None:
        delimiter = "\t" if suffix == ".tsv" else ","
    if len(delimiter) != 1 or delimiter in '"\r\n' or not delimiter.isascii():
        raise UsageError(f"{delimiter!r} can't be a delimiter", remedy="One character, such as ';' or a tab")
    drops = drop_unknown or chosen == FileFormat.MBOX   # its columns are ours: a schema takes what it wants of them
    return Source(path, chosen, mapping or {}, checked_encoding(encoding), delimiter, skip_lines, drops)


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
        """Open the file, and read the header of an Avro file."""
        self.close()
        self._stream = self._open()
        if self._source.format == FileFormat.AVRO:
            try:
                self._rows = AvroRows(self._stream, skip=self._source.skip_lines)
            except Unreadable as error:
                raise self._wrong(error) from None

    @property
    def own_schema(self) -> Mapping[str, Any] | None:
        """The schema that the open file's rows have by themselves: of Avro what the file says, of mails ours."""
        if isinstance(self._rows, AvroRows):
            return self._rows.schema
        return MAIL_SCHEMA if self._source.format == FileFormat.MBOX else None

    def begin(self, check_header: Callable[[Head], None]) -> None:
        """Read the header of CSV, and let `check_header` look at the columns of a file that says them."""
        try:
            self._rows = self._read(self._stream, check_header)
        except Unreadable as error:
            raise self._wrong(error) from None

    def rows(self) -> Iterator[Row | BadRow]:
        """Yield the rows after the header."""
        try:
            yield from self._rows
        except Unreadable as error:
            raise self._wrong(error) from None

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

    def _read(self, stream: BinaryIO, check_header: Callable[[Head], None]) -> Iterable[Row | BadRow]:
        source = self._source
        match source.format:
            case FileFormat.JSONL:
                return json_rows(stream, skip=source.skip_lines, encoding=source.encoding)
            case FileFormat.CSV:
                return self._csv(stream, check_header)
            case FileFormat.MBOX:
                self._check(Head(MAIL_FIELDS), check_header)
                return MailRows(stream, skip=source.skip_lines, encoding=source.encoding)
        rows = self._rows
        if isinstance(rows, AvroRows):
            self._check(Head(rows.header, rows.schema), check_header)
        return rows

    def _csv(self, stream: BinaryIO, check_header: Callable[[Head], None]) -> CsvRows:
        source = self._source
        rows = CsvRows(stream, delimiter=source.delimiter, skip=source.skip_lines, encoding=source.encoding)
        try:
            check_header(Head(rows.header))
        except UsageError as error:
            remedy = error.remedy
            if len(rows.header) == 1 and (other := next((d for d in ";\t|" if d in rows.header[0]), None)):
                remedy = f"The header has one column. Are the columns divided by {other!r}? Then add `--delimiter`"
            raise InputFileError(error.message, file=source.name, line=rows.header_line, remedy=remedy) from None
        return rows

    def _check(self, head: Head, check_header: Callable[[Head], None]) -> None:
        try:
            check_header(head)
        except UsageError as error:
            raise InputFileError(error.message, file=self._source.name, remedy=error.remedy) from None

    def _wrong(self, error: Unreadable) -> InputFileError:
        line = None if self._source.format == FileFormat.AVRO else error.line
        return InputFileError(str(error), file=self._source.name, line=line, remedy=error.remedy)
