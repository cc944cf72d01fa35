"""What local models and vector stores give and take. Values only; numpy is not imported here."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from eventmill_schemas.events import Source

if TYPE_CHECKING:   # a worker without local models must not load it
    import numpy as np

PROVIDER = "onnx"
"""What cost events name as the provider of local compute."""

SECONDS_PLACES = 12
"""Decimal places of compute seconds: shares of a batch add up to its time exactly."""

Waiting = Callable[[Awaitable[None]], Awaitable[None]]
"""How a caller waits for room in a queue: gives its in-flight slot back, awaits, takes a slot again."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model is: `label` stands in results and cost events, `device` in cost events.

    `inputs` and `outputs` map names to shapes (None: any length). `vector_space` names the vectors that may be compared
    with this model's; `dimensions` their length. Both None where it makes no vectors, `labels` empty where no labels.
    """

    name: str
    version: str
    device: str
    inputs: Mapping[str, tuple[int | None, ...]]
    outputs: Mapping[str, tuple[int | None, ...]]
    vector_space: str | None = None
    dimensions: int | None = None
    max_tokens: int | None = None
    labels: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The model as name@version."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class VectorSpace:
    """The set of vectors that may be compared with each other."""

    name: str
    dimensions: int


@dataclass(frozen=True, slots=True)
class Encoded:
    """What a text model made of one text.

    `vector`: float32, of the model's dimensions; None where it makes none. `label` and `confidence` (0 to 1) come from
    its head, None without one. `tokens` were computed, special ones included; `cut` says that the text had more.
    `seconds`: this text's share of the compute time of its batch.
    """

    tokens: int
    vector: "np.ndarray[Any, np.dtype[np.float32]] | None" = None
    label: str | None = None
    confidence: float | None = None
    cut: bool = False
    seconds: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Inferred:
    """What a model made of its inputs: outputs by name, as plain numbers, texts and nested lists of them."""

    outputs: Mapping[str, Any]
    seconds: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of an event's text with its vector (float32)."""

    text: str
    vector: "np.ndarray[Any, np.dtype[np.float32]]"


@dataclass(frozen=True, slots=True)
class Owner:
    """The event whose text is stored. Of two writes for one `event_id` the one from the newer `source` wins."""

    event_id: str
    tenant: str | None
    source: Source


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for. `vector`: float32, normalised. `min_similarity`: cosine, None: any.

    `tenant` is that of the asking event; unless `any_tenant`, only its passages are found (None: those without one).
    `without`: the id of an event whose passages are left out.
    """

    vector: "np.ndarray[Any, np.dtype[np.float32]]"
    limit: int = 5
    min_similarity: float | None = None
    tenant: str | None = None
    any_tenant: bool = False
    without: str | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """A stored piece of text that was found. `similarity` is the cosine with what was asked, 1.0 at most."""

    id: str
    text: str
    similarity: float
    event_id: str
    source: Source
