"""Rows of Avro object container files: the records, with the values that their schema gives them."""

from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any, BinaryIO

from eventmill.produce.avro_blocks import BadBlock, Block, Container
from eventmill.produce.lines import Unreadable
from eventmill.produce.rows import BadRow, Row
from eventmill_schemas.avro_types import kind, record_fields
from eventmill_schemas.codec import AvroReader
from eventmill_schemas.errors import Undecodable


class AvroRows:
    """The records of a container file, numbered from 1; the first `skip` are passed over.

    A record that can't be read takes the rest of its block with it: where the next one begins is not known. Raises
    Unreadable for a file that is no container of records.
    """

    def __init__(self, stream: BinaryIO, *, skip: int = 0) -> None:
        self._container = Container(stream)
        self._skip = skip
        try:
            self._reader = AvroReader(self._container.schema_text)
        except Undecodable as error:
            raise Unreadable(f"{error.message} (in the header of the file)") from None
        self.schema: Mapping[str, Any] = self._container.schema
        if kind(self.schema) != "record":
            raise Unreadable("the file does not hold records")

    @property
    def header(self) -> tuple[str, ...]:
        """The names of the records' fields."""
        return tuple(record_fields(self.schema))

    def __iter__(self) -> Iterator[Row | BadRow]:
        """Yield the records."""
        done = 0
        blocks = self._container.blocks()
        while True:
            try:
                block = next(blocks, None)
            except (Unreadable, ValueError) as error:
                yield BadRow(done + 1, done + 1, str(error), final=True)
                return
            if block is None:
                return
            if done + block.records > self._skip:
                yield from self._rows(block, done)
            done += block.records

    def _rows(self, block: Block, before: int) -> Iterator[Row | BadRow]:
        last = before + block.records
        try:
            data = BytesIO(self._container.unpack(block))
        except BadBlock as error:
            yield BadRow(before + 1, last, str(error))
            return
        for number in range(before + 1, last + 1):
            try:
                values = self._reader.read(data)
            except Undecodable as error:
                rest = f"; with it the records up to {last:,}, which are in its block" if number < last else ""
                yield BadRow(number, last, f"{error.message}{rest}")
                return
            if number > self._skip:
                yield Row(number, number, values)
        if (left := len(data.getbuffer()) - data.tell()) > 0:
            yield BadRow(last, last, f"{left:,} bytes are left behind the last record of its block")
