"""When the stand-in answers late or wrongly: seeded, so that a run can be repeated. Pure.

What happens to a request follows from the seed, its text and how often that text has come before; never from the order
of arrival or the clock.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from itertools import accumulate
from statistics import NormalDist
from typing import Final, NamedTuple

from eventmill_schemas.errors import UsageError


class Outcome(StrEnum):
    """What comes of a call. The numbers are HTTP statuses."""

    OK = "ok"
    TRUNCATED = "truncated"      # cut in the middle, finish_reason "length"
    REFUSAL = "refusal"          # the model refuses: message.refusal
    INVALID = "invalid"          # JSON that does not follow the schema
    TIMEOUT = "timeout"          # served and billed, and no answer ever comes
    RESET = "reset"              # served and billed, and the connection breaks in the middle of the answer
    BAD_REQUEST = "400"
    UNAUTHORIZED = "401"
    NO_MONEY = "402"
    RATE_LIMIT = "429"
    ERROR = "500"
    BAD_GATEWAY = "502"
    UNAVAILABLE = "503"
    OVERLOADED = "529"

    @property
    def status(self) -> int | None:
        """The HTTP status of an answer in which nothing was served; None where the call was served."""
        return int(self) if self.isdecimal() else None


# A text that contains [[stand-in:NAME]] forces what comes of it, so that examples and tests can choose.
_MARKER = re.compile(r"\[\[stand-in:([a-z0-9]+)\]\]")
_MARKED: Mapping[str, Outcome] = {"refuse": Outcome.REFUSAL, "truncate": Outcome.TRUNCATED} | {
    str(outcome): outcome for outcome in Outcome
}
# What a busy server answers passes: such a marker holds for the first attempt only.
_PASSING: Final = frozenset({Outcome.RATE_LIMIT, Outcome.UNAVAILABLE, Outcome.OVERLOADED})


def marked_outcome(text: str) -> Outcome | None:
    """Return what a marker in `text` asks for, None where there is none."""
    found = _MARKER.search(text) if "[[stand-in:" in text else None
    return _MARKED.get(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """How likely each outcome other than OK is. `bounds` are the upper ends of their shares of [0, 1)."""

    rates: Mapping[Outcome, float] = field(default_factory=dict)
    bounds: tuple[tuple[float, Outcome], ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "bounds", tuple(zip(accumulate(self.rates.values()), self.rates, strict=True)))

    @classmethod
    def parse(cls, text: str) -> "ErrorRates":
        """Read `429=0.02,timeout=0.001`. Raises UsageError."""
        rates: dict[Outcome, float] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, value = part.partition("=")
            outcome, rate = _MARKED.get(name.strip()), _number(value)
            if outcome in (None, Outcome.OK) or rate is None or rate > 1:
                names = ", ".join(outcome for outcome in Outcome if outcome is not Outcome.OK)
                raise UsageError(f"--errors: {part!r} is not NAME=PROBABILITY", remedy=f"Names: {names}")
            rates[outcome] = rate
        if sum(rates.values()) > 1:
            raise UsageError("--errors: the probabilities add up to more than 1", remedy="Lower them")
        return cls(rates)

    def draw(self, chance: float) -> Outcome:
        """Return the outcome at `chance`, which is uniform in [0, 1)."""
        for bound, outcome in self.bounds:
            if chance < bound:
                return outcome
        return Outcome.OK


@dataclass(frozen=True, slots=True)
class Latency:
    """A distribution of seconds.

    `fixed:S`, `uniform:LOW:HIGH`, or `lognormal:MEDIAN:SIGMA`, with `:P:SLOW` behind it if a share P of the calls takes
    SLOW seconds.
    """

    kind: str
    values: tuple[float, ...]

    @classmethod
    def parse(cls, text: str) -> "Latency":
        """Read a distribution as it is written above. Raises UsageError."""
        kind, *rest = text.strip().split(":")
        numbers = [_number(part) for part in rest]
        values = tuple(number for number in numbers if number is not None)
        fits = len(values) == len(numbers) and len(values) in _PARAMETERS.get(kind, ())
        if not fits or (kind == "uniform" and values[0] > values[1]) or (len(values) == 4 and values[2] > 1):
            raise UsageError(
                f"--latency: {text!r} is no distribution",
                remedy="Write fixed:S, uniform:LOW:HIGH, lognormal:MEDIAN:SIGMA or lognormal:MEDIAN:SIGMA:P:SLOW",
            )
        return cls(kind, values)

    def draw(self, chance: float, second: float) -> float:
        """Return the seconds at two chances, each uniform in [0, 1)."""
        if self.kind == "fixed":
            return self.values[0]
        if self.kind == "uniform":
            low, high = self.values
            return low + (high - low) * chance
        median, sigma, *slow = self.values
        if slow and second < slow[0]:
            return slow[1]
        # 2^-53 keeps 0, which would be minus infinity, out.
        return median * math.exp(sigma * _NORMAL.inv_cdf(min(max(chance, 2**-53), 1 - 2**-53)))


class Fate(NamedTuple):
    """What happens to one request."""

    outcome: Outcome
    seconds: float


@dataclass(frozen=True, slots=True)
class Fates:
    """Decides the fate of every request."""

    seed: int = 1
    latency: Latency = Latency("fixed", (0.0,))
    errors: ErrorRates = ErrorRates()

    def decide(self, digest: bytes, attempt: int, marked: Outcome | None) -> Fate:
        """Return the fate of a text with the hash `digest` that comes for the `attempt`th time (from 1)."""
        key = b"%d %d " % (self.seed, attempt) + digest
        drawn = blake2b(key, digest_size=24).digest()
        chances = [int.from_bytes(drawn[place : place + 8], "big") / 2**64 for place in (0, 8, 16)]
        seconds = self.latency.draw(chances[0], chances[1])
        if marked is None:
            return Fate(self.errors.draw(chances[2]), seconds)
        return Fate(Outcome.OK if marked in _PASSING and attempt > 1 else marked, seconds)


_PARAMETERS: Final = {"fixed": (1,), "uniform": (2,), "lognormal": (2, 4)}
_NORMAL: Final = NormalDist()


def _number(text: str) -> float | None:
    """Return a number that is 0 or more, None for anything else."""
    return float(text) if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text.strip(), re.ASCII) else None
