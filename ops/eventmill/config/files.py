"""Reading the text of a pipeline's files."""

from pathlib import Path

from eventmill_schemas.errors import PipelineFileError


def read_text(path: Path, file: str) -> str:
    """Return the text of the UTF-8 file at `path`, lines ended by a line feed, without a byte order mark.

    `file` is how the user knows it. Raises PipelineFileError: it can't be read, or it is no UTF-8 text.
    """
    try:
        raw = path.read_bytes()
    except (OSError, ValueError) as error:   # ValueError: a NUL in the path
        raise PipelineFileError(f"the file can't be read: {reason(error)}", file=file) from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise PipelineFileError("this is not UTF-8 text", file=file, line=line) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def reason(error: Exception) -> str:
    """Return why the system refused, in words: "No such file or directory"."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
