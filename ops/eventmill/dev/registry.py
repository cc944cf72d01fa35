"""The schema registry: Apicurio, which speaks the API of Confluent's, with its schemas in Postgres."""

import http.client
import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from eventmill.dev.java import Java
from eventmill.dev.part import Command, bare_environment
from eventmill.dev.ports import LOOPBACK

API = "/apis/ccompat/v7"


@dataclass(frozen=True)
class Registry:
    """The registry of the stack in `folder`. Its database is the one named `registry` at `postgres_port`."""

    name: ClassVar[str] = "registry"
    ports: ClassVar[tuple[str, ...]] = ("registry", "management")
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    needed_by: ClassVar[tuple[str, ...]] = ()

    folder: Path
    java: Java
    marker: str
    postgres_port: int
    password: str
    port: int
    management_port: int

    def prepare(self) -> None:
        """Make the folder it runs in. It is empty: the registry would read settings it finds there."""
        (self.folder / "registry").mkdir(exist_ok=True)

    def command(self) -> Command:
        """Return the registry's command line and settings."""
        settings = {
            "QUARKUS_HTTP_HOST": LOOPBACK,
            "QUARKUS_HTTP_PORT": str(self.port),
            # A second listener, on port 9000 of every interface unless told otherwise.
            "QUARKUS_MANAGEMENT_HOST": LOOPBACK,
            "QUARKUS_MANAGEMENT_PORT": str(self.management_port),
            "QUARKUS_HTTP_ACCESS_LOG_ENABLED": "false",
            "APICURIO_STORAGE_KIND": "sql",
            "APICURIO_STORAGE_SQL_KIND": "postgresql",
            "APICURIO_DATASOURCE_URL": f"jdbc:postgresql://{LOOPBACK}:{self.postgres_port}/registry",
            "APICURIO_DATASOURCE_USERNAME": "postgres",
            "APICURIO_DATASOURCE_PASSWORD": self.password,
            # Confluent's default; Apicurio's is to accept every schema.
            "APICURIO_RULES_GLOBAL_COMPATIBILITY": "BACKWARD",
        }
        argv = self.java.registry(heap=("64m", "256m"), marker=self.marker)
        return Command(argv, {**bare_environment(), **settings}, self.folder / "registry")

    def complaint(self) -> str | None:
        """Ask for the list of subjects, which it reads from Postgres."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=2)
        try:
            connection.request("GET", f"{API}/subjects")
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                return f"GET {API}/subjects answered {answer.status}"
            if not isinstance(json.loads(body), list):
                return f"GET {API}/subjects answered something that is no list"
        except (OSError, http.client.HTTPException, ValueError) as problem:
            return str(problem) or type(problem).__name__
        finally:
            connection.close()
        return None

    def settle(self) -> None:
        """Do nothing: the registry makes its own tables at its first start."""
