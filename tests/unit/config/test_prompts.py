"""Prompt files."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill.config.problems import Problems
from eventmill.config.prompts import load_prompt
from eventmill_schemas.errors import PipelineFileError
from eventmill_schemas.pipeline import Prompt


def loaded(folder: Path, text: str | bytes, name: str = "p.md") -> Prompt:
    """Load a prompt without mistakes."""
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    problems = Problems()
    prompt = load_prompt(path, name, problems).prompt
    assert not problems
    return prompt


def mistakes(folder: Path, text: str) -> list[str]:
    """Return what is wrong with a prompt."""
    path = folder / "p.md"
    path.write_text(text)
    problems = Problems()
    try:
        load_prompt(path, "p.md", problems)
    except PipelineFileError as error:
        problems.include(error)
    return [str(error) for error in problems.all().errors]


def test_a_whole_prompt(tmp_path: Path) -> None:
    """Front matter and both parts; the blank lines around a part are not sent, those within are."""
    prompt = loaded(
        tmp_path,
        "---\nname: sort\nversion: 1.10\nparameters:\n  temperature: 0\n  top_p: 0.9\n  max_output_tokens: 5\n"
        "  reasoning_effort: low\n  seed: -7\n---\n\n"
        "# System\n\n  Be brief.\n\nBe kind.  \n\n# User  \n\n{{ event.a }}\n\n",
    )
    assert prompt == Prompt(
        name="sort",
        version="1.10",
        system="  Be brief.\n\nBe kind.",
        user="{{ event.a }}",
        parameters={"temperature": 0.0, "top_p": 0.9, "max_output_tokens": 5, "reasoning_effort": "low", "seed": -7},
        file="p.md",
    )
    assert type(prompt.parameters["temperature"]) is float


@pytest.mark.parametrize(
    ("text", "system", "user"),
    [
        ("Hello", "", "Hello"),
        ("# User\nHello", "", "Hello"),
        ("# system\nS\n# user\nU", "S", "U"),
        ("#System\nS\n#  User\nU", "S", "U"),
        ("---\n---\nU", "", "U"),
        ("## User\nU\n# Users\n #User", "", "## User\nU\n# Users\n #User"),
        ("# System\n\n# User\nU\n---\nV", "", "U\n---\nV"),
        ("\n---\nname: x\n---", "", "---\nname: x\n---"),
    ],
)
def test_the_split_into_parts(tmp_path: Path, text: str, system: str, user: str) -> None:
    """Only whole lines `# System` and `# User` split, and only a first line `---` begins a front matter."""
    prompt = loaded(tmp_path, text)
    assert (prompt.system, prompt.user) == (system, user)


def test_name_and_version_come_from_the_file(tmp_path: Path) -> None:
    """Without front matter the prompt is called as its file, and every change of the text is another version."""
    first, second = loaded(tmp_path, "Hello", "greet.md"), loaded(tmp_path, "Hello!", "greet.md")
    assert first.name == "greet"
    assert first.version != second.version
    assert len(first.version) == 12
    assert first.version == loaded(tmp_path, b"\xef\xbb\xbfHello", "greet.md").version


def test_variables_mean_nothing_in_a_prompt(tmp_path: Path) -> None:
    """A prompt is the same on every machine."""
    assert loaded(tmp_path, "Pay ${AMOUNT}").user == "Pay ${AMOUNT}"
    assert mistakes(tmp_path, "---\nname: ${NAME}\n---\nU") == [
        "p.md:2: `name` must begin with a letter or digit and hold only those, `.`, `_` and `-`, not `${NAME}`"
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("---\nname: a\nU", ["p.md:1: the front matter that begins here has no closing line `---`"]),
        ("---\nname: a b\nversio: 1\nparameters: {temperatur: 1, top_p: 2}\n---\nU", [
            "p.md:2: `name` must begin with a letter or digit and hold only those, `.`, `_` and `-`, not `a b`",
            "p.md:3: `versio` is not a key that this version of eventmill knows. Did you mean `version`?",
            "p.md:4: `top_p` must be at most 1, not `2`",
            ("p.md:4: `temperatur` is not a key that this version of eventmill knows in `parameters`. "
            "Did you mean `temperature`?"),
        ]),
        ("---\nversion: [1]\n---\nU", ["p.md:2: `version` must be text, not a list"]),
        ("---\nversion: a@b\n---\nU", [
            "p.md:2: `version` must begin with a letter or digit and hold only those, `.`, `_` and `-`, not `a@b`"]),
        ("---\nparameters: {max_output_tokens: 0}\n---\nU", [
            "p.md:2: `max_output_tokens` must be at least 1, not `0`"]),
        ("---\nparameters: {temperature: hot}\n---\nU", ["p.md:2: `temperature` must be a number, not `hot`"]),
        ("---\nparameters: {temperature: true}\n---\nU", ["p.md:2: `temperature` must be a number, not `true`"]),
        ("---\nparameters: {seed: 1.5}\n---\nU", ["p.md:2: `seed` must be a whole number, not `1.5`"]),
        ("---\nparameters: {reasoning_effort: most}\n---\nU", [
            ("p.md:2: `reasoning_effort` must be `none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`, "
            "not `most`")]),
        ("---\na: b: c\n---\nU", ["p.md:2: this is not valid YAML: mapping values are not allowed here"]),
        ("---\n- a\n---\nU", ["p.md:2: the front matter must be a map, not a list"]),
        ("", ["p.md:1: the prompt has no text for the user part"]),
        ("---\nname: a\n---\n\n", ["p.md:4: the prompt has no text for the user part"]),
        ("# System\nS\n", ["p.md:2: the prompt has no text for the user part"]),
        ("# User\nU\n# System\nS", [
            ("p.md:3: `# System` can't stand after `# User`. "
            "A prompt has at most one `# System` part and after it one `# User` part")]),
        ("# User\nU\n# User\nV", [
            ("p.md:3: `# User` can't stand after `# User`. "
            "A prompt has at most one `# System` part and after it one `# User` part")]),
        ("\nHello\n# User\nU", ["p.md:2: there is text before `# User`. Put all text below `# System` or `# User`"]),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, text: str, found: list[str]) -> None:
    """What is wrong is told with the line of the prompt file."""
    assert mistakes(tmp_path, text) == found


def test_a_file_name_that_is_no_name(tmp_path: Path) -> None:
    """The name goes into results and costs, so it has to be a plain one."""
    with pytest.raises(PipelineFileError, match="Give it a `name`"):
        loaded(tmp_path, "Hello", "my prompt.md")
    assert loaded(tmp_path, "---\nname: mine\n---\nHello", "my prompt.md").name == "mine"


lines = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="#\u2028\u2029\x85"), max_size=6)


@given(system=st.lists(lines, max_size=4), user=st.lists(lines, min_size=1, max_size=4), before=st.integers(0, 3))
def test_parts_come_back_as_written(
    tmp_path_factory: pytest.TempPathFactory, system: list[str], user: list[str], before: int
) -> None:
    """Every text that has no heading of its own is kept but for blank lines around it, and its line is known."""
    folder = tmp_path_factory.getbasetemp()
    top = "\n" * before
    text = f"{top}# System\n" + "\n".join(system) + "\n# User\n" + "\n".join([*user, "end"])
    path = folder / "roundtrip.md"
    path.write_bytes(text.encode())
    found = load_prompt(path, "roundtrip.md", Problems())
    for part, first, source in (
        (found.prompt.system, found.system_line, system),
        (found.prompt.user, found.user_line, [*user, "end"]),
    ):
        kept = "\n".join(source).rstrip().split("\n")
        while kept and not kept[0].strip():
            kept.pop(0)
        assert part == "\n".join(kept)
        if part:
            assert text.split("\n")[first - 1].startswith(part.split("\n")[0])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{{ event.a }\n", 1),
        ("---\nname: x\n---\n# System\nS\n\n# User\n\nHello\n{% if event.a == %}\nx", 10),
        ("# System\n\nS\n{{ evnt.a }}\n# User\nU", 4),
        ("# User\nU\n{{ event.a | nosuch }}", 3),
        ("U\n{{ result.nosuch }}\n", 2),
    ],
)
def test_template_mistakes_are_told_at_their_line(project, text: str, line: int) -> None:
    """Syntax, names, fields and filters are checked with the prompt, not with the first event."""
    project.write("prompts/triage.md", text)
    ((file, at, message),) = project.mistakes()
    assert (file, at) == ("prompts/triage.md", line), message


def test_a_prompt_may_use_what_steps_before_have_filled(project) -> None:
    """`result` has the fields that steps fill."""
    project.write("prompts/triage.md", "{{ result.summary | default('') }} {{ meta.key }} {{ event.anything }}")
    assert project.load().stages
