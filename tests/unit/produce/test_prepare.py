"""What is asked, checked before anything is produced."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from eventmill.produce.options import Options
from eventmill.produce.prepare import Plan, check_options
from eventmill.produce.rows import CsvRows
from eventmill.produce.schema import read_schema
from eventmill.produce.source import FileFormat, Head, Reader, Source, file_source
from eventmill_schemas.errors import InputFileError, UsageError
from eventmill_schemas.pipeline import Format

JSONL = Source("-", FileFormat.JSONL)
CSV = Source("-", FileFormat.CSV)


def schema(**fields: Any) -> dict[str, Any]:
    """Make a record schema."""
    made = [{"name": name, "type": avro} for name, avro in fields.items()]
    return {"type": "record", "name": "Mail", "namespace": "support", "fields": made}


@pytest.mark.parametrize("option", ["key", "id"])
def test_a_field_that_is_not_there_is_told_at_once(option: str) -> None:
    """With the fields that are."""
    with pytest.raises(UsageError, match=f"--{option} nix: there is no field 'nix'") as caught:
        Plan(JSONL, Options(**{option: "nix"}), schema(a="string", b="int"))
    assert caught.value.remedy == "The fields are a, b"


def test_fields_of_csv_without_schema_are_its_columns() -> None:
    """And what is mapped to."""
    rows = CsvRows(BytesIO(b"a,b\n1,2\n"))
    Plan(Source("-", FileFormat.CSV, {"c": "b"}), Options(key="c", id="a"), None).check_header(Head(rows.header))
    with pytest.raises(UsageError, match="there is no field 'nix'"):
        Plan(CSV, Options(key="nix"), None).check_header(Head(rows.header))


@pytest.mark.parametrize("options", [Options(repeat=2), Options(events=5), Options(ce_headers=True)])
def test_the_id_is_found_or_asked_for(options: Options) -> None:
    """Where it is needed: a field called id is taken, no other is guessed."""
    assert Plan(JSONL, options, schema(id="string")).id_field == "id"
    assert Plan(JSONL, options, None).id_field == "id"
    with pytest.raises(UsageError, match="which field is the event's id") as caught:
        Plan(JSONL, options, schema(number="string"))
    assert "--id FIELD" in str(caught.value)


def test_without_need_no_id_is_looked_at() -> None:
    """Events may have none."""
    assert Plan(JSONL, Options(), schema(id="string")).id_field is None
    assert Plan(JSONL, Options(id="number"), schema(number="int")).id_field == "number"


def test_only_texts_can_be_new_ids() -> None:
    """Told before the first round is produced."""
    with pytest.raises(UsageError, match="'id' is no text"):
        Plan(JSONL, Options(repeat=2), schema(id="long"))
    assert Plan(JSONL, Options(repeat=2), schema(id=["null", "long", "string"])).id_field == "id"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (Options(value_format=Format.JSON, schema=Path("a.avsc")), "a schema is for Avro values"),
        (Options(repeat=2, events=5), "both say how much"),
        (Options(repeat=2), "standard input can't be read again"),
    ],
)
def test_contradictions_are_told(options: Options, told: str) -> None:
    """Each with what to leave out."""
    with pytest.raises(UsageError, match=told) as caught:
        check_options(JSONL, options)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("name", "expected", "delimiter"),
    [
        ("a.jsonl", FileFormat.JSONL, ","),
        ("a.NDJSON", FileFormat.JSONL, ","),
        ("a.csv", FileFormat.CSV, ","),
        ("a.tsv", FileFormat.CSV, "\t"),
        ("-", FileFormat.JSONL, ","),
    ],
)
def test_a_files_name_says_its_format(name: str, expected: FileFormat, delimiter: str) -> None:
    """Unless the user says another."""
    made = file_source(name)
    assert (made.format, made.delimiter) == (expected, delimiter)
    other = file_source(name, FileFormat.CSV, delimiter=";")
    assert (other.format, other.delimiter) == (FileFormat.CSV, ";")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"path": "mails"}, "does not say what format"),
        ({"path": "a.csv", "delimiter": ";;"}, "can't be a delimiter"),
        ({"path": "a.csv", "delimiter": '"'}, "can't be a delimiter"),
        ({"path": "a.csv", "delimiter": ""}, "can't be a delimiter"),
        ({"path": "a.csv", "encoding": "utf-16"}, "lines can't be told apart"),
    ],
)
def test_an_impossible_source_is_told(arguments: dict[str, str], told: str) -> None:
    """Before a file is opened."""
    with pytest.raises(UsageError, match=told):
        file_source(**arguments)  # type: ignore[arg-type]  # the texts are those of text parameters


def test_a_file_is_told_by_name_and_line(tmp_path: Path) -> None:
    """Missing, a folder, a header that does not fit, columns divided otherwise."""

    def refuse(head: Head) -> None:
        raise UsageError(f"no: {head.columns}", remedy="Do it")

    reader = Reader(file_source(str(tmp_path / "nix.csv")))
    with pytest.raises(InputFileError, match=r"nix\.csv: the file can't be read: No such file"):
        reader.open()
    with pytest.raises(InputFileError, match="Is a directory"):
        Reader(file_source(str(tmp_path), FileFormat.CSV)).open()
    file = tmp_path / "a.csv"
    file.write_text("\na;b\n1;2\n")
    reader = Reader(file_source(str(file)))
    reader.open()
    with pytest.raises(InputFileError, match=r"a.csv:2: no: \('a;b',\)") as caught:
        reader.begin(refuse)
    assert "--delimiter" in (caught.value.remedy or "")
    reader.close()


def test_a_reader_knows_how_far_it_is_and_begins_again(tmp_path: Path) -> None:
    """For the progress bar, and for repetitions."""
    file = tmp_path / "a.jsonl"
    file.write_text('{"a": 1}\n' * 10_000)
    reader = Reader(file_source(str(file)))
    for _ in range(2):
        reader.open()
        reader.begin(lambda _: None)
        assert reader.fraction == 0
        assert sum(1 for _ in reader.rows()) == 10_000
        assert reader.fraction == 1
    reader.close()
    assert file_source(str(file)).is_rereadable
    assert not JSONL.is_rereadable


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "this is not JSON"),
        ('"string"', "is an Avro record"),
        ('{"type": "record", "name": "R", "fields": [{"name": "a", "type": "Nix"}]}', "the type Nix is not in it"),
        ('{"type": "record", "name": "R"}', "not a whole Avro schema: 'fields' is missing"),
        ('{"type": "record", "name": "R", "fields": [{"name": "a"}]}', "not a whole Avro schema"),
        ('{"type": "record", "fields": []}', "not a whole Avro schema"),
        (
            '{"type":"record","name":"R","fields":[{"name":"a","type":{"type":"bytes","logicalType":"decimal"}}]}',
            "'precision' is missing",
        ),
        ('{"type": "array", "items": "int"}', "is an Avro record"),
        ("\xff", "not UTF-8"),
    ],
)
def test_a_schema_file_that_is_none_is_told(tmp_path: Path, text: str, told: str) -> None:
    """With its name."""
    file = tmp_path / "a.avsc"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(UsageError, match=told) as caught:
        read_schema(file)
    assert str(caught.value).startswith(str(file))
    with pytest.raises(UsageError, match="can't be read"):
        read_schema(tmp_path / "nix.avsc")
