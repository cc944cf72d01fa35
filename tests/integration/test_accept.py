"""`eventmill accept` on a CSV file: every row comes out once, and a file that is no such file is refused before."""

import json
from pathlib import Path

import pytest

from eventmill.dev.addresses import Addresses
from whole_run import whole_run

QUESTIONS = (
    ("Where is my card?", "card_arrival"),
    ("I was charged twice, once yesterday, once today.", "charged_twice"),
    ('They call it a "fee": what is that?', "fees"),
    ("Two lines,\nand a comma.", "fees"),
    ("Wo bleibt meine Karte? Größe XL, ¿y el PIN?", "card_arrival"),
)


LABELS = tuple(
    (text, label)
    for label, texts in {
        "card_arrival": ("Where is my card?", "My new card has not come.", "When will the card be here?"),
        "charged_twice": ("I was charged twice.", "The same payment is there two times.", "You took my money twice."),
        "fees": ("What is this fee?", "Why do I pay for a transfer?", "How much does a withdrawal cost?"),
    }.items()
    for text in texts
)


def write(file: Path, header: str, rows: tuple[tuple[str, str], ...]) -> None:
    """Write a CSV file with every value quoted."""
    lines = [",".join('"' + value.replace('"', '""') + '"' for value in row) for row in rows]
    file.write_text("\n".join([header, *lines]) + "\n", "utf-8")


def test_every_row_becomes_one_result(tmp_path: Path, addresses: Addresses, pytestconfig: pytest.Config) -> None:
    """Also where the file is gone through again with new ids; columns that nobody asked for are left out."""
    write(tmp_path / "test.csv", "text,category,asked_by", tuple((*question, "me") for question in QUESTIONS))
    write(tmp_path / "train.csv", "text,category", LABELS)
    file = tmp_path / "accept.json"
    options = ("--data", str(tmp_path), "--events", "12", "--json", str(file))
    with whole_run(pytestconfig.rootpath, tmp_path, addresses, "accept", *options) as run:
        assert run.code(120) == 0, run.said
        assert run.started() == {}
    figures = json.loads(file.read_text())
    assert (figures["events"], figures["results"], figures["dead_letters"]) == (12, 12, 0)
    assert (figures["lost"], figures["duplicates"], figures["problems"]) == (0, 0, {})
    assert figures["classified"]["intent"]["events"] == 12
    assert figures["classified"]["intent"]["accuracy"] > 0.5   # one in three by chance; it has seen one word for word
    assert "the labels of the model in the worker against those that people gave" in run.said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "test.csv is not there"),
        ("text;category\na;b\n", "no column text and no column category"),
        ("text,category\nhow?,why\nhow?,why,where\n", "test.csv:3: the row has 3 values"),
    ],
)
def test_a_file_that_is_not_it_is_named(
    tmp_path: Path, addresses: Addresses, pytestconfig: pytest.Config, content: str | None, said: str
) -> None:
    """With the line and what is missing, exit code 2, and no trace of the program."""
    write(tmp_path / "train.csv", "text,category", LABELS)
    if content is not None:
        (tmp_path / "test.csv").write_text(content)
    with whole_run(pytestconfig.rootpath, tmp_path, addresses, "accept", "--data", str(tmp_path)) as run:
        assert run.code(60) == 2, run.said
    assert said in run.said
    assert "Traceback" not in run.said
