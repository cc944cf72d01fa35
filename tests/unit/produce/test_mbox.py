"""Mails of mbox files: each message whole, as its sender meant it, or named with what is wrong (case 99)."""

import base64
import mailbox
import re
import tracemalloc
from email.message import EmailMessage
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventmill.produce.html_text import html_text
from eventmill.produce.lines import Unreadable
from eventmill.produce.mail import MAIL_FIELDS, MAX_PARTS, MailRows
from eventmill.produce.mbox import RawMail, read_messages
from eventmill.produce.options import Options
from eventmill.produce.prepare import Plan
from eventmill.produce.rows import BadRow, Row
from eventmill.produce.schema import WriterSchema
from eventmill.produce.source import Reader, file_source
from eventmill_schemas.codec import AvroReader, frame
from eventmill_schemas.result_schema import schema_text

FROM = b"From ada@example.com Mon Sep 14 06:12:40 2026\n"


def mbox(*mails: bytes) -> bytes:
    """Put mails into one file."""
    return b"\n".join(FROM + mail.rstrip(b"\n") + b"\n" for mail in mails)


def rows(data: bytes, encoding: str = "utf-8") -> list[Row | BadRow]:
    """Read a file."""
    return list(MailRows(BytesIO(data), encoding=encoding))


def one(mail: bytes, encoding: str = "utf-8") -> dict[str, Any]:
    """Read a file of one mail that is good."""
    (row,) = rows(mbox(mail), encoding)
    assert isinstance(row, Row), row
    return row.values


def bad(mail: bytes) -> BadRow:
    """Read a file of a mail that is not, between two that are."""
    first, row, last = rows(mbox(b"Subject: a\n\nx", mail, b"Subject: b\n\ny"))
    assert isinstance(first, Row)
    assert isinstance(last, Row)
    assert isinstance(row, BadRow), row
    assert (row.line, row.text_line) == (2, 6)
    return row


def test_a_plain_mail_has_its_fields() -> None:
    """Folded headers, addresses with names, a time with its offset."""
    values = one(
        b"From: Ada Lovelace <ada@example.com>\r\nTo: help@acme.example,\r\n Ben <ben@acme.example>\r\n"
        b"Cc: c@x.example\r\n"
        b"Date: Mon, 14 Sep 2026 06:12:40 +0200\r\nMessage-ID: <m1@example.com>\r\nIn-Reply-To: <m0@acme.example>\r\n"
        b"References: <r@acme.example>\r\n <m0@acme.example>\r\nSubject: The lamp\r\n  is broken\r\n"
        b"\r\nHello,\r\nplease help.\r\n"
    )
    assert values == {
        "id": "m1@example.com",
        "sent_at": "2026-09-14T06:12:40+02:00",
        "sender": "ada@example.com",
        "sender_name": "Ada Lovelace",
        "recipients": ["help@acme.example", "ben@acme.example"],
        "cc": ["c@x.example"],
        "subject": "The lamp is broken",
        "in_reply_to": "m0@acme.example",
        "thread": ["r@acme.example", "m0@acme.example"],
        "body": "Hello,\nplease help.",
        "body_type": "PLAIN",
        "attachments": [],
    }
    assert tuple(values) == MAIL_FIELDS


def test_a_mail_without_anything_is_one_too() -> None:
    """Its id is a hash of its bytes: the same at every run."""
    first, again, other = one(b"X-Nothing: 1\n\n"), one(b"X-Nothing: 1\n\n"), one(b"X-Nothing: 2\n\n")
    assert first["id"].startswith("sha256-")
    assert first == again
    assert first["id"] != other["id"]
    assert (first["sender"], first["body"], first["body_type"], first["sent_at"]) == ("", "", "NONE", None)


LINE = st.sampled_from([b"", b"From here on.", b">From me", b">>From me", b"text", b"Name: x", b"=20=", b"\xe9"])


