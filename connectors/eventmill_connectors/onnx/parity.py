"""Frozen inputs and outputs of a model: what it has to compute, on every machine and after every upgrade."""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventmill_schemas.errors import ModelUnusable

Array = NDArray[Any]

_INPUT, _OUTPUT, _TEXTS = "in.", "out.", "texts"


@dataclass(frozen=True, slots=True)
class Parity:
    """Inputs by name, and the outputs they must give, by name; of text encoders also the texts behind the tokens.

    Rows of token inputs are padded on the right to one width; where `attention_mask` is 0 there is no token.
    """

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    texts: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """How many records there are, if the first axis is theirs."""
        return max((len(array) for array in self.inputs.values() if array.ndim), default=0)

    def tokens(self) -> list[list[int]]:
        """Return the token ids of each text, without padding."""
        counts = self.inputs["attention_mask"].sum(axis=1)
        return [row[:count].tolist() for row, count in zip(self.inputs["input_ids"], counts, strict=True)]


def read_parity(file: Path) -> Parity:
    """Read an npz file: arrays `in.<input>`, `out.<output>`, and `texts`. Raises ModelUnusable."""
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            arrays: dict[str, Array] = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise ModelUnusable(f"there is no file {file}") from error
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        # The library's own words advise to load what may be code.
        raise ModelUnusable(
            f"{file} is no file of arrays, or a damaged one", remedy="Write it with numpy.savez, without objects"
        ) from error
    strange = [n for n in arrays if n != _TEXTS and not n.startswith((_INPUT, _OUTPUT))]
    if strange:
        raise ModelUnusable(
            f"{file}: unknown array {strange[0]!r}",
            remedy="Arrays are called in.<input>, out.<output> and texts",
        )
    texts = tuple(str(text) for text in np.atleast_1d(arrays.pop(_TEXTS, np.array([], dtype=np.str_))))
    arrays = {name: array.astype(np.object_) if array.dtype.kind == "U" else array for name, array in arrays.items()}
    return Parity(
        {name.removeprefix(_INPUT): array for name, array in arrays.items() if name.startswith(_INPUT)},
        {name.removeprefix(_OUTPUT): array for name, array in arrays.items() if name.startswith(_OUTPUT)},
        texts,
    )


def write_parity(file: Path, parity: Parity, *, compressed: bool = False) -> None:
    """Write an npz file: the same bytes for the same arrays, if not `compressed`: each zlib has its own.

    numpy.savez would not do: it asks for zip64, whose headers differ between releases of Python.
    """
    arrays = {f"{_INPUT}{name}": array for name, array in sorted(parity.inputs.items())}
    arrays |= {f"{_OUTPUT}{name}": array for name, array in sorted(parity.outputs.items())}
    if parity.texts:
        arrays[_TEXTS] = np.array(parity.texts, dtype=np.str_)
    # Texts are objects to ONNX Runtime; in a file they would be pickles, which are code.
    plain = {name: array.astype(np.str_) if array.dtype == np.object_ else array for name, array in arrays.items()}
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name, array in plain.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy")   # of 1980, whatever the time is
            entry.create_system, entry.external_attr, entry.compress_type = 3, 0o600 << 16, kind
            archive.writestr(entry, content.getvalue())
