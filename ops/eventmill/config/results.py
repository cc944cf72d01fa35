"""Result schemas: the user's .avsc files, and the expressions in them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from eventmill.config.expressions import check_expression
from eventmill.config.files import read_text
from eventmill.config.problems import Problems
from eventmill_schemas.errors import PipelineFileError, UsageError
from eventmill_schemas.pipeline import ResultSchema
from eventmill_schemas.result_schema import answer_fields, computed_fields, validate_user_schema


def load_result(path: Path, file: str, targets: Iterable[str], problems: Problems) -> ResultSchema:
    """Read the Avro schema of a result at `path`, known to the user as `file`.

    `targets`: the names that steps fill; of those that are no fields its expressions can speak, too. Notes expressions
    that can't be compiled in `problems`. Raises PipelineFileError: it can't be read, is no JSON, or no schema that a
    result can have.
    """
    text = read_text(path, file)
    avro = _json(text, file)
    validate_user_schema(avro, file, text)
    fields = (*answer_fields(avro), *computed_fields(avro), *targets)
    for name, expression in computed_fields(avro).items():
        try:
            check_expression(expression, f"`from` of the field {name!r}", fields)
        except UsageError as error:
            line = text.count("\n", 0, max(0, text.find(json.dumps(expression)))) + 1
            problems.add(error.message, file=file, line=line, remedy=error.remedy)
    return ResultSchema(avro, file)


def _json(text: str, file: str) -> Any:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            names = [name for name, _ in items]
            twice = next(name for name in names if names.count(name) > 1)
            raise PipelineFileError(f"an object has the key `{twice}` twice", file=file, line=1)
        return found

    try:
        return json.loads(text, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        line = min(error.lineno, max(1, len(text.splitlines())))
        raise PipelineFileError(f"this is not valid JSON: {error.msg}", file=file, line=line) from None
    except (RecursionError, ValueError):   # ValueError: a number of thousands of digits
        raise PipelineFileError("this is not the JSON of a schema", file=file, line=1) from None