@given(st.lists(st.lists(LINE, max_size=6), min_size=1, max_size=4), st.booleans())
def test_messages_are_what_a_mailbox_writer_wrote(bodies: list[list[bytes]], crlf: bool) -> None:
    """Quoted `>From ` loses its mark, and `From ` in a text is text."""
    heads = [b"Subject: %d\n\n" % number for number in range(len(bodies))]
    mails = [head + b"\n".join(body) for head, body in zip(heads, bodies, strict=True)]
    data = b"".join(FROM + re.sub(rb"^(>*From )", rb">\1", mail, flags=re.MULTILINE) + b"\n\n" for mail in mails)
    end = b"\r\n" if crlf else b"\n"
    found = list(read_messages(BytesIO(data.replace(b"\n", end))))
    assert [m.number for m in found] == list(range(1, len(mails) + 1))
    assert [m.data.rstrip(b"\r\n") for m in found if m.data is not None] == [
        mail.rstrip(b"\n").replace(b"\n", end) for mail in mails
    ]
    assert [data.split(b"\n")[m.line - 1] + b"\n" for m in found] == [FROM] * len(mails)


def test_files_of_pythons_mailbox_are_read(tmp_path: Path) -> None:
    """Another writer's separators and quoting."""
    box = mailbox.mbox(tmp_path / "a.mbox")
    for number in range(5):
        made = EmailMessage()
        made["Subject"] = f"Größe {number}"
        made["From"] = "Jürgen <j@example.com>"
        made.set_content("From the top:\n\nFrom now on, at 12:30 in 2026\n")
        box.add(made)
    box.close()
    found = rows((tmp_path / "a.mbox").read_bytes())
    assert [row.values["subject"] for row in found if isinstance(row, Row)] == [f"Größe {n}" for n in range(5)]
    assert {row.values["body"] for row in found if isinstance(row, Row)} == {
        "From the top:\n\nFrom now on, at 12:30 in 2026"
    }
    assert {row.values["sender_name"] for row in found if isinstance(row, Row)} == {"Jürgen"}


def test_case_99_from_inside_a_body_begins_no_message() -> None:
    """Neither without an empty line before it, nor without a time in it, nor where no header follows."""
    body = (
        b"Subject: a\n\nHi.\nFrom ada@example.com Mon Sep 14 06:12:40 2026\nName: x\n\n"
        b"From what I know\nName: y\n\nFrom ada@example.com Mon Sep 14 06:12:40 2026\nis a line of a log.\n"
    )
    (row,) = rows(mbox(body))
    assert isinstance(row, Row)
    assert row.values["body"].endswith("is a line of a log.")
    assert row.values["body"].count("From ") == 3


def test_case_99_content_length_is_not_believed() -> None:
    """Neither too large nor too small a one moves the end of a message."""
    found = rows(mbox(b"Content-Length: 99999\nSubject: a\n\nx", b"Content-Length: 1\nSubject: b\n\nlong text"))
    assert [row.values["body"] for row in found if isinstance(row, Row)] == ["x", "long text"]


def test_case_99_parts_without_end_are_refused() -> None:
    """Nested a thousand deep, or thousands beside each other: the mail is named, the next one is read."""
    deep = b"Subject: deep\n" + b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(1_000)
    )
    assert "nested too deep" in bad(deep + b"\nx").reason
    wide = b'Content-Type: multipart/mixed; boundary="b"\n\n' + b"--b\n\nx\n" * 5_000 + b"--b--\n"
    assert f"more than {MAX_PARTS:,} parts" in bad(wide).reason


def test_case_99_an_attachment_is_never_unpacked() -> None:
    """A mail with a packed file costs what its bytes cost; its name, type and size are told."""
    packed = base64.encodebytes(bytes(300_000))
    mail = (
        b'Content-Type: multipart/mixed; boundary="b"\n\n--b\n\nsee file\n--b\nContent-Type: application/zip\n'
        b'Content-Disposition: attachment; filename="bomb.zip"\nContent-Transfer-Encoding: base64\n\n'
        + packed
        + b"--b--\n"
    )
    values = one(mail)
    assert values["attachments"] == [{"name": "bomb.zip", "type": "application/zip", "bytes": 300_000}]
    assert values["body"] == "see file"


@pytest.mark.parametrize(
    ("mail", "told"),
    [
        (b"Content-Type: text/plain; charset=utf-8\n\ncaf\xe9\n", "byte 0xe9 at 4 of the text is not utf-8"),
        (b"Content-Type: text/plain; charset=x-klingon\n\ncaf\xe9\n", "the unknown charset 'x-klingon'"),
        (b"Content-Type: text/plain; charset=hex\n\ncaf\xe9\n", "the unknown charset 'hex'"),
        (b"Subject: caf\xe9\n\nx\n", "byte 0xe9 at 4 of the Subject header is not utf-8"),
        (b"Subject: =?utf-8?q?caf=E9?=\n\nx\n", "of the Subject header is not utf-8"),
        (b"From: =?utf-8?b?6Q==?= <a@x.example>\n\nx\n", "of the From header is not utf-8"),
    ],
)
def test_case_99_a_wrong_charset_is_told_and_can_be_overruled(mail: bytes, told: str) -> None:
    """Nothing is replaced without a word; `--encoding` reads it."""
    found = bad(mail)
    assert told in found.reason
    assert "--encoding" in (found.remedy or "")
    values = one(mail, "cp1252")
    assert "é" in f"{values['subject']}{values['body']}{values['sender_name']}"


