"""Prompt files: YAML front matter, then the text in one or two parts.

    ---
    name: triage
    version: "3"
    parameters: {temperature: 0.2, max_output_tokens: 800}
    ---
    # System
    You sort the mail of a company.

    # User
    {{ event.body }}

The front matter and each of its keys may be left out: `name` is then the file's name, `version` a hash of the text.
The lines `# System` and `# User`, each at most once and in this order, begin the parts; a text without them is the user
part.
"""

import hashlib
import re
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError

from eventmill.config import messages, scalars, yaml_nodes
from eventmill.config.files import read_text
from eventmill.config.problems import Problems
from eventmill.config.step_entries import Section
from eventmill_schemas.errors import PipelineFileError
from eventmill_schemas.pipeline import Prompt

_FENCE = "---"
_HEADING = re.compile(r"# *(System|User)", re.IGNORECASE)
_HASH_DIGITS = 12   # 48 bits: two versions of one prompt don't meet


class LoadedPrompt(NamedTuple):
    """A prompt and the lines of its file where its two parts begin."""

    prompt: Prompt
    system_line: int
    user_line: int


def _number(value: Any) -> Any:
    return float(str(value)) if _is_number(value) else value   # by its text: float(10**400) raises


def _text(value: Any) -> Any:
    return str(value) if _is_number(value) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


_Version = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$"), BeforeValidator(_text)]


class Parameters(Section):
    """What a model is told beside the text. A provider's model may refuse some of them."""

    temperature: Annotated[float, Field(ge=0, le=2), BeforeValidator(_number)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1), BeforeValidator(_number)] | None = None
    max_output_tokens: scalars.Count | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    seed: int | None = None


class FrontMatter(Section):
    """The keys of a prompt's front matter."""

    name: scalars.StepName | None = None
    version: _Version | None = None
    parameters: Parameters = Parameters()


def load_prompt(path: Path, file: str, problems: Problems) -> LoadedPrompt:
    """Read the prompt at `path`, known to the user as `file`.

    Notes what is wrong with its front matter in `problems`. Raises PipelineFileError: it can't be read, or it has not
    this form.
    """
    text = read_text(path, file)
    lines = text.split("\n")
    end = _front_matter_end(lines, file)
    front = _front_matter("\n".join(lines[1:end]), file, problems) if end else FrontMatter()
    parts = _parts(lines, end + 1 if end else 0, file)
    name = front.name or path.stem
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) is None:
        raise PipelineFileError(
            f"the file's name can't be the prompt's name: {name!r}", file=file, line=1,
            remedy="Give it a `name` of letters, digits, `.`, `_` and `-` in its front matter",
        )
    prompt = Prompt(
        name=name,
        version=front.version or hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS],
        system=parts["system"][1],
        user=parts["user"][1],
        parameters=front.parameters.model_dump(exclude_none=True),
        file=file,
    )
    return LoadedPrompt(prompt, parts["system"][0], parts["user"][0])


def _front_matter_end(lines: list[str], file: str) -> int:
    """Return the index of the line that ends the front matter, 0 where there is none."""
    if lines[0].rstrip() != _FENCE:
        return 0
    for index, line in enumerate(lines[1:], 1):
        if line.rstrip() == _FENCE:
            return index
    raise PipelineFileError("the front matter that begins here has no closing line `---`", file=file, line=1)


def _front_matter(text: str, file: str, problems: Problems) -> FrontMatter:
    document = yaml_nodes.read(text, file, problems, first_line=2)
    try:
        return FrontMatter.model_validate({} if document.data is None else document.data)
    except ValidationError as error:
        messages.report(error, document, FrontMatter, problems, "the front matter")
        return FrontMatter()


def _parts(lines: list[str], start: int, file: str) -> dict[str, tuple[int, str]]:
    """Return for `system` and `user` the line where the part begins, and its text without blank lines around it."""
    headings = [
        (index, found[1].lower())
        for index in range(start, len(lines))
        if (found := _HEADING.fullmatch(lines[index].rstrip()))
    ]
    for (_, before), (index, name) in pairwise(headings):
        if (before, name) != ("system", "user"):
            raise PipelineFileError(
                f"`# {name.title()}` can't stand after `# {before.title()}`", file=file, line=index + 1,
                remedy="A prompt has at most one `# System` part and after it one `# User` part",
            )
    stray = [index for index in range(start, headings[0][0]) if lines[index].strip()] if headings else []
    if stray:
        raise PipelineFileError(
            f"there is text before `# {headings[0][1].title()}`", file=file, line=stray[0] + 1,
            remedy="Put all text below `# System` or `# User`",
        )
    bounds = [*headings, (len(lines), "")] if headings else [(start - 1, "user"), (len(lines), "")]
    parts = {"system": (1, ""), "user": (1, "")}
    for (index, name), (after, _) in pairwise(bounds):
        first = next((at for at in range(index + 1, after) if lines[at].strip()), after)
        parts[name] = (first + 1, "\n".join(lines[first:after]).rstrip())
    if not parts["user"][1]:
        last = len(lines) if lines[-1] else max(1, len(lines) - 1)
        raise PipelineFileError("the prompt has no text for the user part", file=file, line=last)
    return parts
