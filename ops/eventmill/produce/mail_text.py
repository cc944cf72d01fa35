"""Text of mails: charsets as declared, else as told; encoded words of headers; addresses and times."""

import binascii
import codecs
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header
from email.utils import getaddresses, parsedate_to_datetime
from typing import NamedTuple

# Text only in name: their decoders are slow, or make other text of what any mail holds.
_NOT_FOR_MAIL = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "unicode-escape"})
_MESSAGE_ID = re.compile(r"<([^<>\s]+)>")
_FOLD = re.compile(r"[ \t]*\r?\n[ \t]*")


class BadText(Exception):
    """Bytes that are no text in any charset that was told; the text says where."""


class Address(NamedTuple):
    """An address, and the name written beside it."""

    address: str
    name: str | None


class Decoder:
    """Turns what a mail holds into text. `fallback`: for text that declares no charset, an unknown one, or a wrong one.

    Nothing is replaced: bytes that neither charset has are BadText.
    """

    def __init__(self, fallback: str) -> None:
        self._fallback = fallback

    def text(self, data: bytes, charset: str | None, what: str) -> str:
        """Decode a text. Raises BadText, naming `what` it is."""
        declared = None if charset is None else _codec(charset)
        for encoding in dict.fromkeys(name for name in (declared, self._fallback) if name is not None):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError as error:
                problem = f"byte 0x{data[error.start]:02x} at {error.start + 1:,} of {what} is not {encoding}"
        if charset is not None and declared is None:
            problem = f"{what} has the unknown charset {charset[:40]!r}, and {problem}"
        raise BadText(problem)

    def header(self, value: object, what: str) -> str:
        """Decode a header's value, encoded words (RFC 2047) among it. Raises BadText."""
        raw = _FOLD.sub(" ", str(value)).strip()
        plain = self.text(raw.encode("utf-8", "surrogateescape"), None, what)
        if "=?" not in plain:
            return plain
        try:
            chunks = decode_header(plain)
        except (HeaderParseError, binascii.Error, ValueError):   # an encoded word that is none: as it stands
            return plain
        # Neighbours of one charset are one text: a character may be divided between them.
        found: list[tuple[bytes, str | None]] = []
        for data, charset in chunks:
            if isinstance(data, str):
                return data
            if found and found[-1][1] == charset:
                found[-1] = (found[-1][0] + data, charset)
            else:
                found.append((data, charset))
        return "".join(_unescaped(d) if charset is None else self.text(d, charset, what) for d, charset in found)

    def addresses(self, values: Iterable[object], what: str) -> list[Address]:
        """Return the addresses of headers of one name. Raises BadText."""
        raw = [_FOLD.sub(" ", str(value)) for value in values]
        plain = [self.text(value.encode("utf-8", "surrogateescape"), None, what) for value in raw]
        return [
            Address(address, self.header(name, what) if name else None)
            for name, address in getaddresses(plain)
            if address
        ]


def message_ids(values: Iterable[object]) -> list[str]:
    """Return the message ids in headers, without their angle brackets."""
    return [found for value in values for found in _MESSAGE_ID.findall(_printable(str(value)))]


def sent_at(value: object) -> str | None:
    """Return a Date header as ISO 8601 with its offset (UTC where it has none), None where it is no date."""
    try:
        moment = parsedate_to_datetime(str(value))
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        return None if moment.astimezone(UTC) < _EPOCH else moment.isoformat()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _codec(charset: str) -> str | None:
    """Return the text encoding of this name, None where there is none."""
    try:
        name = codecs.lookup(charset.strip()).name
        "".encode(name)   # refuses codecs that are no text encodings
    except (LookupError, ValueError):
        return None
    return None if name in _NOT_FOR_MAIL else name


def _unescaped(data: bytes) -> str:
    """Undo what decode_header does to text between encoded words."""
    return data.decode("raw-unicode-escape", "replace")


def _printable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


_EPOCH = datetime(1, 1, 2, tzinfo=UTC)
