"""Where the benchmarks run: the repository, the servers, the folder for logs and files, and whom to tell."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from eventmill.config import load
from eventmill.dev.addresses import Addresses
from eventmill.rig.commands import run_command
from eventmill_schemas.pipeline import Pipeline

_WORKLOADS = Path(__file__).parent / "workloads"


@dataclass(frozen=True, slots=True)
class Site:
    """What every measurement needs. `tag` is in the names of all topics of this run."""

    root: Path
    folder: Path
    addresses: Addresses
    say: Callable[[str], None]
    tag: str

    @property
    def logs(self) -> Path:
        """Where the measured processes write their logs."""
        return self.folder / "logs"


@dataclass(frozen=True, slots=True)
class Workload:
    """A pipeline on an input topic that is shared by its runs. `environ` is what its file asks for."""

    site: Site
    name: str
    topic: str
    environ: Mapping[str, str]

    @property
    def folder(self) -> Path:
        """The pipeline's files."""
        return _WORKLOADS / self.name

    @property
    def file(self) -> Path:
        """The pipeline file."""
        return self.folder / "pipeline.yaml"

    def prepared(self, run: str) -> tuple[Pipeline, dict[str, str]]:
        """Create the topics and schemas of one run, which is a pipeline of its own; return it and its environment."""
        environ = {**self.environ, "BENCH_PIPELINE": f"bench-{self.site.tag}-{run}"}
        run_command(self.site.say, environ, "apply", str(self.file), "--inputs")
        return load(self.file, environ), environ

    def produce(self, events: Path, repeat: int = 1) -> None:
        """Produce a file of events to the input topic."""
        run_command(
            self.site.say,
            {**self.environ, "BENCH_PIPELINE": "bench"},
            *("produce", self.topic, "--pipeline", str(self.file), "--from", str(events), "--create-topic"),
            *("--schema", str(self.folder / "event.avsc"), "--key", "customer", "--id", "id"),
            *("--repeat", str(repeat)),
        )


def workload(site: Site, name: str, **environ: str) -> Workload:
    """Return the workload `name` on a topic of this run."""
    topic = f"bench-{site.tag}.{name}"
    addresses = {"KAFKA": site.addresses.bootstrap, "REGISTRY": site.addresses.registry}
    return Workload(site, name, topic, {**addresses, "BENCH_INPUT": topic, **environ})


def new_tag() -> str:
    """Return a tag that no other run has."""
    return uuid4().hex[:8]
