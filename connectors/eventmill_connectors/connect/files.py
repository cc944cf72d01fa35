"""Files of connectors: JSON objects with `name` and `config`, as the REST API takes them."""

import json
from collections.abc import Iterable
from pathlib import Path

from eventmill_connectors.connect.connector import Connector
from eventmill_schemas.errors import PipelineFileError, UsageError


def as_text(connector: Connector) -> str:
    """Return the content of a connector's file."""
    return json.dumps({"name": connector.name, "config": dict(connector.config)}, indent=2) + "\n"


def file_of(folder: Path, connector: Connector) -> Path:
    """Return where a connector is kept."""
    return folder / f"{connector.name}.json"


def read_connectors(places: Iterable[Path]) -> list[Connector]:
    """Return the connectors of files, and of the `.json` files in folders, in their order.

    Raises PipelineFileError for a file that holds no connector; UsageError for a folder without one, or one name twice.
    """
    found: dict[str, Path] = {}
    connectors = []
    for file in (file for place in places for file in _files(place)):
        connector = _read(file)
        if (other := found.setdefault(connector.name, file)) != file:
            raise UsageError(f"{other} and {file} both hold the connector {connector.name!r}")
        connectors.append(connector)
    return connectors


def _files(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    files = sorted(place.glob("*.json"))
    if not files:
        raise UsageError(f"there is no connector (*.json) in {place}", remedy="Make one: eventmill connect generate")
    return files


def _read(file: Path) -> Connector:
    try:
        document = json.loads(file.read_bytes())
    except OSError as problem:
        raise PipelineFileError(f"the file can't be read: {problem.strerror}", file=str(file)) from problem
    except ValueError as problem:
        line = getattr(problem, "lineno", None)
        raise PipelineFileError(f"this is not JSON: {problem}", file=str(file), line=line) from problem
    if not isinstance(document, dict) or not isinstance(document.get("name"), str) or not document["name"]:
        raise PipelineFileError("this is not a connector: it has no name", file=str(file), remedy=_SHAPE)
    config = document.get("config")
    if not isinstance(config, dict) or not isinstance(config.get("connector.class"), str):
        raise PipelineFileError("its config has no connector.class", file=str(file), remedy=_SHAPE)
    for key, value in config.items():
        if not isinstance(value, str):
            raise PipelineFileError(f"the setting {key} is not text", file=str(file), remedy=f'Write it as "{value}"')
    return Connector(document["name"], config)


_SHAPE = 'Write {"name": ..., "config": {"connector.class": ..., ...}}, all settings as text'
