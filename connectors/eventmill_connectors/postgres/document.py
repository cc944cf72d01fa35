"""What one event has to say to a store, ready to be written: checked, encoded, with the hashes that tell it apart."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from eventmill_connectors.postgres.wire import halfvecs, unit_vectors
from eventmill_schemas.errors import UnstorableVector
from eventmill_schemas.events import Source
from eventmill_schemas.local_models import Chunk, Owner
from eventmill_schemas.storable_text import storable_text

_HASH_BYTES = 16
_LONGEST_ID = 2000
"""Bytes of an event id: Postgres' B-trees take rows up to 2,704."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Which event, read from where, with which texts: enough to tell whether a store has them already."""

    event_id: str
    source: Source
    text_hash: bytes


@dataclass(frozen=True, slots=True)
class Document:
    """The chunks of one event. `vectors` are halfvecs as Postgres takes them."""

    mark: Fingerprint
    tenant: str | None
    texts: tuple[str, ...]
    vectors: tuple[bytes, ...]
    vector_hash: bytes

    @property
    def rows(self) -> int:
        """How many rows it writes: its chunks and its row in the guard table."""
        return len(self.texts) + 1


def fingerprint(owner: Owner, texts: Sequence[str]) -> Fingerprint:
    """Return what identifies these texts of `owner`. Raises UnstorableVector for an event id that is too long."""
    event_id = storable_text(owner.event_id)
    if len(event_id.encode()) > _LONGEST_ID:
        raise UnstorableVector(
            f"the event id has {len(event_id.encode())} bytes, a store takes {_LONGEST_ID}: {event_id[:60]}...",
            remedy="Name a shorter field as the stage's `event.id`",
        )
    parts = ["" if owner.tenant is None else f"of {storable_text(owner.tenant)}", *map(storable_text, texts)]
    return Fingerprint(event_id, owner.source, _hash(part.encode() for part in parts))


def document(owner: Owner, chunks: Sequence[Chunk], dimensions: int) -> Document:
    """Return `chunks` as they are stored: text without what Postgres refuses, vectors of length 1.

    Raises UnstorableVector: see `unit_vectors`, and for an event id that is too long.
    """
    texts = tuple(storable_text(chunk.text) for chunk in chunks)
    vectors = tuple(halfvecs(unit_vectors([chunk.vector for chunk in chunks], dimensions)))
    tenant = None if owner.tenant is None else storable_text(owner.tenant)
    return Document(fingerprint(owner, texts), tenant, texts, vectors, _hash(vectors))


def is_behind(source: Source, known: Source) -> bool:
    """Whether `source` is older than `known`: earlier in the same partition. Other partitions have no order."""
    return source[:2] == known[:2] and source.offset < known.offset


def newest(documents: Iterable[Document]) -> list[Document]:
    """Return one document per event: a statement can't write a row twice. Later ones win, unless they are older."""
    found: dict[str, Document] = {}
    for one in documents:
        before = found.get(one.mark.event_id)
        if before is None or not is_behind(one.mark.source, before.mark.source):
            found[one.mark.event_id] = one
    return list(found.values())


def _hash(parts: Iterable[bytes]) -> bytes:
    """Return a hash of the parts, in which it matters where one ends and the next begins."""
    digest = hashlib.blake2b(digest_size=_HASH_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
