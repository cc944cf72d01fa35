"""Keys of the outside: where they come from, and a type that does not tell them."""

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

import structlog

from eventmill_schemas.errors import UsageError

_USABLE = re.compile(r"[!-~]{1,4096}")   # printable ASCII without spaces: what an HTTP header takes

# Seconds between two looks at a key file. A change counts when two looks in a row see the same file, so that a file
# which is being written is not read in the middle: a rotated key is in use after at most two looks.
LOOK_EVERY = 1.0

_log = structlog.get_logger(__name__)

_Signature = tuple[int, int, int]   # what changes when a file is written or replaced: time, size, inode


class Secret:
    """A value that shows as `***` wherever it is printed, logged or formatted."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself, for the one place that has to send it."""
        return self._value

    def hide_in(self, text: str) -> str:
        """Return `text` with every occurrence of the value replaced by `***`."""
        return text.replace(self._value, "***")

    def __repr__(self) -> str:
        return "***"

    def __str__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not written into files or sent to other processes")


class KeySource:
    """The key called `name`: the environment variable of that name, or the file that `<name>_FILE` points to.

    A file is read again when it changes, without a restart. A changed file that is empty, gone, unreadable or not a
    key keeps the key in use; this is logged once per change.
    """

    def __init__(
        self, name: str, environ: Mapping[str, str], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self._value = environ.get(name, "").strip()
        self._file = environ.get(f"{name}_FILE", "").strip()
        self._clock = clock
        self._key: Secret | None = None
        self._read: _Signature | None = None    # the file as it was when the key was taken from it
        self._seen: _Signature | None = None    # the file at the last look
        self._next_look = 0.0

    @property
    def is_set(self) -> bool:
        """Whether the environment names a key or a key file."""
        return bool(self._value or self._file)

    def current(self) -> Secret | None:
        """Return the key, None where the environment names none.

        Raises: UsageError if it names both, or a value or file that is no key.
        """
        if self._file:
            now = self._clock()
            if self._key is None:
                self._key = self._first_reading()
                self._next_look = now + LOOK_EVERY
            elif now >= self._next_look:
                self._next_look = now + LOOK_EVERY
                self._look()
        elif self._key is None and self._value:
            self._key = self._checked(self._value)
        return self._key

    def _checked(self, value: str) -> Secret:
        if not _USABLE.fullmatch(value):
            raise UsageError(f"The value of {self.name} is not a key", remedy="A key is one word of ASCII characters")
        return Secret(value)

    def _first_reading(self) -> Secret:
        if self._value:
            raise UsageError(
                f"Both {self.name} and {self.name}_FILE are set",
                remedy="Unset one of them: which account pays must not be a guess",
            )
        self._read = self._seen = _signature(Path(self._file))
        try:
            content = Path(self._file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
            raise UsageError(
                f"{self.name}_FILE: {self._file} can't be read ({reason})", remedy="Point it to a file with the key"
            ) from None
        if not _USABLE.fullmatch(content):
            raise UsageError(
                f"{self.name}_FILE: {self._file} does not hold a key", remedy="Write the key, and nothing else, into it"
            )
        return Secret(content)

    def _look(self) -> None:
        signature = _signature(Path(self._file))
        rested = signature == self._seen
        self._seen = signature
        if signature == self._read or not rested:
            return
        self._read = signature
        try:
            content = Path(self._file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            content = ""
        if not _USABLE.fullmatch(content):
            _log.warning("key_file_unusable", name=self.name, file=self._file, effect="the key in use is kept")
        elif Secret(content) != self._key:
            self._key = Secret(content)
            _log.info("key_rotated", name=self.name, file=self._file)


def _signature(file: Path) -> _Signature | None:
    """Return the signature of the file, None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)
