"""The text beside a committed offset: which offsets beyond it are still open.

Kafka stores one number per group and partition, and a free text beside it (OffsetCommit, `metadata`). The text written
here names the *open* offsets in [offset, end); every other offset below `end` is settled. Versioned by its first two
characters: `1v` varint deltas, `1b` a bitmap, both base64. Pure: no I/O.
"""

import base64
import binascii
import itertools
import struct
from collections.abc import Iterable, Sequence
from itertools import pairwise

MAX_SPAN = 24_000
"""Offsets between frontier and end: a bitmap of that many is 4,008 characters whatever is open, below Kafka's limit."""

MAX_METADATA = 4_096
"""Characters; the broker's default of `offset.metadata.max.bytes`."""


class UnreadableMetadataError(ValueError):
    """The text was not written by this format: another program committed it, or it is damaged."""


def encode(frontier: int, open_offsets: Sequence[int], end: int) -> str:
    """Return the text for `open_offsets`: ascending, all in [frontier, end). The shorter of the two encodings wins."""
    if frontier >= end:
        return ""
    span = end - frontier
    deltas = _varints([span, *(b - a for a, b in pairwise([frontier, *open_offsets]))])
    if len(deltas) < span / 8 or span > MAX_SPAN:
        return "1v" + base64.b64encode(deltas).decode()
    bits = bytearray((span + 7) // 8)
    for offset in open_offsets:
        index = offset - frontier
        bits[index >> 3] |= 1 << (index & 7)
    return "1b" + base64.b64encode(struct.pack(">I", span) + bytes(bits)).decode()


def decode(frontier: int, text: str) -> tuple[list[int], int]:
    """Return (open offsets ascending, end). Offsets in [frontier, end) that are not open are settled.

    Raises UnreadableMetadataError; never returns a guess, because a wrong one loses events.
    """
    text = text.rstrip("\0")  # librdkafka stores the terminating NUL; other clients show it
    if not text:
        return [], frontier
    version, body = text[:2], text[2:]
    if version not in ("1v", "1b"):
        raise UnreadableMetadataError(f"unknown offset metadata {text[:12]!r}")
    try:
        raw = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnreadableMetadataError(f"damaged offset metadata {text[:12]!r}") from error
    open_offsets, end = _from_varints(frontier, raw) if version == "1v" else _from_bitmap(frontier, raw)
    if open_offsets and not frontier <= open_offsets[0] <= open_offsets[-1] < end:
        raise UnreadableMetadataError(f"offset metadata names offsets outside [{frontier}, {end})")
    return open_offsets, end


def _from_varints(frontier: int, raw: bytes) -> tuple[list[int], int]:
    numbers = _unvarints(raw)
    if not numbers or numbers[0] == 0 or 0 in numbers[2:]:
        raise UnreadableMetadataError("damaged offset metadata (deltas)")
    span, *deltas = numbers
    return list(itertools.accumulate(deltas, initial=frontier))[1:], frontier + span


def _from_bitmap(frontier: int, raw: bytes) -> tuple[list[int], int]:
    if len(raw) < 5:
        raise UnreadableMetadataError("damaged offset metadata (bitmap too short)")
    span: int = struct.unpack(">I", raw[:4])[0]
    if span > MAX_SPAN or len(raw) != 4 + (span + 7) // 8:
        raise UnreadableMetadataError(f"damaged offset metadata (bitmap of {len(raw) - 4} bytes for {span} offsets)")
    return [frontier + i for i in range(span) if raw[4 + (i >> 3)] >> (i & 7) & 1], frontier + span


def _varints(numbers: Iterable[int]) -> bytes:
    out = bytearray()
    for number in numbers:
        rest = number
        while rest > 127:
            out.append(rest & 127 | 128)
            rest >>= 7
        out.append(rest)
    return bytes(out)


def _unvarints(raw: bytes) -> list[int]:
    out: list[int] = []
    number = shift = 0
    for byte in raw:
        number |= (byte & 127) << shift
        if byte & 128:
            shift += 7
        else:
            out.append(number)
            number = shift = 0
    if shift:
        raise UnreadableMetadataError("damaged offset metadata (cut in a number)")
    return out
