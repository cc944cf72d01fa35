"""A mail as an event: its headers, its text and what is attached to it. Nothing attached is unpacked or kept."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from email.message import Message
from email.parser import BytesFeedParser
from email.policy import compat32
from typing import Any, BinaryIO

from eventmill.produce.html_text import html_text
from eventmill.produce.mail_text import BadText, Decoder, message_ids, sent_at
from eventmill.produce.mbox import RawMail, read_messages
from eventmill.produce.rows import BadRow, Row

MAX_PARTS = 1_000
"""Parts that a mail may have, at all depths together."""

_TEXT_OR_NULL = ["null", "string"]
_TEXTS = {"type": "array", "items": "string"}
_ATTACHMENT = {
    "type": "record",
    "name": "Attachment",
    "fields": [
        {"name": "name", "type": _TEXT_OR_NULL, "default": None, "doc": "As the sender called it."},
        {"name": "type", "type": "string", "doc": "Content type, such as application/pdf."},
        {"name": "bytes", "type": ["null", "long"], "default": None, "doc": "Null: a mail inside the mail."},
    ],
}
_FIELDS: tuple[dict[str, Any], ...] = (
    {"name": "id", "type": "string", "doc": "Message-ID without its brackets; without one, a hash of the mail."},
    {
        "name": "sent_at",
        "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}],
        "default": None,
        "doc": "The Date header; null: it is no date.",
    },
    {"name": "sender", "type": "string", "doc": "Address of the From header; empty where there is none."},
    {"name": "sender_name", "type": _TEXT_OR_NULL, "default": None, "doc": "The name beside it."},
    {"name": "recipients", "type": _TEXTS, "doc": "Addresses of the To headers."},
    {"name": "cc", "type": _TEXTS, "doc": "Addresses of the Cc headers."},
    {"name": "subject", "type": "string", "doc": "Empty where there is none."},
    {"name": "in_reply_to", "type": _TEXT_OR_NULL, "default": None, "doc": "The id of the mail that it answers."},
    {"name": "thread", "type": _TEXTS, "doc": "The ids in References, the oldest first."},
    {"name": "body", "type": "string", "doc": "The text; of a mail that has only HTML, what a reader of it sees."},
    {
        "name": "body_type",
        "type": {"type": "enum", "name": "BodyType", "symbols": ["PLAIN", "HTML", "NONE"]},
        "doc": "What the text was made of.",
    },
    {"name": "attachments", "type": {"type": "array", "items": _ATTACHMENT}, "doc": "What is attached, unopened."},
)
MAIL_SCHEMA: Mapping[str, Any] = {
    "type": "record",
    "name": "Mail",
    "namespace": "eventmill.mbox",
    "doc": "A mail of an mbox file.",
    "fields": list(_FIELDS),
}
"""The schema of mails where no other is given or registered."""

MAIL_FIELDS = tuple(str(field["name"]) for field in _FIELDS)


class _TooManyParts(Exception):
    pass


class MailRows:
    """The mails of an mbox file as rows, numbered from 1; `Row.values` has the fields of `MAIL_SCHEMA`, times as text.

    The first `skip` mails are passed over. `encoding`: see `Decoder`.
    """

    def __init__(self, stream: BinaryIO, *, skip: int = 0, encoding: str = "utf-8") -> None:
        self._messages = read_messages(stream)
        self._skip = skip
        self._decoder = Decoder(encoding)

    def __iter__(self) -> Iterator[Row | BadRow]:
        """Yield the mails. Raises Unreadable."""
        for message in self._messages:
            if message.number > self._skip:
                yield self._row(message)

    def _row(self, message: RawMail) -> Row | BadRow:
        number = message.number
        if message.data is None:
            return BadRow(number, number, message.problem, text_line=message.line)
        try:
            return Row(number, number, self._values(message.data), text_line=message.line)
        except BadText as error:
            return BadRow(number, number, str(error), _ENCODING, text_line=message.line)
        except RecursionError:
            reason = "its parts are nested too deep"
        except _TooManyParts:
            reason = f"it has more than {MAX_PARTS:,} parts"
        except Exception as error:   # noqa: BLE001 - email's parsers raise whatever their way through hostile bytes meets
            reason = f"it can't be read as a mail ({type(error).__name__}: {str(error)[:100]})"
        return BadRow(number, number, reason, text_line=message.line)

    def _values(self, data: bytes) -> dict[str, Any]:
        mail, decode = _parsed(data), self._decoder
        sender = next(iter(decode.addresses(_all(mail, "from"), "the From header")), None)
        ids = message_ids(_all(mail, "message-id")) or [f"sha256-{hashlib.sha256(data).hexdigest()[:32]}"]
        body = _Body(decode)
        body.read(mail)
        return {
            "id": ids[0],
            "sent_at": next(map(sent_at, _all(mail, "date")), None),
            "sender": "" if sender is None else sender.address,
            "sender_name": None if sender is None else sender.name,
            "recipients": [one.address for one in decode.addresses(_all(mail, "to"), "the To header")],
            "cc": [one.address for one in decode.addresses(_all(mail, "cc"), "the Cc header")],
            "subject": next((decode.header(text, "the Subject header") for text in _all(mail, "subject")), ""),
            "in_reply_to": next(iter(message_ids(_all(mail, "in-reply-to"))), None),
            "thread": message_ids(_all(mail, "references")),
            "body": body.text,
            "body_type": body.type,
            "attachments": body.attachments,
        }


class _Body:
    """The text of a mail, and what is attached."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._parts = 0
        self._texts: list[tuple[str, str]] = []
        self.attachments: list[dict[str, Any]] = []

    @property
    def text(self) -> str:
        """All texts, in their order."""
        return "\n\n".join(text for _, text in self._texts if text)

    @property
    def type(self) -> str:
        """PLAIN where any text is, HTML where all are made of it, NONE where there is none."""
        kinds = {kind for kind, text in self._texts if text.strip()}
        return "PLAIN" if "PLAIN" in kinds else "HTML" if kinds else "NONE"

    def read(self, part: "Message[str, str]") -> None:
        """Take in a part and those inside it; of alternatives the plain text, else what there is."""
        self._parts += 1
        content = part.get_payload()
        if part.get_content_maintype() == "message" or not isinstance(content, list):
            self._leaf(part)
        elif part.get_content_subtype() == "alternative":
            before = self._texts
            self._texts = []
            self._read_all(content)
            seen = [entry for entry in self._texts if entry[1].strip()]
            plain = [entry for entry in seen if entry[0] == "PLAIN"]
            self._texts = before + (plain or seen)
        else:
            self._read_all(content)

    def _read_all(self, parts: Sequence[object]) -> None:
        for inner in parts:
            if isinstance(inner, Message):
                self.read(inner)

    def _leaf(self, part: "Message[str, str]") -> None:
        kind = part.get_content_type()
        filename = part.get_filename()
        is_text = kind in {"text/plain", "text/html"} and not filename
        if not is_text or part.get_content_disposition() == "attachment":
            self._attached(part, kind, filename)
            return
        data = part.get_payload(decode=True)
        what = "the text" if self._parts == 1 else f"part {self._parts}"
        text = self._decoder.text(data if isinstance(data, bytes) else b"", part.get_content_charset(), what)
        text = text.replace("\r\n", "\n")
        self._texts.append(("HTML", html_text(text)) if kind == "text/html" else ("PLAIN", text.strip("\n")))

    def _attached(self, part: "Message[str, str]", kind: str, filename: str | None) -> None:
        name = None if filename is None else self._decoder.header(filename, f"the name of part {self._parts}")
        payload = part.get_payload()
        size = _size(payload, str(part.get("Content-Transfer-Encoding", ""))) if isinstance(payload, str) else None
        self.attachments.append({"name": name, "type": kind, "bytes": size})


def _parsed(data: bytes) -> "Message[str, str]":
    """Parse a mail. Raises _TooManyParts, RecursionError, and what the library lets pass."""
    count = 0

    def part(*_: object, **__: object) -> "Message[str, str]":
        nonlocal count
        count += 1
        if count > MAX_PARTS:
            raise _TooManyParts
        return Message(policy=compat32)

    parser: BytesFeedParser[Message[str, str]] = BytesFeedParser(part, policy=compat32)
    parser.feed(data)
    return parser.close()


def _all(mail: "Message[str, str]", name: str) -> list[str]:
    """Return the headers of a name as they stand in the mail; bytes that are not ASCII are surrogates."""
    return [str(value) for header, value in mail.raw_items() if header.lower() == name]


def _size(payload: str, encoding: str) -> int:
    """Return how many bytes an attachment has, told by its text: nothing is decoded for it."""
    if encoding.strip().lower() != "base64":
        return len(payload)
    letters = len(payload) - sum(map(payload.count, " \t\r\n"))
    return max(0, letters * 3 // 4 - payload[-4:].count("="))


_ENCODING = "`--encoding cp1252` reads such text in another encoding"
