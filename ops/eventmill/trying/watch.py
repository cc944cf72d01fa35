"""Waiting until files change: by looking at them, so that it works in every folder and with every editor.

Editors that write a new file and rename it are seen as those that write in place. A file that is saved with the same
content has not changed.
"""

import hashlib
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

EVERY = 0.2
"""Seconds between two looks; a change counts when the files are still the same a look later."""

_SUFFIXES = frozenset({".yaml", ".yml", ".md", ".txt", ".avsc", ".py", ".j2", ".jinja"})
_DEPTH = 4
_MANY = 2_000   # files; what is beyond is no folder of a pipeline
_SKIPPED = frozenset({"__pycache__", "node_modules", "venv", "models", "site-packages"})

Snapshot = Mapping[Path, bytes]


class Watch:
    """Watches what a pipeline may be made of in its `folder` (prompts, schemas, YAML, modules), and `others`."""

    def __init__(self, folder: Path, others: Iterable[Path] = ()) -> None:
        self._folder = folder
        self._others = tuple(others)
        self._digests: dict[Path, tuple[tuple[int, int, int], bytes]] = {}
        self.seen: Snapshot = self.look()

    def look(self) -> Snapshot:
        """Return the content of all files now, hashed; only what was touched since the last look is read."""
        found: dict[Path, bytes] = {}
        for path in [*_files(self._folder, _DEPTH), *self._others]:
            digest = self._digest(path)
            if digest is not None:
                found[path] = digest
        return found

    def wait(self) -> list[Path]:
        """Wait until something is other than it was when this last returned. Return what has changed, come or gone."""
        while True:
            time.sleep(EVERY)
            now = self.look()
            if now == self.seen:
                continue
            while True:   # more than one file may be on its way, or an old one gone and the new one not yet there
                time.sleep(EVERY)
                later = self.look()
                if later == now:
                    break
                now = later
            changed = sorted(path for path in {*now, *self.seen} if now.get(path) != self.seen.get(path))
            self.seen = now
            if changed:
                return changed

    def _digest(self, path: Path) -> bytes | None:
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            known = self._digests.get(path)
            if known is None or known[0] != stamp:
                known = self._digests[path] = (stamp, hashlib.blake2b(path.read_bytes(), digest_size=16).digest())
        except OSError:   # gone between two looks, or not a file
            return None
        return known[1]


def _files(folder: Path, depth: int) -> list[Path]:
    found: list[Path] = []
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return found
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _SKIPPED or len(found) >= _MANY:
            continue
        if entry.is_dir() and not entry.is_symlink():
            if depth > 1:
                found += _files(entry, depth - 1)
        elif entry.suffix in _SUFFIXES:
            found.append(entry)
    return found