def test_case_99_a_mail_above_the_limits_is_passed_over() -> None:
    """In bytes or in lines; no more than one mail is held, and what follows is read."""
    last = mbox(b"Subject: d\n\nz")
    data = mbox(b"Subject: a\n\nx", b"Subject: b\n\n" + b"y" * 5_000, b"Subject: c\n\n" + b"y\n" * 80)
    found = list(read_messages(BytesIO(data + b"\n" + last), limit=1_000, max_lines=50))
    assert [m.data is None for m in found] == [False, True, True, False]
    assert found[1] == RawMail(2, 6, None, "the message is longer than 1,000 bytes")
    assert found[2].problem == "the message has more than 50 lines"


def test_a_large_file_takes_little_memory() -> None:
    """A stream of a thousand mails of 100 KB: far less than all of them is held."""

    class Endless(BytesIO):
        def __init__(self) -> None:
            self._mail = FROM + b"Subject: a\n\n" + b"0123456789abcdef " * 6_000 + b"\n\n"
            self._left = 1_000
            super().__init__(self._mail)

        def readline(self, size: int | None = -1, /) -> bytes:
            line = super().readline(size)
            if line or not self._left:
                return line
            self._left -= 1
            self.seek(0)
            return super().readline(size)

    tracemalloc.start()
    count = sum(1 for _ in read_messages(Endless()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 1_001
    assert peak < 5_000_000


@pytest.mark.parametrize("data", [b"Subject: a\n\nx\n", b"\x00\x01", b"id,text\n1,2\n"])
def test_a_file_that_is_no_mbox_is_told(data: bytes) -> None:
    """Before anything of it is taken for a mail."""
    with pytest.raises(Unreadable, match="no mbox"):
        rows(data)
    assert rows(b"\n\n") == []


def test_separators_without_a_time_divide_too() -> None:
    """Where the first one has none."""
    found = rows(b"From nobody\nSubject: a\n\nx\n\nFrom nobody\nSubject: b\n\ny\n")
    assert [row.values["subject"] for row in found if isinstance(row, Row)] == ["a", "b"]


ALTERNATIVE = (
    b'Content-Type: multipart/alternative; boundary="b"\n\n--b\nContent-Type: text/plain\n\nwords\n'
    b"--b\nContent-Type: text/html\n\n<p>markup</p>\n--b--\n"
)


def test_of_alternatives_the_plain_text_is_taken() -> None:
    """HTML where the plain one is empty, and where there is no other."""
    assert (one(ALTERNATIVE)["body"], one(ALTERNATIVE)["body_type"]) == ("words", "PLAIN")
    empty = ALTERNATIVE.replace(b"words", b" ")
    assert (one(empty)["body"].strip(), one(empty)["body_type"]) == ("markup", "HTML")
    only = one(b"Content-Type: text/html; charset=utf-8\n\n<html><body>Hi&nbsp;<b>there</b><br>you</body></html>")
    assert (only["body"], only["body_type"]) == ("Hi there\nyou", "HTML")


def test_parts_are_read_in_their_order_and_attachments_are_named() -> None:
    """Texts one after the other; encoded names; a mail inside the mail stays closed."""
    made = EmailMessage()
    made["Subject"] = "Rechnung für März"
    made.set_content("Siehe Anhang.\n")
    made.add_attachment(b"%PDF" * 10, maintype="application", subtype="pdf", filename="Rechnung März.pdf")
    made.add_attachment("a;b\n", subtype="csv", filename="a.csv")
    inner = EmailMessage()
    inner["Subject"] = "inside"
    inner.set_content("not to be seen")
    made.add_attachment(inner)
    values = one(made.as_bytes())
    assert (values["subject"], values["body"]) == ("Rechnung für März", "Siehe Anhang.")
    assert [(a["name"], a["type"]) for a in values["attachments"]] == [
        ("Rechnung März.pdf", "application/pdf"),
        ("a.csv", "text/csv"),
        (None, "message/rfc822"),
    ]
    assert [a["bytes"] for a in values["attachments"]][::2] == [40, None]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"=?utf-8?q?Gr=C3=B6=C3=9Fe?=", "Größe"),
        (b"=?utf-8?b?R3LDtg==?= =?utf-8?b?w59l?=", "Größe"),
        (b"=?utf-8?q?Gr=C3?=\n =?utf-8?q?=B6=C3=9Fe?=", "Größe"),
        (b"=?iso-8859-1?q?Gr=F6=DFe?= =?utf-8?q?_=E2=82=AC?=", "Größe €"),
        ("Größe".encode(), "Größe"),
        (b"=?utf-8?x?abc?=", "=?utf-8?x?abc?="),
        (b"", ""),
    ],
)
def test_encoded_headers_are_text(header: bytes, expected: str) -> None:
    """Also where a character is divided between two words; what is no encoded word stands as it is."""
    assert one(b"Subject: " + header + b"\n\nx")["subject"] == expected


