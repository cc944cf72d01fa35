"""The Java archives of the stack: fetched once by Maven from our poms into the user's cache, shared by all projects."""

import hashlib
import json
import os
import pwd
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from eventmill.dev.lock import exclusive
from eventmill.dev.part import Command, Report
from eventmill.dev.process import run
from eventmill_schemas.errors import SetupError, StackFailed

_STAMP = "complete.json"


@dataclass(frozen=True)
class Archives:
    """A set of archives that is fetched together: what is in it, and its poms by file name, the one to run first."""

    name: str
    contents: str
    poms: Mapping[str, bytes]

    @property
    def key(self) -> str:
        """What tells this set from any other, and from itself after an upgrade: part of its folder's name."""
        return hashlib.sha256(b"".join(self.poms.values())).hexdigest()[:12]


def _of_package(name: str, contents: str, *poms: str) -> Archives:
    return Archives(name, contents, {pom: files("eventmill.dev").joinpath(pom).read_bytes() for pom in poms})


SERVERS = _of_package("stack", "Kafka and the schema registry (230 MB)", "pom.xml")
CONNECT = _of_package(
    "connect",
    "Kafka Connect, the JDBC sink and the Avro converter (120 MB)",
    "connect.xml",
    "connect_worker.xml",
    "connect_converter.xml",
)
ICEBERG = _of_package("iceberg", "the Iceberg sink (90 MB)", "iceberg.xml")


def cache_folder(project: Path | None = None, environment: Mapping[str, str] | None = None) -> Path:
    """Return the folder for what can be fetched again, made if needed.

    $XDG_CACHE_HOME/eventmill, else ~/.cache/eventmill; where neither can be written (no home folder, a read-only one),
    `.eventmill/cache` in the project folder, which is the current one unless given.
    """
    environment = os.environ if environment is None else environment
    candidates = [(project or Path.cwd()) / ".eventmill" / "cache"]
    if environment.get("HOME"):
        candidates.insert(0, Path(environment["HOME"]) / ".cache" / "eventmill")
    if environment.get("XDG_CACHE_HOME"):
        candidates.insert(0, Path(environment["XDG_CACHE_HOME"]) / "eventmill")
    for folder in candidates:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise SetupError(
        f"No folder for the cache can be written: {', '.join(str(folder) for folder in candidates)}",
        remedy="Set XDG_CACHE_HOME to a folder that can",
    )


def archive_folder(cache: Path, archives: Archives = SERVERS) -> Path:
    """Return the folder in the cache that belongs to these archives, whether it is there or not."""
    return cache / f"{archives.name}-{archives.key}"


def ensure(cache: Path, report: Report, archives: Archives = SERVERS, *, maven: str = "mvn") -> Path:
    """Return the folder with the archives, filling it if it is not complete.

    Two callers at once: one fills, the other waits. A fill that was interrupted leaves nothing that is taken for a
    full folder, and a folder from which a file was lost is filled again.
    Raises SetupError if Maven is missing, StackFailed with Maven's own words if it fails twice.
    """
    folder = archive_folder(cache, archives)
    if is_complete(folder):
        return folder
    with exclusive(cache / "stack.lock", waiting=lambda: report("waiting for another eventmill that fills the cache")):
        if not is_complete(folder):
            _fill(folder, archives, maven, report)
    return folder


def is_complete(folder: Path) -> bool:
    """Whether the folder was filled to the end and still has every file of that moment in its size."""
    try:
        sizes = json.loads((folder / _STAMP).read_text())
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def _fill(folder: Path, archives: Archives, maven: str, report: Report) -> None:
    program = shutil.which(maven)
    if program is None:
        raise SetupError(
            f"Maven (mvn) is needed once, to fetch {archives.contents}, and is not installed",
            remedy="Install it (Debian, Ubuntu: apt-get install maven), or use servers that run elsewhere: "
            "set EVENTMILL_KAFKA, EVENTMILL_REGISTRY and EVENTMILL_POSTGRES",
        )
    report(f"fetching {archives.contents} into {folder}, once")
    for left_over in folder.parent.glob(f"{folder.name}.unfinished-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{folder.name}.unfinished-", dir=folder.parent))
    try:
        for name, pom in archives.poms.items():
            (scratch / name).write_bytes(pom)
        _run_maven(program, scratch / next(iter(archives.poms)), _user_home(), folder.parent / "maven")
        shutil.rmtree(scratch / ".maven", ignore_errors=True)
        sizes = {str(f.relative_to(scratch)): f.stat().st_size for f in sorted(scratch.rglob("*")) if f.is_file()}
        (scratch / _STAMP).write_text(json.dumps(sizes))
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _run_maven(program: str, pom: Path, home: Path | None, own_repository: Path) -> None:
    argv = [program, "-q", "-B", "-f", str(pom), "package", f"-Dout={pom.parent}"]
    if not _can_keep_repository(home):
        argv.append(f"-Dmaven.repo.local={own_repository}")
    # -U at the second try: Maven remembers a look-up that failed and would not ask again.
    for extra in ([], ["-U"]):
        done = run(Command([*argv, *extra], os.environ, pom.parent))
        if done.returncode == 0:
            return
    raise StackFailed(
        f"Maven could not fetch the stack's archives:\n{_errors(done.stdout)}",
        remedy="Check that Maven reaches its repository (its settings are in ~/.m2/settings.xml)",
    )


def _user_home() -> Path | None:
    # Where Java looks, and so Maven: the account's home, whatever HOME says.
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return None


def _can_keep_repository(home: Path | None) -> bool:
    if home is None:
        return False
    repository = home / ".m2"
    return os.access(repository if repository.exists() else home, os.W_OK | os.X_OK)


def _errors(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("[ERROR]")]
    return "\n".join((errors or lines)[-12:])
