"""Result schemas: the user's .avsc files."""

import json
from pathlib import Path
from typing import Any

from eventmill.config.files import read_text
from eventmill_schemas.errors import PipelineFileError
from eventmill_schemas.pipeline import ResultSchema


def load_result(path: Path, file: str) -> ResultSchema:
    """Read the Avro schema of a result at `path`, known to the user as `file`.

    Raises PipelineFileError: it can't be read, is no JSON, or no schema that a result can have.
    """
    avro = _json(read_text(path, file), file)
    if not isinstance(avro, dict) or avro.get("type") != "record":
        raise PipelineFileError("the schema of a result must be an Avro record", file=file, line=1)
    return ResultSchema(avro, file)


def _json(text: str, file: str) -> Any:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            names = [name for name, _ in items]
            twice = next(name for name in names if names.count(name) > 1)
            raise PipelineFileError(f"an object has `{twice}` twice", file=file, line=1)
        return found

    try:
        return json.loads(text, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        line = min(error.lineno, max(1, len(text.splitlines())))
        raise PipelineFileError(f"this is not valid JSON: {error.msg}", file=file, line=line) from None
    except (RecursionError, ValueError):   # ValueError: a number of thousands of digits
        raise PipelineFileError("this is not the JSON of a schema", file=file, line=1) from None


def answer_names(result: ResultSchema) -> list[str]:
    """Return the names of the fields that steps fill."""
    return [field["name"] for field in result.avro["fields"] if "from" not in field]
