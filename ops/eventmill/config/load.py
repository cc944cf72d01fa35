"""Reading a pipeline file from the first byte to the finished value."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from eventmill.config import messages, yaml_nodes
from eventmill.config.files import read_text
from eventmill.config.model import PipelineFile
from eventmill.config.problems import Problems
from eventmill.config.reading import Reading
from eventmill.config.resolve import Declared, resolve
from eventmill.config.yaml_nodes import Document, KeyPath
from eventmill_schemas.errors import PipelineFileError
from eventmill_schemas.pipeline import Pipeline

_SECTIONS = frozenset({"stages", "routes", "prices", "models", "stores"})   # whose entries stand for themselves
_EXTENSION = "x-"   # top-level keys of the user's own, for what anchors share; as in Docker Compose files


class Loaded(NamedTuple):
    """A pipeline and the document that it was made of, for messages that name a line."""

    pipeline: Pipeline
    document: Document


def load(path: str | Path, environ: Mapping[str, str]) -> Pipeline:
    """Return the pipeline of the file at `path`, with the files that it names.

    `environ` gives the values of `${VAR}`. Nothing is imported or run, nothing outside the files is asked.
    Raises PipelineFileErrors with all mistakes that can be told so far, each with its file and line.
    """
    return load_with_lines(path, environ).pipeline


def load_with_lines(path: str | Path, environ: Mapping[str, str]) -> Loaded:
    """Load as `load` does, and return the document too."""
    problems = Problems()
    try:
        document = yaml_nodes.read(read_text(Path(path), str(path)), str(path), problems, environ)
    except PipelineFileError as error:
        problems.include(error)
        raise problems.all() from None
    document = _without_extensions(document)
    reading = Reading(document, Path(path).absolute().parent, problems)
    model = _shape(document, problems)
    if model is None:
        raise problems.all()
    names = Declared(*(_names(document, section) for section in ("stages", "routes", "models", "stores")))
    pipeline = resolve(model, names, reading)
    if problems:
        raise problems.all()
    return Loaded(pipeline, document)


def _without_extensions(document: Document) -> Document:
    if not isinstance(document.data, dict):
        return document
    data = {key: value for key, value in document.data.items() if not key.startswith(_EXTENSION)}
    return replace(document, data=data)


def _names(document: Document, section: str) -> tuple[str, ...]:
    names = document.at((section,))
    return tuple(names) if isinstance(names, dict) else ()


def _shape(document: Document, problems: Problems) -> PipelineFile | None:
    """Return the file's shape; where some of it is wrong, that of the rest, so that mistakes there are seen too."""
    try:
        return PipelineFile.model_validate(document.data)
    except ValidationError as error:
        wrong = messages.report(error, document, PipelineFile, problems)
    try:
        return PipelineFile.model_validate(_without(document.data, wrong))
    except ValidationError:
        return None


def _without(data: Any, wrong: Collection[KeyPath]) -> Any:
    """Return `data` without the stages, routes, prices and top-level values that the paths in `wrong` lie in."""
    if not isinstance(data, dict):
        return data
    heads = {path[:2] if path and path[0] in _SECTIONS else path[:1] for path in wrong}
    left = {key: value for key, value in data.items() if (key,) not in heads}
    for section in _SECTIONS & left.keys():
        value = left[section]
        if isinstance(value, dict):
            left[section] = {name: entry for name, entry in value.items() if (section, name) not in heads}
        elif isinstance(value, list):
            left[section] = [entry for index, entry in enumerate(value) if (section, index) not in heads]
    left.setdefault("pipeline", "unnamed")
    return left
