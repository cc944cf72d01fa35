"""What is known of the events that a pipeline is to read: their fields, some of them, and how many there are."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eventmill_schemas.avro_types import definition, kind, named_types, without_null
from eventmill_schemas.pipeline import Format
from eventmill_schemas.result_schema import ENVELOPE

_IDS = ("id", "event_id", "uuid", "message_id")
_TENANTS = ("tenant", "tenant_id")
_LABELS = ("label", "category", "intent", "class", "kind", "type", "topic")
_MOST_LABELS = 20
_MOST_TEXTS = 6


@dataclass(frozen=True, slots=True)
class Events:
    """The events of `topic`. `avro`: their schema; None: JSON, or the registry does not tell it.

    `samples`: fields of some of them, the newest last. `count`: how many there are; None where nobody was asked.
    """

    topic: str
    format: Format
    avro: Mapping[str, Any] | None = None
    samples: Sequence[Mapping[str, Any]] = ()
    count: int | None = None

    def text_fields(self) -> list[str]:
        """Return the fields that hold text, of JSON those that every sample has."""
        if self.avro is None:
            names = dict.fromkeys(name for sample in self.samples for name in sample)
            return [name for name in names if all(isinstance(sample.get(name), str) for sample in self.samples)]
        named = named_types(self.avro)
        found = []
        for one in self.avro["fields"]:
            bare, _ = without_null(definition(one["type"], named))
            if not isinstance(bare, list) and kind(definition(bare, named)) == "string":
                found.append(one["name"])
        return found

    def fields(self) -> list[str]:
        """Return the names of all fields, of JSON those that every sample has."""
        if self.avro is not None:
            return [one["name"] for one in self.avro["fields"]]
        names = dict.fromkeys(name for sample in self.samples for name in sample)
        return [name for name in names if all(name in sample for sample in self.samples)]


@dataclass(frozen=True, slots=True)
class Choice:
    """What the fields are taken for. `id` None: topic, partition and offset are the id. `texts`: what a model reads.

    `label`: the field that tells classes apart; `labels` its values in the samples, the most frequent first.
    """

    id: str | None
    tenant: str | None
    texts: tuple[str, ...]
    label: str | None = None
    labels: tuple[str, ...] = field(default=())


def choose(events: Events) -> Choice:
    """Guess what the fields are for, by their names and by what the samples hold."""
    fields, texts = events.fields(), events.text_fields()
    identity = next((name for name in _IDS if name in fields and _identifies(name, events.samples)), None)
    tenant = next((name for name in _TENANTS if name in texts), None)
    label, labels = _label(events.samples, fields, {identity, tenant})
    read = [name for name in texts if name not in {identity, tenant, label} and name not in ENVELOPE]
    if len(read) > _MOST_TEXTS:
        longest = sorted(read, key=lambda name: -mean_words(name, events.samples))[:_MOST_TEXTS]
        read = [name for name in read if name in longest]
    return Choice(identity, tenant, tuple(read), label, labels)


def mean_words(name: str, samples: Sequence[Mapping[str, Any]]) -> float:
    """Return how many words a field has on average where it has any, 0 where it never has."""
    counts = [len(str(sample.get(name) or "").split()) for sample in samples]
    filled = [count for count in counts if count]
    return sum(filled) / len(filled) if filled else 0.0


def _identifies(name: str, samples: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every sample has a value there, and each another one. Without samples the name has to do."""
    values = [sample.get(name) for sample in samples]
    usable = all(isinstance(value, str | int) and not isinstance(value, bool) and value != "" for value in values)
    return usable and len(set(map(str, values))) == len(values)


def _label(
    samples: Sequence[Mapping[str, Any]], fields: Collection[str], taken: Collection[str | None]
) -> tuple[str | None, tuple[str, ...]]:
    """Return the field whose few values come again and again, and these values."""
    for name in _LABELS:
        values = [sample.get(name) for sample in samples]
        if name not in fields or name in taken or not all(isinstance(value, str) and value for value in values):
            continue
        counts = Counter(map(str, values))
        if 2 <= len(counts) <= _MOST_LABELS and 2 * len(counts) <= len(values):
            return name, tuple(value for value, _ in counts.most_common())
    return None, ()


