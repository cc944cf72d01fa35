"""Where a demo's pipeline file is: the example itself, or a copy with topics of its own on somebody else's cluster."""

import re
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from eventmill.dev.addresses import Addresses

EXAMPLE = Path("examples/support-mail")
_INPUT = "mails"


@dataclass(frozen=True, slots=True)
class Workplace:
    """The pipeline file, its input topic, and the variables that it takes its addresses from."""

    example: Path
    file: Path
    topic: str
    environ: dict[str, str]

    @classmethod
    def prepare(cls, root: Path, folder: Path, addresses: Addresses, *, unique: bool) -> "Workplace":
        """Return the example as it is, or with `unique` a copy in `folder` whose topics nobody else has."""
        environ = {"KAFKA": addresses.bootstrap, "REGISTRY": addresses.registry}
        example = root / EXAMPLE
        if not unique:
            return cls(example, example / "pipeline.yaml", _INPUT, environ)
        tag = uuid.uuid4().hex[:8]
        copy = folder / f"support-mail-{tag}"
        shutil.copytree(example, copy)
        file, topic = copy / "pipeline.yaml", f"{_INPUT}-{tag}"
        text = file.read_text()
        text = re.sub(r"(?m)^pipeline: .*$", f"pipeline: support-mail-{tag}", text, count=1)
        text = re.sub(rf"(?m)^(    input: ){_INPUT}\b", rf"\g<1>{topic}", text, count=1)
        file.write_text(text)
        return cls(copy, file, topic, environ)
