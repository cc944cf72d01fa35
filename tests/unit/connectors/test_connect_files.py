"""Files of connectors: written, read again, and refused with a reason."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill_connectors.connect.connector import Connector
from eventmill_connectors.connect.files import as_text, file_of, read_connectors
from eventmill_schemas.errors import PipelineFileError, UsageError

GOOD = {"name": "a", "config": {"connector.class": "x.Sink", "tasks.max": "1"}}


def write(file: Path, document: Any) -> Path:
    """Write a file with JSON, or with a text as it is."""
    file.write_text(document if isinstance(document, str) else json.dumps(document), "utf-8")
    return file


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str]) -> None:
    """Whatever is in the settings."""
    made = Connector("a", {**settings, "connector.class": "x.Sink"})
    file = file_of(tmp_path_factory.mktemp("c"), made)
    file.write_text(as_text(made), "utf-8")
    assert read_connectors([file]) == [made]


def test_a_folder_stands_for_its_files(tmp_path: Path) -> None:
    """In the order of their names; other files in it are left alone."""
    for name in ("b", "a"):
        write(tmp_path / f"{name}.json", {**GOOD, "name": name})
    write(tmp_path / "notes.txt", "no JSON")
    assert [one.name for one in read_connectors([tmp_path])] == ["a", "b"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", r"broken\.json:1: this is not JSON"),
        ([], "it has no name"),
        ({"config": GOOD["config"]}, "it has no name"),
        ({"name": ""}, "it has no name"),
        ({"name": "a"}, r"no connector\.class"),
        ({"name": "a", "config": {"connector.class": 1}}, r"no connector\.class"),
        ({"name": "a", "config": {"connector.class": "x", "tasks.max": 1}}, r'tasks\.max is not text.*"1"'),
    ],
)
def test_what_is_no_connector_is_named(tmp_path: Path, document: Any, message: str) -> None:
    """With its file, the line where there is one, and what it should be."""
    file = write(tmp_path / "broken.json", document)
    with pytest.raises(PipelineFileError, match=message) as caught:
        read_connectors([file])
    assert str(file) in str(caught.value)


def test_a_missing_file_and_an_empty_folder_are_told(tmp_path: Path) -> None:
    """Nothing to apply is a mistake, not a success."""
    with pytest.raises(PipelineFileError, match="No such file"):
        read_connectors([tmp_path / "nowhere.json"])
    with pytest.raises(UsageError, match="no connector"):
        read_connectors([tmp_path])


def test_one_name_in_two_files_is_refused(tmp_path: Path) -> None:
    """The second would silently replace the first."""
    files = [write(tmp_path / name, GOOD) for name in ("one.json", "two.json")]
    with pytest.raises(UsageError, match=r"one\.json and .*two\.json"):
        read_connectors(files)
