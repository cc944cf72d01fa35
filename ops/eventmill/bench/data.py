"""The events of the benchmarks: made from a seed, the same on every machine."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KEYS = 1_000
_SEED = 20
_BODY_WORDS = 150   # about a kilobyte
_SYLLABLES = ("ba", "ce", "di", "fo", "gu", "la", "me", "ni", "po", "ru", "sa", "te", "vi", "wo", "xu", "za")


def write_notes(file: Path, count: int) -> None:
    """Write `count` notes of about 1 KB, each of a random one of KEYS customers."""
    _write(file, _notes(count))


def write_payments(file: Path, count: int) -> None:
    """Write `count` payments of about 0.2 KB, each of a random one of KEYS customers."""
    _write(file, _payments(count))


def _notes(count: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(_SEED)
    words = ["".join(chance.choices(_SYLLABLES, k=3)) for _ in range(2_000)]
    for number in range(count):
        customer = chance.randrange(KEYS)
        text = " ".join(chance.choices(words, k=_BODY_WORDS))
        yield {
            "id": f"n{number}",
            "tenant": f"tenant-{customer % 5}",
            "customer": f"customer-{customer}",
            "body": f"Note {number} of customer {customer} says that {text}.",
        }


def _payments(count: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(_SEED)
    for number in range(count):
        customer = chance.randrange(KEYS)
        yield {
            "id": f"p{number}",
            "customer": f"customer-{customer}",
            "cents": chance.randrange(1, 1_000_000),
            "paid_at": 1_790_000_000_000 + 1_000 * number,
            "text": f"Payment number {number} of customer {customer}, by transfer. Thank you for it, and until soon.",
        }


def _write(file: Path, events: Iterator[dict[str, Any]]) -> None:
    with file.open("w") as out:
        out.writelines(json.dumps(event) + "\n" for event in events)
