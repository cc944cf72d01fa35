"""Rows of JSON lines and CSV, good and hostile (case 99)."""

import csv
import json
from contextlib import suppress
from io import BytesIO, StringIO

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from eventmill.produce.lines import Unreadable
from eventmill.produce.rows import BadRow, CsvRows, Row, json_rows

CELL = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12)
NAME = CELL.filter(lambda name: not name.startswith("\ufeff"))


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    """Give a header and rows that differ from it."""
    header = draw(st.lists(NAME, min_size=1, max_size=4, unique=True))
    size = len(header)
    rows = draw(st.lists(st.lists(CELL, min_size=size, max_size=size).filter(lambda row: row != header), max_size=6))
    return header, rows


def written(header: list[str], rows: list[list[str]], delimiter: str = ",") -> bytes:
    """Write CSV as the standard library does."""
    text = StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([header, *rows])
    return text.getvalue().encode()


@given(tables(), st.sampled_from([",", ";", "\t"]))
def test_csv_reads_what_was_written(table: tuple[list[str], list[list[str]]], delimiter: str) -> None:
    """Values with quotes, delimiters and line ends of every kind come back unchanged, with the lines they stand in."""
    header, rows = table
    data = written(header, rows, delimiter)
    found = CsvRows(BytesIO(data), delimiter=delimiter)
    assert list(found.header) == header
    result = list(found)
    expected = [dict(zip(header, row, strict=True)) for row in rows]
    assert [row.values for row in result if isinstance(row, Row)] == expected
    lines = data.split(b"\n")
    for row, text in zip(result, rows, strict=True):
        spoken = b"\n".join(lines[row.line - 1 : row.last_line])
        assert spoken.count(b"\n") == "".join(text).count("\n")


@given(tables(), st.data())
def test_csv_goes_on_after_any_row(table: tuple[list[str], list[list[str]]], data: st.DataObject) -> None:
    """Skipping the lines up to a row's last one gives the rows after it, and only those."""
    header, rows = table
    assume(rows)
    content = written(header, rows)
    whole = list(CsvRows(BytesIO(content)))
    at = data.draw(st.integers(0, len(whole) - 1))
    assert list(CsvRows(BytesIO(content), skip=whole[at].last_line)) == whole[at + 1 :]


@given(st.lists(st.dictionaries(CELL, CELL | st.integers() | st.none(), max_size=3), max_size=6), st.integers(0, 8))
def test_json_lines_read_what_was_written(events: list[dict[str, object]], skip: int) -> None:
    """Every line after the skipped ones is its object, and keeps its bytes."""
    lines = [json.dumps(event, ensure_ascii=False).encode() for event in events]
    found = list(json_rows(BytesIO(b"\n".join(lines)), skip=skip))
    expected = [Row(n, n, event, line) for n, (event, line) in enumerate(zip(events, lines, strict=True), start=1)]
    assert found == expected[skip:]


@given(st.binary(max_size=200), st.sampled_from(["utf-8", "cp1252"]))
def test_no_bytes_stop_the_reading(data: bytes, encoding: str) -> None:
    """Any bytes give rows, bad rows with a place and a reason, or one clear refusal; never another exception."""
    with suppress(Unreadable):
        for row in [*json_rows(BytesIO(data), encoding=encoding), *CsvRows(BytesIO(data), encoding=encoding)]:
            assert 1 <= row.line <= row.last_line
            assert isinstance(row, Row) or row.reason


def csv_of(text: bytes, limit: int = 100) -> list[Row | BadRow]:
    """Read CSV under the header id,text."""
    return list(CsvRows(BytesIO(b"id,text\n" + text), limit=limit))