@settings(max_examples=150)
@given(st.binary(max_size=300))
def test_no_bytes_stop_the_reading(data: bytes) -> None:
    """Any mail is one, or is named with a reason; the next one is there in any case."""
    found = rows(FROM + data + b"\n\n" + mbox(b"Subject: last\n\nx"))
    assert isinstance(found[-1], Row)
    assert found[-1].values["subject"] == "last"
    assert all(isinstance(row, Row) or row.reason for row in found)


def test_mails_fit_their_schema_and_a_users(tmp_path: Path) -> None:
    """Ours takes all fields; another one takes what it names, times as its types say."""
    file = tmp_path / "a.mbox"
    head = b"From: a@x.example\nDate: Mon, 14 Sep 2026 06:12:40 +0200\nMessage-ID: <1@x>\nSubject: s\n\n"
    file.write_bytes(mbox(head + b"x"))
    reader = Reader(source := file_source(str(file)))
    reader.open()
    own = reader.own_schema
    reader.close()
    assert own is not None
    theirs = {
        "type": "record",
        "name": "Ticket",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "from", "type": "string"},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        ],
    }
    mapped = file_source(str(file), mapping={"from": "sender", "at": "sent_at"})
    for chosen, avro in ((source, own), (mapped, theirs)):
        reader = Reader(chosen)
        reader.open()
        plan = Plan(chosen, Options(key="id"), avro)
        reader.begin(plan.check_header)
        encoder = plan.encoder("mails", WriterSchema(7, schema_text(avro), avro))
        (row,) = reader.rows()
        assert isinstance(row, Row)
        record = encoder.encode(row)
        assert record.key == b"1@x"
        fields = AvroReader(schema_text(avro)).decode(frame(record.value)[1])
        assert (fields.get("sent_at") or fields["at"]).isoformat() == "2026-09-14T04:12:40+00:00"
        reader.close()


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>One</p><p>Two</p>", "One\n\nTwo"),
        ("a<br/>b<br>c", "a\nb\nc"),
        ("<style>p {}</style><script>x < y</script>text<!-- <p>no</p> -->", "text"),
        ("1 < 2 &amp; 3 &gt; 2", "1 < 2 & 3 > 2"),
        ("<ul><li>a<li>b</ul>", "a\nb"),
        ("<table><tr><td>a</td><td>b</td></tr></table>", "a b"),
        ("<div>x<!-- never closed <p>y", "x"),
        ("x<a href=", "x"),
        ("<!DOCTYPE html><?xml?>x", "x"),
        ("no markup", "no markup"),
    ],
)
def test_html_is_read_as_a_person_would(markup: str, text: str) -> None:
    """Blocks are lines; what is not seen is left out."""
    assert html_text(markup) == text


@given(st.text("<>!-/ab &;\"'", max_size=200))
def test_any_markup_has_a_text(markup: str) -> None:
    """Whatever is opened and never closed."""
    assert isinstance(html_text(markup), str)


@pytest.mark.parametrize("piece", ["<", "<!--", "<a ", "&", "</", "<script>", "<a <b ", "<style></sty", "-->"])
def test_html_takes_time_in_proportion_to_its_length(piece: str) -> None:
    """A mail of markup that never closes costs no more than other mails; a quadratic reader would take hours."""
    html_text(piece * (400_000 // len(piece)))
