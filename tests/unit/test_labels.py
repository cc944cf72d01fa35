"""Reading of labelled texts: what is taken, and how each thing that is wrong with a file is said, with its line."""

import csv

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventmill.labels import LabelledTexts, read_labelled
from eventmill_schemas.errors import InputFileError

GOOD = "text,label\nwhere is it,delivery\nnot arrived,delivery\npay me back,refund\nmoney back,refund\n"

ONLY_TEXT = (
    "this is the only text with the label 'refund'. Give at least two different texts for each label, better twenty"
)
CONVERT = "Save the file as UTF-8, or convert it: `iconv -f {} -t UTF-8 FILE`"
QUOTES = "Values with a quote are written in quotes, with the quote doubled"

cells = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('",;\n'), min_size=1).filter(str.strip)


@pytest.fixture
def file(tmp_path):
    """Give a function that writes a file, text as UTF-8, and returns its path."""

    def write(content):
        path = tmp_path / "labels.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def failure(path, **columns):
    """Return what is said about a file, without the path."""
    with pytest.raises(InputFileError) as caught:
        read_labelled(path, **columns)
    assert caught.value.file == str(path)
    return str(caught.value).removeprefix(f"{path}:")


def test_texts_and_labels_are_read_in_order(file):
    """Each text keeps its label; white space around both, other columns and empty lines count for nothing."""
    path = file('id,label,text\n1, delivery ,where is it\n\n2,delivery,"not, ""arrived"""\n3,refund,a\n4,refund,b\n')
    assert read_labelled(path) == LabelledTexts(
        ("where is it", 'not, "arrived"', "a", "b"), ("delivery", "delivery", "refund", "refund")
    )


def test_columns_may_have_other_names(file):
    """The usual names are defaults."""
    path = file(GOOD.replace("text,label", "query,category"))
    assert read_labelled(path, text_column="query", label_column="category") == read_labelled(file(GOOD))


def test_a_byte_order_mark_is_no_part_of_the_first_column(file):
    """Spreadsheets write one in front of UTF-8."""
    assert read_labelled(file(b"\xef\xbb\xbf" + GOOD.encode())) == read_labelled(file(GOOD))


@given(st.lists(st.tuples(cells, st.sampled_from(["a", "b"])), min_size=1, max_size=5))
@settings(max_examples=50)
def test_what_a_csv_writer_writes_is_read_back(tmp_path_factory, rows):
    """Quotes, commas, line ends and any script within texts survive."""
    everything = [("x", "a"), ("y", "a"), ("x", "b"), ("y", "b"), *rows]
    path = tmp_path_factory.mktemp("csv") / "labels.csv"
    with path.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows([("text", "label"), *everything])
    read = read_labelled(path)
    assert list(zip(read.texts, read.labels, strict=True)) == [(text.strip(), label) for text, label in everything]


@pytest.mark.parametrize(("content", "said"), [
    ("", "1: the file is empty: CSV needs a header line"),
    ("text,label\n", "1: there is no text below the header"),
    (GOOD.replace("label", "category", 1),
     "1: there is no column 'label'. The file has 'text', 'category': name yours with `--label-column`"),
    ("\n" + GOOD.replace("text", "query", 1),
     "2: there is no column 'text'. The file has 'query', 'label': name yours with `--text-column`"),
    (GOOD.replace(",", ";"),
     "1: there is no column 'text'. The columns seem to be parted by semicolons: save the file with commas"),
    (GOOD.replace(",", "\t"),
     "1: there is no column 'text'. The columns seem to be parted by tabs: save the file with commas"),
    (GOOD.replace("text,label", "text,label,text").replace("y\n", "y,\n").replace("d\n", "d,\n"),
     "1: the column 'text' is there twice"),
    (GOOD.replace("not arrived", "  "), "3: the column 'text' is empty. Fill it in, or take out the row"),
    (GOOD.replace("pay me back,refund", "pay me back,"),
     "4: the column 'label' is empty. Fill it in, or take out the row"),
    (GOOD.replace("not arrived", "no, not arrived"),
     "3: the row has 3 values, the header 2 columns. Put texts that hold a comma in quotes"),
    (GOOD.replace("not arrived", '"not arrived'),
     "3: a quoted value begins here and does not end before the file does"),
    (GOOD.replace("not arrived", '"not" arrived'),
     f"3: the row is not CSV: ',' expected after '\"'. {QUOTES}"),
    (GOOD.replace("refund", "delivery"),
     "2: all texts have the label 'delivery'. A classifier needs texts of at least two labels"),
    (GOOD.replace("money back,refund", "money back,praise"),
     f"4: {ONLY_TEXT}"),
    (GOOD.replace("money back", "pay me back"),
     f"4: {ONLY_TEXT}"),
    (GOOD.replace("not arrived", "nicht zurück").encode("cp1252"),
     f"3: byte 0xfc at 10 of the line is not UTF-8. {CONVERT.format('CP1252')}"),
    (GOOD.encode("utf-16"),
     f"1: the file is UTF-16, not UTF-8. {CONVERT.format('UTF-16')}"),
    (GOOD.encode("utf-16-be"), "1: the row has a NUL character. Is the file binary, or UTF-16?"),
], ids=["empty", "header-only", "no-label-column", "no-text-column", "semicolons", "tabs", "column-twice", "empty-text",
        "empty-label", "bare-comma", "quote-left-open", "quote-misplaced", "one-label", "single-text",
        "single-text-repeated", "cp1252", "utf-16", "utf-16-unmarked"])
def test_what_is_wrong_is_said_with_its_line(file, content, said):
    """Each message names the line, the thing and the remedy."""
    assert failure(file(content)) == said


def test_one_column_can_not_be_both(file):
    """A text is not its own label."""
    assert failure(file(GOOD), label_column="text") == "1: texts and labels can't both be in 'text'"


def test_a_file_that_is_not_there(tmp_path):
    """The system's reason is given, without a stack trace."""
    assert failure(tmp_path / "none.csv") == " the file can't be read: No such file or directory"
