"""Writing a new pipeline into a folder, over nothing that is there."""

import os
from collections.abc import Mapping
from pathlib import Path

from eventmill_schemas.errors import UsageError


def write(folder: Path, files: Mapping[str, str], *, force: bool) -> list[Path]:
    """Write the files (content by path within `folder`) and return where they are. Folders are made as needed.

    Each file is there in full or not at all. Raises UsageError, and writes nothing, where one is there already, unless
    `force`; and where the folder can't be written to.
    """
    there = [name for name in files if (folder / name).exists() or (folder / name).is_symlink()]
    if there and not force:
        raise UsageError(
            f"{folder}: {', '.join(there)} {'is' if len(there) == 1 else 'are'} there already; nothing was written",
            remedy="Name another folder, or write over them with `--force`",
        )
    written = []
    try:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f".{path.name}.{os.getpid()}")
            unfinished.write_text(text, "utf-8")
            unfinished.replace(path)
            written.append(path)
    except OSError as error:
        raise UsageError(f"{error.filename or folder}: can't be written: {error.strerror or error}") from None
    return written
