"""Where a run's pipeline file is: the example itself, or a copy with names of its own on somebody else's servers."""

import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from eventmill.demo.models import LocalModel
from eventmill.rig.servers import Servers


@dataclass(frozen=True, slots=True)
class Example:
    """An example pipeline and the events that it is shown with.

    `folder` holds its files, `topic` is its input topic in pipeline.yaml, `events` the file of events, and `produce`
    how `eventmill produce` reads it. `quotes` names the event's fields that the stand-in's summary is taken from.
    `model` is built before the run. `searches`: (store, text) to look for at its end.
    """

    folder: Path
    topic: str
    schema: str
    events: Path
    produce: tuple[str, ...]
    quotes: str
    model: LocalModel
    searches: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Placement:
    """The pipeline file, its input topic and schema, and the variables that it takes its addresses from.

    `external`: it is on somebody else's servers.
    """

    file: Path
    topic: str
    schema: Path
    environ: dict[str, str]
    external: bool


@contextmanager
def placed(example: Example, folder: Path, servers: Servers, *, keep: bool = False) -> Iterator[Placement]:
    """Give the example as it is; for servers of somebody else a copy in `folder` with topics and vectors of its own.

    The copy is removed at the end unless `keep`.
    """
    environ = {
        "KAFKA": servers.addresses.bootstrap,
        "REGISTRY": servers.addresses.registry,
        "DATABASE_URL": servers.addresses.postgres,
    }
    if not servers.external:
        file, schema = example.folder / "pipeline.yaml", example.folder / example.schema
        yield Placement(file, example.topic, schema, environ, external=False)
        return
    tag = uuid.uuid4().hex[:8]
    copy = folder / f"{example.folder.name}-{tag}"
    shutil.copytree(example.folder, copy)
    try:
        file, topic = copy / "pipeline.yaml", f"{example.topic}-{tag}"
        environ["VECTORS"] = f"eventmill_vectors_{tag}"
        text = file.read_text()
        text = re.sub(r"(?m)^(pipeline: +\S+).*$", rf"\g<1>-{tag}", text, count=1)
        text = re.sub(rf"(?m)^(    input: ){re.escape(example.topic)}\b", rf"\g<1>{topic}", text)
        file.write_text(text)
        yield Placement(file, topic, copy / example.schema, environ, external=True)
    finally:
        if not keep:
            shutil.rmtree(copy, ignore_errors=True)
