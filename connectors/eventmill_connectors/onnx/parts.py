"""A batch that fails is computed in parts, so that one text fails alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from eventmill_schemas.errors import EventmillError, InferenceFailed, LocalModelAway, ModelFailed, OutOfMemory

Item = TypeVar("Item")
Row = TypeVar("Row")
Item_contra = TypeVar("Item_contra", contravariant=True)
Row_co = TypeVar("Row_co", covariant=True)


class Computes(Protocol[Item_contra, Row_co]):
    """A model that computes batches."""

    def compute(self, batch: Sequence[Item_contra]) -> Sequence["Row_co | EventmillError"]:
        """Return a row for each item, or why it has none. Raises ModelFailed and OutOfMemory for the whole batch."""

    def probe(self) -> None:
        """Compute what always passes. Raises ModelFailed where even that does not."""


@dataclass(frozen=True, slots=True)
class Parts(Generic[Row]):
    """Rows in the order of the items, an error where there is none.

    `too_large`: how many items the smallest batch had that did not fit the memory; None: all did.
    """

    rows: list[Row | EventmillError]
    too_large: int | None = None


def compute_in_parts(model: Computes[Item, Row], batch: Sequence[Item]) -> Parts[Row]:
    """Compute `batch`; where it fails, halve it, down to one item.

    An item that fails alone, twice, while the model computes others, gets InferenceFailed. Where the model computes
    nothing any more, all get LocalModelAway.
    """
    try:
        return Parts(list(model.compute(batch)))
    except OutOfMemory as error:
        if len(batch) == 1:
            return Parts([_alone(model, batch[0], error)], 1)
        parts = _halves(model, batch)
        return Parts(parts.rows, min(parts.too_large or len(batch), len(batch)))
    except ModelFailed as error:
        if len(batch) == 1:
            return Parts([_alone(model, batch[0], error)])
        away = _away(model)
        return _halves(model, batch) if away is None else Parts([away] * len(batch))


def _halves(model: Computes[Item, Row], batch: Sequence[Item]) -> Parts[Row]:
    middle = len(batch) // 2
    parts = [compute_in_parts(model, half) for half in (batch[:middle], batch[middle:])]
    sizes = [part.too_large for part in parts if part.too_large is not None]
    return Parts([row for part in parts for row in part.rows], min(sizes, default=None))


def _alone(model: Computes[Item, Row], item: Item, error: ModelFailed) -> Row | EventmillError:
    """Return what becomes of an item that failed alone: whether the model or the item is to blame.

    It is tried once more: the probe also passes where another thread has given a lost model a new session meanwhile.
    """
    away = _away(model)
    if away is not None:
        return away
    try:
        return model.compute([item])[0]
    except ModelFailed:
        failure = InferenceFailed(f"a local model can't compute this input: {error.message}")
        failure.__cause__ = error
        return failure


def _away(model: Computes[Item, Row]) -> LocalModelAway | None:
    try:
        model.probe()
    except ModelFailed as broken:
        return LocalModelAway(f"a local model computes nothing any more: {broken.message}")
    return None


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """Divide `total` by `weights` (positive) into whole numbers that add up to it; the first gets what is left over."""
    sum_of_weights = sum(weights)
    parts = [total * weight // sum_of_weights for weight in weights]
    parts[0] += total - sum(parts)
    return parts
