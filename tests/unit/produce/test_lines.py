"""Lines of a stream: what is read is what was written, within a bound, whatever the bytes."""

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill.produce.lines import Line, Unreadable, checked_encoding, read_lines
from eventmill_schemas.errors import UsageError

CONTENT = st.binary(max_size=30).map(lambda data: data.replace(b"\n", b"").rstrip(b"\r"))
ENDS = st.sampled_from([b"\n", b"\r\n"])


@given(st.lists(st.tuples(CONTENT, ENDS), max_size=8), CONTENT, st.integers(1, 40))
def test_lines_are_numbered_whole_and_bounded(lines: list[tuple[bytes, bytes]], rest: bytes, limit: int) -> None:
    """Every line comes once, with its number and its end; exactly those above the limit come without their bytes."""
    data = b"".join(content + end for content, end in lines) + rest
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return   # a byte order mark: tested below
    expected = [*lines, *([(rest, b"")] if rest else [])]
    found = list(read_lines(BytesIO(data), limit))
    assert found == [
        Line(number, content, end) if len(content) <= limit else Line(number, None)
        for number, (content, end) in enumerate(expected, start=1)
    ]


class Counting(BytesIO):
    """A stream that knows how much was asked of it at once."""

    most = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        """Read, and remember the size."""
        assert size is not None
        assert size >= 0, "a line of unknown length is read whole"
        self.most = max(self.most, size)
        return super().readline(size)


def test_a_line_of_any_length_takes_no_more_memory_than_the_limit() -> None:
    """A file without a line end is read in pieces (case 99), and the lines after a long one are there."""
    stream = Counting(b"x" * 100_000 + b"\nshort\n")
    assert list(read_lines(stream, 1_000)) == [Line(1, None), Line(2, b"short", b"\n")]
    assert stream.most <= 1_002


def test_a_byte_order_mark_is_no_content() -> None:
    """As spreadsheets write it, at the file's start only."""
    found = list(read_lines(BytesIO(b"\xef\xbb\xbfid\n\xef\xbb\xbfx\n")))
    assert [line.data for line in found] == [b"id", b"\xef\xbb\xbfx"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_is_named_as_such(encoding: str) -> None:
    """Not as thousands of lines with NUL characters."""
    with pytest.raises(Unreadable, match="UTF-16") as caught:
        list(read_lines(BytesIO("\ufeffid,text\n".encode(encoding))))
    assert "iconv" in (caught.value.remedy or "")


@pytest.mark.parametrize(("name", "known"), [("UTF8", "utf-8"), ("latin-1", "iso8859-1"), ("cp1252", "cp1252")])
def test_encodings_have_one_name(name: str, known: str) -> None:
    """However the user writes it."""
    assert checked_encoding(name) == known


@pytest.mark.parametrize("name", ["nix", "utf-16", "cp037", "rot13", "hex", ""])
def test_what_has_no_lines_is_refused(name: str) -> None:
    """Unknown encodings, those of another line end, and what is no text encoding at all."""
    with pytest.raises(UsageError):
        checked_encoding(name)
