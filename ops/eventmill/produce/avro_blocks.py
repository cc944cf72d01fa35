"""Avro object container files: the schema they are written with, and their blocks.

Source: the Avro 1.12 specification, "Object container files". Read here and not by a library, because those take the
sizes that a file claims: a block of a few bytes could unpack to more than there is memory.
"""

import bz2
import json
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import cramjam
import fastavro
from fastavro.read import HEADER_SCHEMA

from eventmill.produce.lines import Unreadable

MAX_BLOCK = 64 << 20
"""Bytes that a block may have, packed and unpacked. Writers make them of 16 KB to a few MB."""

_MAGIC = b"Obj\x01"
_MAX_HEADER = 16 << 20
_EMPTY_RECORDS = 1000   # of a block, where a record has no bytes at all: so many don't fill the memory


class BadBlock(Exception):
    """A block that can't be unpacked; the next one begins where it ends."""


class Block(NamedTuple):
    """One block: how many records, and what unpacks to them."""

    records: int
    packed: bytes


class Container:
    """A container file from its header on. Raises Unreadable for one that is none."""

    def __init__(self, stream: BinaryIO, limit: int = MAX_BLOCK) -> None:
        self._stream = _Bounded(stream, _MAX_HEADER)
        self._limit = limit
        header = self._header()
        meta: Mapping[str, bytes] = header["meta"]
        self._sync = bytes(header["sync"])
        codec = meta.get("avro.codec", b"null").decode("utf-8", "replace")
        if codec not in _UNPACK:
            raise Unreadable(f"its codec {codec!r} is not known", remedy=f"Known ones: {', '.join(_UNPACK)}")
        self._unpack = _UNPACK[codec]
        try:
            self.schema_text = meta["avro.schema"].decode()
            self.schema: Any = json.loads(self.schema_text)
        except (KeyError, ValueError, RecursionError):
            raise Unreadable("its header has no Avro schema") from None

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks. Raises Unreadable where no further block can be found."""
        while (first := self._stream.read(1)) != b"":
            count, size = self._long(first), self._long(self._stream.read(1))
            if not (count >= 0 and 0 <= size <= self._limit):
                raise Unreadable(f"a block says that it has {count:,} records in {size:,} bytes")
            packed, sync = self._stream.read(size), self._stream.read(16)
            if len(sync) < 16:
                raise Unreadable("the file ends within a block: it is cut short")
            if sync != self._sync:
                raise Unreadable("the mark after a block is wrong: the file is damaged there")
            yield Block(count, packed)

    def unpack(self, block: Block) -> bytes:
        """Return the records of a block in Avro binary. Raises BadBlock."""
        try:
            data = self._unpack(block.packed, self._limit)
        except (zlib.error, OSError, ValueError, EOFError, lzma.LZMAError, cramjam.DecompressionError) as error:
            raise BadBlock(f"the block can't be unpacked: {str(error) or type(error).__name__}") from None
        if data is None:
            raise BadBlock(f"the block unpacks to more than {self._limit:,} bytes")
        if block.records > max(len(data), _EMPTY_RECORDS):
            raise BadBlock(f"the block says that it has {block.records:,} records in {len(data):,} bytes")
        return data

    def _header(self) -> Any:
        try:
            header = fastavro.schemaless_reader(self._stream, HEADER_SCHEMA, None)
        except Exception as error:   # noqa: BLE001 - fastavro raises whatever its way through the bytes meets
            raise Unreadable(f"the file is no Avro container file: {str(error) or type(error).__name__}") from None
        if header["magic"] != _MAGIC:
            remedy = "Container files begin with Obj and the byte 1; framed values of a topic are no file"
            raise Unreadable("the file is no Avro container file", remedy=remedy)
        return header

    def _long(self, byte: bytes) -> int:
        """Read a variable-length integer in zigzag coding."""
        number, shift = 0, 0
        while byte and shift < 64:
            number |= (byte[0] & 0x7F) << shift
            if byte[0] < 0x80:
                return (number >> 1) ^ -(number & 1)
            shift += 7
            byte = self._stream.read(1)
        raise Unreadable("the file ends within a block: it is cut short" if not byte else "a block has no length")


class _Bounded:
    """A stream that refuses to read more at once than a limit, so that no length in a file is taken on trust."""

    def __init__(self, stream: BinaryIO, limit: int) -> None:
        self._stream = stream
        self._limit = max(limit, MAX_BLOCK)

    def read(self, size: int) -> bytes:
        """Return so many bytes, fewer at the end."""
        if not 0 <= size <= self._limit:
            raise ValueError(f"something in it says that it has {size:,} bytes")
        return self._stream.read(size)


Unpack = Callable[[bytes, int], bytes | None]


def _stored(data: bytes, _: int) -> bytes:
    return data


def _deflate(data: bytes, limit: int) -> bytes | None:
    found = zlib.decompressobj(-15).decompress(data, limit + 1)
    return None if len(found) > limit else found


def _bzip2(data: bytes, limit: int) -> bytes | None:
    found = bz2.BZ2Decompressor().decompress(data, limit + 1)
    return None if len(found) > limit else found


def _xz(data: bytes, limit: int) -> bytes | None:
    found = lzma.LZMADecompressor(memlimit=2 * MAX_BLOCK).decompress(data, limit + 1)
    return None if len(found) > limit else found


def _snappy(data: bytes, limit: int) -> bytes | None:
    body, checksum = data[:-4], data[-4:]
    if cramjam.snappy.decompress_raw_len(body) > limit:
        return None
    found = bytes(cramjam.snappy.decompress_raw(body))
    if zlib.crc32(found).to_bytes(4) != checksum:
        raise ValueError("its checksum is wrong")
    return found


def _zstandard(data: bytes, limit: int) -> bytes | None:
    room = min(limit, max(1 << 16, 8 * len(data)))
    while True:
        buffer = bytearray(room)
        try:
            return bytes(buffer[: cramjam.zstd.decompress_into(data, buffer)])
        except cramjam.DecompressionError as error:
            if "whole buffer" not in str(error):
                raise
            if room >= limit:
                return None
            room = min(limit, 8 * room)


_UNPACK: Mapping[str, Unpack] = {
    "null": _stored,
    "deflate": _deflate,
    "bzip2": _bzip2,
    "xz": _xz,
    "snappy": _snappy,
    "zstandard": _zstandard,
}
