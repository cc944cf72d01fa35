"""What the stand-in served: its own account of every call, to compare a pipeline's costs with."""

from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import orjson

from eventmill.dev.model.faults import Outcome
from eventmill_schemas.errors import UsageError

_FIELDS = ("sequence", "time", "model", "sha256", "served", "outcome", "prompt_tokens", "completion_tokens")
_COUNTS = ("calls", "served", "prompt_tokens", "completion_tokens")
_DIGEST = 32   # bytes of a SHA-256


class Entry(NamedTuple):
    """One call. `digest` is the SHA-256 of the user message's UTF-8 text; `time` in seconds since 1970.

    `served`: the model worked for it, so it is billed, even if the answer never arrived. Else its tokens are 0.
    """

    time: float
    model: str
    digest: bytes
    served: bool
    outcome: Outcome
    prompt_tokens: int
    completion_tokens: int


class Ledger:
    """All calls since the last reset, at about 60 bytes each; with a file also those of earlier runs.

    The file has one JSON object per line, written out with every call.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._out: IO[bytes] | None = None
        self._begin()
        if file is not None:
            self._open(file)

    def __len__(self) -> int:
        return len(self._times)

    def _begin(self) -> None:
        self._times = array("d")
        self._digests = bytearray()
        self._prompts, self._completions = array("I"), array("I")
        self._models, self._outcomes, self._served = array("I"), array("B"), array("B")
        self._model_numbers: dict[str, int] = {}
        self._totals: dict[str, list[int]] = {}   # model -> the counts in the order of _COUNTS
        self._by_outcome: Counter[Outcome] = Counter()

    def add(self, entry: Entry) -> None:
        """Count a call."""
        self._append(entry)
        if self._out is not None:
            self._out.write(orjson.dumps(_as_json(len(self), entry), option=orjson.OPT_APPEND_NEWLINE))
            self._out.flush()

    def _append(self, entry: Entry) -> None:
        self._times.append(entry.time)
        self._digests += entry.digest
        self._prompts.append(entry.prompt_tokens)
        self._completions.append(entry.completion_tokens)
        self._models.append(self._model_numbers.setdefault(entry.model, len(self._model_numbers)))
        self._outcomes.append(_OUTCOMES.index(entry.outcome))
        self._served.append(entry.served)
        self._by_outcome[entry.outcome] += 1
        counts = self._totals.setdefault(entry.model, [0] * len(_COUNTS))
        for place, count in enumerate((1, entry.served, entry.prompt_tokens, entry.completion_tokens)):
            counts[place] += count

    def reset(self) -> None:
        """Forget all calls, in the file as well."""
        self._begin()
        if self._out is not None:
            self._out.truncate(0)

    def entries(self) -> Iterator[Entry]:
        """Every call, in the order of arrival."""
        models = list(self._model_numbers)
        for place, time in enumerate(self._times):
            yield Entry(
                time,
                models[self._models[place]],
                bytes(self._digests[_DIGEST * place : _DIGEST * (place + 1)]),
                bool(self._served[place]),
                _OUTCOMES[self._outcomes[place]],
                self._prompts[place],
                self._completions[place],
            )

    def report(self, *, entries: bool = False) -> dict[str, Any]:
        """Return the totals, by model as well, and with `entries` every call."""
        by_model = {model: dict(zip(_COUNTS, counts, strict=True)) for model, counts in self._totals.items()}
        total = {name: sum(counts[name] for counts in by_model.values()) for name in _COUNTS}
        outcomes = {str(outcome): count for outcome, count in self._by_outcome.items()}
        found = {**total, "by_model": by_model, "outcomes": outcomes}
        if entries:
            found["entries"] = [_as_json(number, entry) for number, entry in enumerate(self.entries(), 1)]
        return found

    def close(self) -> None:
        """Close the file."""
        if self._out is not None:
            self._out.close()

    def _open(self, file: Path) -> None:
        """Take over what the file holds; a last line that was cut when its writer was killed is dropped."""
        try:
            lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
            cut = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
            for number, line in enumerate(lines, 1):
                self._append(_from_json(line, f"{file}:{number}"))
            self._out = file.open("ab")
            if cut:
                self._out.truncate(sum(map(len, lines)))
        except OSError as error:
            raise UsageError(f"--ledger: {file} can't be used ({error.strerror})", remedy="Name another file") from None


_OUTCOMES = tuple(Outcome)


def _as_json(sequence: int, entry: Entry) -> dict[str, Any]:
    values = (sequence, entry.time, entry.model, entry.digest.hex(), *entry[3:])
    return dict(zip(_FIELDS, values, strict=True))


def _from_json(line: bytes, place: str) -> Entry:
    try:
        found = orjson.loads(line)
        _, time, model, digest, served, outcome, prompt, completion = (found[name] for name in _FIELDS)
        return Entry(time, model, bytes.fromhex(digest), served, Outcome(outcome), prompt, completion)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        raise UsageError(f"{place}: not a call", remedy="Name another file with --ledger") from None
