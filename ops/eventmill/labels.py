"""Files of labelled texts: CSV with a column of texts and a column of their labels."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from eventmill.produce.lines import Unreadable
from eventmill.produce.rows import BadRow, CsvRows
from eventmill_schemas.errors import InputFileError

_ENCODINGS = (
    (b"\xff\xfe", "UTF-16"),   # byte order marks
    (b"\xfe\xff", "UTF-16"),
)


@dataclass(frozen=True, slots=True)
class LabelledTexts:
    """Texts and, at the same place, the label of each. No text and no label is empty."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]


def read_labelled(path: Path, *, text_column: str = "text", label_column: str = "label") -> LabelledTexts:
    """Read labelled texts from a CSV file (RFC 4180, UTF-8), white space around them left out.

    Other columns are passed over. There are at least two labels, and at least two different texts for each of them.
    Raises InputFileError with the line for what is not so, and where a row can't be read.
    """
    name = str(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputFileError(f"the file can't be read: {error.strerror or error}", file=name) from None
    _check_encoding(content, name)
    try:
        rows = CsvRows(BytesIO(content))
    except Unreadable as error:
        raise InputFileError(str(error), file=name, line=error.line, remedy=error.remedy) from None
    _check_header(rows, name, text_column, label_column)

    texts: list[str] = []
    labels: list[str] = []
    lines: list[int] = []
    for row in rows:
        if isinstance(row, BadRow):
            remedy = row.remedy or ("Put texts that hold a comma in quotes" if "columns" in row.reason else None)
            raise InputFileError(row.reason, file=name, line=row.line, remedy=remedy)
        for column, values in ((text_column, texts), (label_column, labels)):
            value = row.values[column].strip()
            if not value:
                reason = f"the column {column!r} is empty"
                raise InputFileError(reason, file=name, line=row.line, remedy="Fill it in, or take out the row")
            values.append(value)
        lines.append(row.line)
    _check_classes(texts, labels, lines, name)
    return LabelledTexts(tuple(texts), tuple(labels))


def _check_encoding(content: bytes, name: str) -> None:
    for mark, encoding in _ENCODINGS:
        if content.startswith(mark):
            raise InputFileError(f"the file is {encoding}, not UTF-8", file=name, line=1, remedy=_recode(encoding))
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        at = error.start - (content.rfind(b"\n", 0, error.start) + 1)
        reason = f"byte 0x{content[error.start]:02x} at {at + 1} of the line is not UTF-8"
        raise InputFileError(reason, file=name, line=line, remedy=_recode("CP1252")) from None


def _recode(encoding: str) -> str:
    return f"Save the file as UTF-8, or convert it: `iconv -f {encoding} -t UTF-8 FILE`"


def _check_header(rows: CsvRows, name: str, text_column: str, label_column: str) -> None:
    header = rows.header
    for column, option in ((text_column, "--text-column"), (label_column, "--label-column")):
        if header.count(column) > 1:
            raise InputFileError(f"the column {column!r} is there twice", file=name, line=rows.header_line)
        if column not in header:
            raise InputFileError(
                f"there is no column {column!r}", file=name, line=rows.header_line, remedy=_which(header, option)
            )
    if text_column == label_column:
        raise InputFileError(f"texts and labels can't both be in {text_column!r}", file=name, line=rows.header_line)


def _which(header: Sequence[str], option: str) -> str:
    for separator, word in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and separator in header[0]:
            return f"The columns seem to be parted by {word}: save the file with commas"
    return f"The file has {', '.join(repr(column) for column in header)}: name yours with `{option}`"


def _check_classes(texts: Sequence[str], labels: Sequence[str], lines: Sequence[int], name: str) -> None:
    if not texts:
        raise InputFileError("there is no text below the header", file=name, line=1)
    places: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for text, label, line in zip(texts, labels, lines, strict=True):
        places[label].setdefault(text, line)
    if len(places) == 1:
        raise InputFileError(
            f"all texts have the label {labels[0]!r}", file=name, line=lines[0],
            remedy="A classifier needs texts of at least two labels",
        )
    for label, found in places.items():
        if len(found) == 1:
            raise InputFileError(
                f"this is the only text with the label {label!r}", file=name, line=next(iter(found.values())),
                remedy="Give at least two different texts for each label, better twenty",
            )
