"""What can be changed in a database, as values: each says what it does in one line, and as data."""

from dataclasses import dataclass
from typing import Any

from eventmill_connectors.postgres.migrations import Migration
from eventmill_schemas.local_models import VectorSpace
from eventmill_schemas.pipeline import VectorIndex, VectorStore


@dataclass(frozen=True, slots=True)
class Wanted:
    """A store of the pipeline with the vector space of its model."""

    store: VectorStore
    space: VectorSpace

    @property
    def key(self) -> tuple[str, str, str]:
        """What its partition is found by."""
        return self.store.table, self.store.name, self.space.name


@dataclass(frozen=True, slots=True)
class Index:
    """A vector index of a partition. Not `usable`: its build was broken off."""

    name: str
    kind: VectorIndex
    usable: bool = True
    lists: int = 0   # of IVFFlat


@dataclass(frozen=True, slots=True)
class MakeExtension:
    """Take pgvector into use."""

    version: str

    def line(self) -> str:
        """Say it."""
        return f"create extension vector: {self.version}"

    def document(self) -> dict[str, Any]:
        """Return it as data."""
        return {"change": "create_extension", "extension": "vector", "version": self.version}


@dataclass(frozen=True, slots=True)
class Migrate:
    """Make the tables that everything stands on."""

    migration: Migration

    def line(self) -> str:
        """Say it."""
        return f"migrate database: {self.migration.number:04d} {self.migration.name}"

    def document(self) -> dict[str, Any]:
        """Return it as data."""
        return {"change": "migrate", "number": self.migration.number, "name": self.migration.name}


@dataclass(frozen=True, slots=True)
class MakePartition:
    """Make the partition for a store's vector space."""

    wanted: Wanted

    def line(self) -> str:
        """Say it."""
        store, space = self.wanted.store, self.wanted.space
        return f"create partition of {store.table}: store {store.name}, {space.name}, {space.dimensions} dimensions"

    def document(self) -> dict[str, Any]:
        """Return it as data."""
        store, space = self.wanted.store, self.wanted.space
        return {
            "change": "create_partition",
            "table": store.table,
            "store": store.name,
            "vector_space": space.name,
            "dimensions": space.dimensions,
        }


@dataclass(frozen=True, slots=True)
class BuildIndex:
    """Build a vector index, while others read and write. `note`: what the server said while it did."""

    wanted: Wanted
    note: str = ""

    def line(self) -> str:
        """Say it."""
        note = f" ({self.note})" if self.note else ""
        return f"build index: {self.wanted.store.index} for store {self.wanted.store.name}{note}"

    def document(self) -> dict[str, Any]:
        """Return it as data."""
        return {"change": "build_index", "store": self.wanted.store.name, "kind": str(self.wanted.store.index)}


@dataclass(frozen=True, slots=True)
class DropIndex:
    """Remove an index that is not the pipeline's choice, or whose build was broken off."""

    store: str
    index: Index

    def line(self) -> str:
        """Say it."""
        why = "it is not what the pipeline asks for" if self.index.usable else "its build was broken off"
        return f"drop index {self.index.name}: of store {self.store}, {why}"

    def document(self) -> dict[str, Any]:
        """Return it as data."""
        return {"change": "drop_index", "store": self.store, "index": self.index.name}


Change = MakeExtension | Migrate | MakePartition | BuildIndex | DropIndex