@pytest.mark.parametrize(
    ("text", "reason", "last_line"),
    [
        (b"1\n", "the row has 1 value, the header 2 columns", 2),
        (b"1,a,b\n", "the row has 3 values, the header 2 columns", 2),
        (b"id,text\n", "the header is repeated", 2),
        (b"1,a\0b\n", "the row has a NUL character", 2),
        (b"1,caf\xe9\n", "byte 0xe9 at 6 of the line is not utf-8", 2),
        (b'1,"a"b\n', "the row is not CSV: ',' expected after '\"'", 2),
        (b"1,a\rb\n", "there is a carriage return in the line", 2),
        (b'1,"a\nb"c\n', "a quoted value begins here and is not well ended in line 3", 3),
        (b'1,"a\n\xff\nc"\n', "byte 0xff at 1 of the line is not utf-8", 4),
    ],
)
def test_case_99_a_bad_row_is_told_and_the_next_one_read(text: bytes, reason: str, last_line: int) -> None:
    """With the lines it takes, and without losing what stands after it."""
    bad, good = csv_of(text + b"7,after\n")
    assert isinstance(bad, BadRow)
    assert (bad.line, bad.last_line, bad.reason, bad.final) == (2, last_line, reason, False)
    assert good == Row(last_line + 1, last_line + 1, {"id": "7", "text": "after"})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'1,"open\n2,b\n', "a quoted value begins here and does not end before the file does"),
        (b'1,"' + b"\n" * 100 + b"2,b\n", "a quoted value begins here and does not end within 100 bytes"),
        (b"1," + b"x" * 100 + b"\n2,b\n", "the line is longer than 100 bytes"),
    ],
)
def test_case_99_where_the_next_row_is_not_known_reading_ends(text: bytes, reason: str) -> None:
    """An unclosed quote may have eaten rows: none is guessed after it."""
    found = csv_of(b"0,first\n" + text)
    assert found[0] == Row(2, 2, {"id": "0", "text": "first"})
    assert len(found) == 2
    bad = found[1]
    assert isinstance(bad, BadRow)
    assert (bad.line, bad.reason, bad.final) == (3, reason, True)


def test_case_99_ten_thousand_columns_are_columns() -> None:
    """Width is bounded by the length of a line and by nothing else."""
    names = [f"c{number}" for number in range(10_000)]
    (row,) = CsvRows(BytesIO(written(names, [["v"] * 10_000])))
    assert isinstance(row, Row)
    assert len(row.values) == 10_000


def test_case_99_formulas_are_text() -> None:
    """What a spreadsheet would run is passed on as it stands: only what the schema says is text, is."""
    (row,) = csv_of(b"1,\"=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\"\n")
    assert isinstance(row, Row)
    assert row.values["text"] == '=HYPERLINK("http://x","y")'


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (b'"id\n1\n', "a quoted value begins here"),
        (b"caf\xe9\n", "byte 0xe9 at 4 of the line is not utf-8"),
    ],
)
def test_case_99_a_file_without_a_header_is_refused(data: bytes, reason: str) -> None:
    """At once, before any row."""
    with pytest.raises(Unreadable, match=reason):
        CsvRows(BytesIO(data))


@pytest.mark.parametrize(
    ("line", "reason", "remedy"),
    [
        (b"nonsense", "the line is not a JSON event: expecting value (column 1)", None),
        (b'{"a":1,"a":2}', "the line is not a JSON event: the name 'a' is there twice (column 8)", None),
        (b"[1]", "the line is not a JSON event: it is an array, an event is an object", "jq -c '.[]'"),
        (b"{", "the line is not a JSON event: expecting property name enclosed in double quotes (column 2)", "jq -c ."),
        (b'{"a":"\xff"}', "the line is not a JSON event: byte 0xff at 6 is not UTF-8", "--encoding"),
        (b'{"a":"' + b"x" * 200 + b'"}', "the line is longer than 100 bytes", None),
    ],
)
def test_a_bad_json_line_is_told_and_the_next_one_read(line: bytes, reason: str, remedy: str | None) -> None:
    """With what to do where that can be told."""
    bad, good = json_rows(BytesIO(line + b'\n\n{"a":2}\n'), limit=100)
    assert isinstance(bad, BadRow)
    assert (bad.line, bad.reason) == (1, reason)
    assert bad.remedy is None if remedy is None else remedy in (bad.remedy or "")
    assert good == Row(3, 3, {"a": 2}, b'{"a":2}')


def test_another_encoding_is_read_as_such() -> None:
    """The same bytes are text in the encoding that is named, and a row keeps UTF-8."""
    (row,) = json_rows(BytesIO('{"a":"caf\u00e9"}'.encode("cp1252")), encoding="cp1252")
    assert isinstance(row, Row)
    assert (row.values, row.raw) == ({"a": "caf\u00e9"}, '{"a":"caf\u00e9"}'.encode())
    (bad,) = json_rows(BytesIO(b'{"a":"\x81"}'), encoding="cp1252")
    assert isinstance(bad, BadRow)
    assert "0x81" in bad.reason
