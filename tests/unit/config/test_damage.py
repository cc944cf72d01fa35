"""However a pipeline file is damaged, the user gets messages with lines, never a stack trace."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eventmill_schemas.errors import PipelineFileErrors

PIECES = [
    "${", "}", "$${", "${A:-", "${KAFKA}", "- ", "{", "}", "[", "]", ": ", "\n", "  ", "\t", "&a ", "*a", "<<: *a",
    "!!int ", "!!binary ", "!x ", "'", '"', "|\n", ">\n", "#", "\x00", "\x85", "\u2028", "é", "9" * 5000, "-1", "0",
    "1e999999999", "null", "~", "true", "1.5", "? ", "%YAML 1.1\n", "---\n", "...\n", "[key]", "{{", "}}", "x-",
    "(" * 300,
]  # fmt: skip

places = st.floats(0, 1, exclude_max=True)
edits = st.lists(
    st.one_of(
        st.tuples(st.just("cut"), places, st.integers(1, 40)),
        st.tuples(st.just("insert"), places, st.sampled_from(PIECES)),
        st.tuples(st.just("overwrite"), places, st.sampled_from(PIECES)),
        st.tuples(st.just("value"), places, st.sampled_from(PIECES)),
        st.tuples(st.just("swap"), places, places),
        st.tuples(st.just("repeat"), places, places),
    ),
    min_size=1,
    max_size=3,
)


def damaged(text: str, how: list[tuple[str, float, Any]]) -> str:
    """Return the text after the edits."""
    for kind, place, what in how:
        at = int(place * len(text))
        lines = text.split("\n")
        row = int(place * len(lines))
        if kind == "cut":
            text = text[:at] + text[at + what :]
        elif kind == "insert":
            text = text[:at] + what + text[at:]
        elif kind == "overwrite":
            text = text[:at] + what + text[at + len(what) :]
        elif kind == "value":
            lines[row] = f"{lines[row].partition(':')[0]}: {what}"
            text = "\n".join(lines)
        else:
            other = int(what * len(lines))
            if kind == "swap":
                lines[row], lines[other] = lines[other], lines[row]
            else:
                lines.insert(row, lines[other])
            text = "\n".join(lines)
    return text


def lines_of(file: Path) -> int:
    """Return the number of lines of a file, at least 1."""
    return max(1, len(file.read_bytes().splitlines()))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, make_project: Callable[[Path], Any]) -> Any:
    """Make a project for all examples of a test."""
    return make_project(tmp_path_factory.mktemp("project"))


def check(project: Any) -> None:
    """Load; whatever is wrong has a file that exists, a line in it and a message of one line."""
    try:
        project.load()
        return
    except PipelineFileErrors as error:
        found = error
    assert len(str(found).splitlines()) == len(found.errors)
    for one in found.errors:
        assert one.line is not None
        assert 1 <= one.line <= lines_of(Path(one.file))


@given(edits)
@settings(max_examples=200, deadline=None)
@example([("value", 0.5, "")])
def test_a_damaged_pipeline_file(shared: Any, how: list[tuple[str, float, Any]]) -> None:
    """Whatever happens to the text of pipeline.yaml."""
    shared.write("pipeline.yaml", damaged(shared.text, how))
    check(shared)


@given(st.sampled_from(["prompts/triage.md", "schemas/triage.avsc"]), edits)
@settings(max_examples=100, deadline=None)
def test_a_damaged_file_beside_it(shared: Any, name: str, how: list[tuple[str, float, Any]]) -> None:
    """Whatever happens to a prompt or a schema."""
    shared.write("pipeline.yaml", shared.text)
    path = shared.folder / name
    before = path.read_text()
    try:
        shared.write(name, damaged(before, how))
        check(shared)
    finally:
        shared.write(name, before)


@given(st.sampled_from(["pipeline.yaml", "prompts/triage.md", "schemas/triage.avsc"]), st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes(shared: Any, name: str, content: bytes) -> None:
    """Even what is no text at all."""
    before = {path: (shared.folder / path).read_bytes() for path in ("pipeline.yaml", name)}
    try:
        shared.write("pipeline.yaml", shared.text)
        shared.write(name, content)
        check(shared)
    finally:
        for path, old in before.items():
            shared.write(path, old)
