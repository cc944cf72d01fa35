"""Events to try, as records that could lie in the stage's input topic. Nothing is asked over the network here."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventmill.produce import Options, file_source
from eventmill.produce.convert import Conversion
from eventmill.produce.encode import Unfit
from eventmill.produce.prepare import Plan
from eventmill.produce.rows import BadRow
from eventmill.produce.schema import WriterSchema, read_schema
from eventmill.produce.source import Reader
from eventmill_schemas.avro_scalars import Misfit
from eventmill_schemas.codec import AvroReader, AvroWriter
from eventmill_schemas.errors import Undecodable, UnstorableResult, UsageError
from eventmill_schemas.events import RawRecord, Source
from eventmill_schemas.pipeline import Format
from eventmill_schemas.result_schema import schema_text
from eventmill_streams.decode import Schemas

_LOCAL_ID = 1


class LocalSchema:
    """A schema that no registry needs to know: encodes values and gives their reader. `avro` None: there is none.

    Satisfies eventmill_streams.decode.Schemas.
    """

    def __init__(self, avro: Mapping[str, Any] | None) -> None:
        self.writer: WriterSchema | None = None
        if avro is None:
            return
        text = schema_text(avro)
        self.writer = WriterSchema(_LOCAL_ID, text, avro)
        self._conversion = Conversion(avro, ())
        self._encoder = AvroWriter(text, _LOCAL_ID)
        self._reader = AvroReader(text, schema_id=_LOCAL_ID)

    def encode(self, fields: Mapping[str, Any]) -> bytes:
        """Return an event as a framed value; times, decimals and bytes may be text. Raises UsageError."""
        try:
            return self._encoder.encode(self._conversion.convert(dict(fields)))
        except Misfit as misfit:
            path = "".join(reversed(misfit.path)).removeprefix(".")
            raise UsageError(f"the field {path!r} {misfit}") from None
        except UnstorableResult as error:
            raise UsageError(error.message) from None

    @classmethod
    def read(cls, path: Path) -> "LocalSchema":
        """Return the schema in an .avsc file. Raises UsageError, naming the file."""
        return cls(read_schema(path))

    async def schema(self, schema_id: int) -> AvroReader:
        """Return the reader. Raises Undecodable for another id."""
        if self.writer is None or schema_id != _LOCAL_ID:
            raise Undecodable(f"there is no schema {schema_id} here")
        return self._reader


@dataclass(frozen=True, slots=True)
class Inputs:
    """Records to try, each with the place that people know it by.

    `schemas`: where those of their values come from; None: the registry.
    """

    records: Sequence[RawRecord]
    places: Sequence[str]
    schemas: Schemas | None


def record_of(topic: str, offset: int, key: bytes | None, value: bytes | None, headers: Any = ()) -> RawRecord:
    """Return a record that lies nowhere: in partition 0 of `topic`, written now."""
    return RawRecord(Source(topic, 0, offset), key, value, tuple(headers), time.time_ns() // 1_000_000)


def own_schema(path: str) -> LocalSchema | None:
    """Return the schema that a file says itself, as Avro files and mailboxes do. Raises InputFileError, UsageError."""
    source = file_source(path)
    if not source.is_rereadable:
        return None
    reader = Reader(source)
    try:
        reader.open()
        found = reader.own_schema
    finally:
        reader.close()
    return None if found is None else LocalSchema(found)


def read_file(path: str, topic: str, schema: LocalSchema, count: int, key: str | None = None) -> Inputs:
    """Return the first `count` events of a file that `eventmill produce` takes; "-" is standard input.

    A `schema` of none: the values are JSON. `key` names the field that becomes the record key. Raises InputFileError
    with the line of what is no event, UsageError for a file without events or a field that does not exist.
    """
    source = file_source(path)
    written = schema.writer
    value_format = Format.JSON if written is None else Format.AVRO
    plan = Plan(source, Options(value_format=value_format, key=key), None if written is None else written.avro)
    reader = Reader(source)
    records: list[RawRecord] = []
    places: list[str] = []
    try:
        reader.open()
        reader.begin(plan.check_header)
        encoder = plan.encoder(topic, written)
        for row in reader.rows():
            if isinstance(row, BadRow):
                raise source.error(row, row.remedy)
            try:
                encoded = encoder.encode(row)
            except Unfit as unfit:
                bad = BadRow(row.line, row.last_line, str(unfit), text_line=row.text_line)
                raise source.error(bad, None) from None
            records.append(record_of(topic, len(records), encoded.key, encoded.value))
            places.append(source.place(row.line, row.text_line))
            if len(records) == count:
                break
    finally:
        reader.close()
    if not records:
        raise UsageError(f"{source.name} has no events")
    return Inputs(records, places, schema)
