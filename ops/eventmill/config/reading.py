"""One reading of a pipeline file: what it says, where its other files are, and what was found wrong so far."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from eventmill.config.problems import Problems, shortened
from eventmill.config.yaml_nodes import Document, KeyPath


class FoundFile(NamedTuple):
    """A file that the pipeline names: where it is, and how the user knows it."""

    path: Path
    file: str


@dataclass(frozen=True, slots=True)
class Reading:
    """The document, the folder it lies in, and the mistakes. `folder` is absolute."""

    document: Document
    folder: Path
    problems: Problems

    def wrong(self, at: KeyPath, message: str, remedy: str | None = None) -> None:
        """Note a mistake in the value at `at`."""
        self.problems.add(message, file=self.document.file, line=self.document.line(at), remedy=remedy)

    def wrong_key(self, at: KeyPath, message: str, remedy: str | None = None) -> None:
        """Note a mistake in the key at `at`."""
        self.problems.add(message, file=self.document.file, line=self.document.key_line(at), remedy=remedy)

    def find(self, name: str, at: KeyPath) -> FoundFile | None:
        """Return the file `name`, which the value at `at` asks for; None, and a mistake noted, where there is none."""
        path = self.folder / name
        try:
            if path.is_file():
                return FoundFile(path, str(Path(self.document.file).parent / name))
            what = "is not a file" if path.exists() else "does not exist"
        except OSError as error:   # a name that is too long, a folder that is closed to us
            what = f"can't be read ({error.strerror})"
        self.wrong(at, f"`{shortened(name)}` {what} in the folder of the pipeline")
        return None
