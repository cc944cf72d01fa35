"""YAML to plain values with lines."""

import re
import textwrap
from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from eventmill.config.interpolate import Interpolated
from eventmill.config.problems import Problems
from eventmill.config.yaml_nodes import Document, KeyPath, read
from eventmill_schemas.errors import PipelineFileError

# PyYAML writes YAML 1.1, where `1e3` and `08` are text; here they are numbers.
NUMBER_OF_1_2 = re.compile(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?", re.IGNORECASE)

characters = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff\ufffe\uffff")
printable = st.text(characters, max_size=8).filter(lambda text: NUMBER_OF_1_2.fullmatch(text) is None)
scalars = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | printable
data = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(printable, inner, max_size=4),
    max_leaves=12,
)


def read_right(text: str, environ: dict[str, str] | None = None) -> Document:
    """Read a text without mistakes."""
    problems = Problems()
    document = read(text, "f.yaml", problems, environ)
    assert not problems
    return document


def mistakes(text: str, environ: dict[str, str] | None = None) -> list[str]:
    """Return the lines and messages of a text with mistakes."""
    problems = Problems()
    try:
        read(textwrap.dedent(text), "f.yaml", problems, environ)
    except PipelineFileError as error:
        problems.include(error)
    return [f"{error.line}: {error.message}" for error in problems.all().errors]


def walk(value: Any, path: KeyPath = ()) -> list[KeyPath]:
    """Return the paths of all entries."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [below for key, inner in entries for below in ((*path, key), *walk(inner, (*path, key)))]


@given(data, st.sampled_from([True, False, None]))
def test_what_another_writer_wrote_is_read(value: Any, flow: bool | None) -> None:
    """Values written by PyYAML, in block and flow style, come back the same."""
    text = yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True)
    assert read_right(text).data == value


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["a", "'b c'", "[1, 2]", "|\n    x\n    y"])), min_size=1))
def test_lines_are_those_of_the_text(entries: list[tuple[int, str]]) -> None:
    """The line of a key is the one where it is written, whatever comments and block texts are around it."""
    lines: list[str] = []
    expected = {}
    for number, (gap, value) in enumerate(entries):
        lines += ["# comment", "", "   "][:gap]
        expected[(f"k{number}",)] = len(lines) + 1
        lines += f"k{number}: {value}".split("\n")
    document = read_right("\n".join(lines))
    assert {path: document.key_line(path) for path in expected} == expected
    assert {path: document.line(path) for path in expected} == expected


def test_lines_are_counted_as_an_editor_does() -> None:
    """Characters that YAML 1.1 takes for line ends do not move the lines of what is below them."""
    document = read_right('a: "x\u2028y\x85z"\nb: 1\n')
    assert document.line(("b",)) == 2


@given(data.filter(lambda value: isinstance(value, dict | list) and value))
def test_every_entry_has_a_line_in_the_text(value: Any) -> None:
    """No path of the data is without a line, and none is outside."""
    text = yaml.safe_dump(value, allow_unicode=True)
    document = read_right(text)
    count = len(text.rstrip("\n").split("\n"))
    for path in walk(document.data):
        assert 1 <= document.key_line(path) <= count
        assert 1 <= document.line(path) <= count


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("True", True),
        ("~", None),
        ("", None),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("010", 10),
        ("-3", -3),
        ("1.10", Decimal("1.10")),
        ("1e3", Decimal("1e3")),
        (".5", Decimal("0.5")),
        (".inf", ".inf"),
        ("=", "="),
        ("'7'", "7"),
        ("!!str 7", "7"),
        ("!!int '7'", 7),
        ("0.1000000000000000055511151231257827", Decimal("0.1000000000000000055511151231257827")),
    ],
)
def test_scalars_follow_the_core_schema(written: str, value: Any) -> None:
    """Nothing becomes a truth value, date or base-60 number behind the user's back; digits are kept."""
    found = read_right(f"a: {written}").data["a"]
    assert found == value
    assert type(found) is type(value)


def test_anchors_and_merges() -> None:
    """Aliases repeat a value, `<<` takes in what the map has not itself, an earlier map goes before a later one."""
    document = read_right(
        textwrap.dedent("""\
        one: &one {a: 1, b: 1}
        two: &two
          b: 2
          c: 2
        three: {<<: [*one, *two], a: 3}
        four:
          <<: *two
        five: *one
        """)
    )
    assert document.data["three"] == {"a": 3, "b": 1, "c": 2}
    assert document.data["four"] == {"b": 2, "c": 2}
    assert document.data["five"] == {"a": 1, "b": 1}
    assert document.line(("four", "c")) == 4


