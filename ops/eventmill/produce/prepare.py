"""From what is asked to what encodes: schema, columns and fields checked against each other before the first event."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from eventmill.produce.columns import LINE, Columns
from eventmill.produce.convert import Conversion
from eventmill.produce.encode import AvroValues, CloudEvent, Encoder, JsonValues
from eventmill.produce.options import Options
from eventmill.produce.schema import WriterSchema
from eventmill.produce.source import STDIN, FileFormat, Head, Source
from eventmill_schemas.avro_compatibility import field_mismatches
from eventmill_schemas.avro_types import definition, kind, named_types, record_fields
from eventmill_schemas.codec import AvroWriter
from eventmill_schemas.errors import UsageError
from eventmill_schemas.pipeline import Format

_ID = "id"
_TOLD = 5   # of the differences between two schemas


class Plan:
    """How the rows of one source become events of one schema (`avro`; None: JSON without one).

    Raises UsageError for fields that don't exist and for what can't be repeated.
    """

    def __init__(self, source: Source, options: Options, avro: Mapping[str, Any] | None) -> None:
        self._source = source
        self._options = options
        self._avro = avro
        self._conversion = None if avro is None else Conversion(avro, _as_text(source))
        names = None if self._conversion is None else self._conversion.names
        self.columns = Columns(source.mapping, names, source.drop_unknown)
        self._check_field("--key", options.key, names)
        self.id_field = self._id_field(names)

    def check_header(self, head: Head) -> None:
        """Check the columns of a file that says them, and of an Avro file their types. Raises UsageError."""
        self.columns.check(head.columns, () if self._conversion is None else self._conversion.required)
        if self._avro is None:   # of an Avro schema the fields are known, and were checked
            fields = {*head.columns, *self._source.mapping}
            self._check_field("--key", self._options.key, fields)
            self._check_field("--id", self.id_field, fields)
        elif head.schema is not None and (found := field_mismatches(head.schema, self._avro, self._source.mapping)):
            reasons = "; ".join(str(one) for one in found[:_TOLD])
            more = f"; and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
            raise UsageError(
                f"the file's records don't fit the schema they are to be written with: {reasons}{more}",
                remedy="Give a schema that fits them with `--schema FILE.avsc`, or take another topic",
            )

    def encoder(self, topic: str, schema: WriterSchema | None) -> Encoder:
        """Return what encodes the rows; `schema` is the registered one, None for JSON."""
        if schema is None or self._conversion is None:
            return self._encoder(JsonValues(), CloudEvent(self._origin, topic, "application/json"))
        values = AvroValues(self._conversion, AvroWriter(schema.text, schema.schema_id))
        return self._encoder(values, CloudEvent(self._origin, _full_name(schema.avro), "application/avro"))

    def _encoder(self, values: AvroValues | JsonValues, event: CloudEvent) -> Encoder:
        wanted = event if self._options.ce_headers else None
        return Encoder(self.columns, values, self._options.key, self.id_field, wanted)

    @property
    def _origin(self) -> str:
        """`ce_source`: a URI reference that tells this file from others."""
        path = self._source.path
        return "eventmill/produce" if path == STDIN else f"eventmill/produce/{Path(path).name}"

    def _id_field(self, names: Collection[str] | None) -> str | None:
        options = self._options
        self._check_field("--id", options.id, names)
        if options.id is None and not (options.ce_headers or options.repeats):
            return None
        found = options.id or (_ID if names is None or _ID in names else None)
        if found is None:
            raise UsageError(
                "which field is the event's id must be known, for new ids of repeated events and for ce_id",
                remedy=f"Name it with `--id FIELD`. {_fields(names)}",
            )
        if options.repeats and self._avro is not None and not _may_be_text(self._avro, found):
            raise UsageError(f"events can't be repeated: their id {found!r} is no text, and repetitions need new ids")
        return found

    @staticmethod
    def _check_field(option: str, name: str | None, names: Collection[str] | None) -> None:
        if name is not None and names is not None and name not in names:
            raise UsageError(f"{option} {name}: there is no field {name!r}", remedy=_fields(names))


def _as_text(source: Source) -> Collection[str] | None:
    """Return the fields that come as text: all of CSV; of JSON only the number of the line."""
    if source.format == FileFormat.CSV:
        return None
    return [field for field, column in source.mapping.items() if column == LINE]


def _may_be_text(avro: Mapping[str, Any], name: str) -> bool:
    names = named_types(avro)
    declared = definition(record_fields(avro)[name]["type"], names)
    branches = declared if isinstance(declared, list) else [declared]
    return any(kind(definition(branch, names)) == "string" for branch in branches)


def _full_name(avro: Mapping[str, Any]) -> str:
    name = str(avro["name"])
    return f"{avro['namespace']}.{name}" if avro.get("namespace") and "." not in name else name


def _fields(names: Collection[str] | None) -> str:
    return f"The fields are {', '.join(names or ())}"


def check_options(source: Source, options: Options) -> None:
    """Raise UsageError for options that contradict each other."""
    if options.value_format == Format.JSON and options.schema is not None:
        raise UsageError("a schema is for Avro values", remedy="Leave out `--schema` or `--value-format json`")
    if options.repeat > 1 and options.events is not None:
        raise UsageError("--repeat and --events both say how much to produce", remedy="Give one of them")
    if options.repeat > 1 and not source.is_rereadable:
        raise UsageError(f"{source.name} can't be read again", remedy="`--repeat` needs a file")
