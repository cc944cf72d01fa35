"""Real texts to embed: the docstrings of Python's own library, which are on every machine."""

import ast
import random
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

_SEED = 20261121
_SHORT, _MIDDLE, _LONG, _CUT = (10, 30), (31, 99), (100, 250), (251, 10_000)   # tokens
_SKEW: Mapping[tuple[int, int], float] = {_SHORT: 0.70, _MIDDLE: 0.18, _LONG: 0.10, _CUT: 0.02}


@dataclass(frozen=True, slots=True)
class Texts:
    """Two mixes, in an order that has nothing to do with their lengths: alike (10 to 30 tokens), and skewed."""

    alike: Sequence[str]
    skewed: Sequence[str]


def texts(tokenizer: Tokenizer, alike: int, skewed: int) -> Texts:
    """Return so many texts of each mix; the same on the same version of Python."""
    found: dict[tuple[int, int], list[str]] = {limits: [] for limits in _SKEW}
    docstrings = sorted(set(_docstrings()))
    for text, encoding in zip(docstrings, tokenizer.encode_batch_fast(docstrings), strict=True):
        for (low, high), members in found.items():
            if low <= len(encoding.ids) <= high:
                members.append(text)
    chance = random.Random(_SEED)
    mixed = [
        text for limits, share in _SKEW.items() for text in chance.choices(found[limits], k=round(share * skewed))
    ]
    chance.shuffle(mixed)
    return Texts(chance.choices(found[_SHORT], k=alike), mixed)


def _docstrings() -> Iterator[str]:
    library = Path(sysconfig.get_paths()["stdlib"])
    for file in sorted(library.glob("*.py")):
        try:
            tree = ast.parse(file.read_bytes())
        except SyntaxError:   # kept there to test what is wrong
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text:
                    yield text