def test_variables_only_where_they_are_wanted() -> None:
    """A front matter is read without an environment: `${` is text there."""
    assert read_right("a: ${X}").data == {"a": "${X}"}
    document = read_right("a: ${X}\nb: '${X}1'\nc: plain", {"X": "1"})
    assert document.data == {"a": "1", "b": "11", "c": "plain"}
    assert [type(value) for value in document.data.values()] == [Interpolated, Interpolated, str]


def test_a_variable_can_not_bring_structure() -> None:
    """What a variable holds stays one value, even if it looks like YAML."""
    assert read_right("a: ${X}", {"X": "1\nb: 2"}).data == {"a": "1\nb: 2"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: 1\nb: 2\na: 3\n", ["3: `a` is given twice, first in line 1"]),
        ("a: {b: 1, b: 2, b: 3}", ["1: `b` is given twice, first in line 1"]),
        ("a: 1\n[x]: 2\n", ["2: a key must be plain text"]),
        ("a: !!binary aGk=\n", ["1: the YAML tag `tag:yaml.org,2002:binary` is not supported"]),
        ("a: !!set {x}\n", ["1: the YAML tag `tag:yaml.org,2002:set` is not supported"]),
        ("a: 1\nb: !!python/object/apply:os.system [x]\n",
         ["2: the YAML tag `tag:yaml.org,2002:python/object/apply:os.system` is not supported"]),
        ("a: !!int x\n", ["1: `x` is not a number"]),
        (f"a: {'9' * 5000}\n", [f"1: `{'9' * 57}...` is not a number"]),
        ("a: 1e9999999999999999999999\n", ["1: `1e9999999999999999999999` is not a number"]),
        ("a: 1\n<<: 3\n", ["2: `<<` takes a map, or a list of maps"]),
        ("a: &x [*x]\n", ["1: this is nested too deep"]),
        ("a: 1\nb: &x {<<: *x}\n", ["2: this is nested too deep"]),
        ("a: 1\nb: " + "[" * 5000, ["2: this is nested too deep"]),
        ("a: " + "[" * 40 + "]" * 40, ["1: this is nested too deep"]),
        ("a: 1\nb: c: d\n", ["2: this is not valid YAML: mapping values are not allowed here"]),
        ("a: 1\n---\nb: 2\n",
         ["2: this is not valid YAML: expected a single document in the stream, but found another document"]),
        ("a: 'x\n", ["1: this is not valid YAML: while scanning a quoted scalar, found unexpected end of stream"]),
        ("a: 1\nb: \x07\n", ["2: the character U+0007 is not allowed in YAML"]),
        ("a: *nobody\n", ["1: this is not valid YAML: found undefined alias 'nobody'"]),
    ],
)
def test_mistakes_are_told_with_their_line(text: str, found: list[str]) -> None:
    """Each thing that YAML allows and a pipeline does not, or that is no YAML, gives one message at its line."""
    assert mistakes(text) == found


def test_aliases_do_not_explode() -> None:
    """Nine levels of nine aliases each are refused, not expanded to a billion values."""
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    (message,) = mistakes("\n".join(levels))
    assert message.endswith(": this stands for too many values")


def test_merges_do_not_explode() -> None:
    """The same by `<<`."""
    levels = ["a0: &a0 {x: 1}"]
    levels += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 10)]
    (message,) = mistakes("\n".join(levels))
    assert message.endswith(": this stands for too many values")


def test_several_mistakes_are_found_in_one_reading() -> None:
    """The first mistake does not hide the next ones."""
    found = mistakes("a: ${X}\nb: 1\nb: 2\nc: !!set {}\n", {})
    assert [message.partition(":")[0] for message in found] == ["1", "3", "4"]


def test_the_first_line_may_be_another_one() -> None:
    """Front matter stands below its file's first line."""
    problems = Problems()
    read("a: 1\na: 2", "p.md", problems, first_line=2)
    assert [str(error) for error in problems.all().errors] == ["p.md:3: `a` is given twice, first in line 2"]
