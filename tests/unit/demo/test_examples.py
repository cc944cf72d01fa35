"""What the runs ask for before they start anything."""

from pathlib import Path

import pytest

from eventmill.demo.examples import intents, support_mail
from eventmill_schemas.errors import SetupError, UsageError


def test_the_demo_needs_the_repository(tmp_path: Path) -> None:
    """Elsewhere it says so, and what to do."""
    with pytest.raises(SetupError, match="examples/support-mail") as caught:
        support_mail(tmp_path)
    assert "clone" in (caught.value.remedy or "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column text and no column category"),
        (b"text,label\n", "no column category"),
        (b"category\nx\n", "no column text;"),
        (b"text,\xff\n", "can't be read"),
    ],
)
def test_a_file_without_the_columns_is_refused(
    tmp_path: Path, pytestconfig: pytest.Config, content: bytes, message: str
) -> None:
    """By what is missing, and what the file has instead: the questions, and those that the model learns from."""
    for bad, good in (("test.csv", "train.csv"), ("train.csv", "test.csv")):
        (tmp_path / bad).write_bytes(content)
        (tmp_path / good).write_bytes(b"text,category\n")
        with pytest.raises(UsageError, match=message) as caught:
            intents(pytestconfig.rootpath, tmp_path)
        assert bad in str(caught.value)


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_the_columns_are_found_beside_others(tmp_path: Path, pytestconfig: pytest.Config, start: bytes) -> None:
    """In any order, also behind a byte order mark."""
    for name in ("test.csv", "train.csv"):
        (tmp_path / name).write_bytes(start + b"text,asked_by,category\r\n")
    found = intents(pytestconfig.rootpath, tmp_path)
    assert found.events == tmp_path / "test.csv"
    assert "label=category" in found.produce
