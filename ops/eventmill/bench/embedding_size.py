"""How much row N11 embeds. Apart from its code, which needs the libraries of local models."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EmbeddingSize:
    """How many texts are embedded: of one length, of skewed lengths, and while the event loop is watched."""

    alike: int
    skewed: int
    watched: int
    rounds: int
