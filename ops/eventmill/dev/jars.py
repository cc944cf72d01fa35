"""The Java archives of the stack: fetched once by Maven from our pom into the user's cache, shared by all projects."""

import hashlib
import json
import os
import pwd
import shutil
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from eventmill.dev.lock import exclusive
from eventmill.dev.part import Command, Report
from eventmill.dev.process import run
from eventmill_schemas.errors import SetupError, StackFailed

_STAMP = "complete.json"


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


def archive_folder(cache: Path, pom: bytes | None = None) -> Path:
    """Return the folder in the cache that belongs to our pom, whether it is there or not."""
    return cache / f"stack-{hashlib.sha256(_our_pom() if pom is None else pom).hexdigest()[:12]}"


def ensure(cache: Path, report: Report, *, pom: bytes | None = None, maven: str = "mvn") -> Path:
    """Return the folder with the archives of our pom, filling it if it is not complete.

    Two callers at once: one fills, the other waits. A fill that was interrupted leaves nothing that is taken for a
    full folder, and a folder from which a file was lost is filled again.
    Raises SetupError if Maven is missing, StackFailed with Maven's own words if it fails twice.
    """
    pom = _our_pom() if pom is None else pom
    folder = archive_folder(cache, pom)
    if is_complete(folder):
        return folder
    with exclusive(cache / "stack.lock", waiting=lambda: report("waiting for another eventmill that fills the cache")):
        if not is_complete(folder):
            _fill(folder, pom, maven, report)
    return folder


def is_complete(folder: Path) -> bool:
    """Whether the folder was filled to the end and still has every file of that moment in its size."""
    try:
        sizes = json.loads((folder / _STAMP).read_text())
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def _our_pom() -> bytes:
    return files("eventmill.dev").joinpath("pom.xml").read_bytes()


def _fill(folder: Path, pom: bytes, maven: str, report: Report) -> None:
    program = shutil.which(maven)
    if program is None:
        raise SetupError(
            "Maven (mvn) is needed once, to fetch Kafka and the schema registry, and is not installed",
            remedy="Install it (Debian, Ubuntu: apt-get install maven), or use servers that run elsewhere: "
            "set EVENTMILL_KAFKA, EVENTMILL_REGISTRY and EVENTMILL_POSTGRES",
        )
    report(f"fetching Kafka and the schema registry into {folder} (once, about 230 MB)")
    for left_over in folder.parent.glob(f"{folder.name}.unfinished-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{folder.name}.unfinished-", dir=folder.parent))
    try:
        (scratch / "pom.xml").write_bytes(pom)
        _run_maven(program, scratch, _user_home(), folder.parent / "maven")
        shutil.rmtree(scratch / ".maven", ignore_errors=True)
        sizes = {str(f.relative_to(scratch)): f.stat().st_size for f in sorted(scratch.rglob("*")) if f.is_file()}
        (scratch / _STAMP).write_text(json.dumps(sizes))
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _run_maven(program: str, scratch: Path, home: Path | None, own_repository: Path) -> None:
    argv = [program, "-q", "-B", "-f", str(scratch / "pom.xml"), "package", f"-Dout={scratch}"]
    if not _can_keep_repository(home):
        argv.append(f"-Dmaven.repo.local={own_repository}")
    # -U at the second try: Maven remembers a look-up that failed and would not ask again.
    for extra in ([], ["-U"]):
        done = run(Command([*argv, *extra], os.environ, scratch))
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
