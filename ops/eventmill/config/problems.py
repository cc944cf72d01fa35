"""What is wrong in the pipeline's files, collected so that the user sees all of it at once."""

import difflib
from collections.abc import Collection, Iterable

from eventmill_schemas.errors import PipelineFileError, PipelineFileErrors


class Problems:
    """The mistakes found so far in one reading of a pipeline."""

    def __init__(self) -> None:
        self._found: list[PipelineFileError] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, message: str, *, file: str, line: int | None, remedy: str | None = None) -> None:
        """Note one mistake; `line` counts from 1."""
        self.include(PipelineFileError(message, file=file, line=line, remedy=remedy))

    def include(self, error: PipelineFileError) -> None:
        """Note what another reader of a file raised."""
        for one in error.errors if isinstance(error, PipelineFileErrors) else [error]:
            message, remedy = _on_one_line(one.message), one.remedy and _on_one_line(one.remedy)
            self._found.append(PipelineFileError(message, file=one.file, line=one.line, remedy=remedy))

    def all(self) -> PipelineFileErrors:
        """Return the mistakes as one error, by file and line, each once; there must be one."""
        unique = {str(error): error for error in self._found}
        return PipelineFileErrors(sorted(unique.values(), key=lambda error: (error.file, error.line or 0)))


def suggestion(name: str, known: Iterable[str]) -> str | None:
    """Return the remedy "Did you mean ...?" for a name that is close to a known one, else None."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean `{close[0]}`?" if close else None


def listed(lead: str, names: Collection[str]) -> str | None:
    """Return the remedy "There are: `a`, `b`" for the lead "There are", None without names."""
    return f"{lead}: {', '.join(f'`{name}`' for name in names)}" if names else None


def shortened(text: str, limit: int = 60) -> str:
    """Return `text` for a message: at most `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _on_one_line(text: str) -> str:
    """Return `text` without line ends and control characters: a message quotes what stands in a file."""
    return "".join(character if character.isprintable() else " " for character in text)
