"""Vectors of many texts at once, to build and to train; a worker has a way of its own, for events as they come."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

import numpy as np
from tokenizers import Tokenizer

from eventmill_connectors.onnx.manifest import EMBEDDING, Manifest
from eventmill_connectors.onnx.parity import Array
from eventmill_connectors.onnx.session import OnnxSession
from eventmill_connectors.onnx.tokens import padded_length, text_inputs

_BATCH_TOKENS = 512   # with padding: more is no quicker on a CPU


def embedder(manifest: Manifest, tokenizer: Tokenizer, session: OnnxSession) -> Callable[[Sequence[str]], Array]:
    """Return a function that computes the vectors (N, H) of N texts, float32, in their order.

    A text's vector is the same as a worker computes: batches hold texts of one padded length only.
    """
    limit = manifest.max_tokens or 0

    def embed(texts: Sequence[str]) -> Array:
        tokens = [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts))]
        widths = [padded_length(len(row), limit) for row in tokens]
        batches: list[tuple[int, list[int]]] = []
        for width, group in groupby(sorted(range(len(texts)), key=widths.__getitem__), key=widths.__getitem__):
            members = list(group)
            size = max(1, _BATCH_TOKENS // width)
            batches += [(width, members[first : first + size]) for first in range(0, len(members), size)]

        def one(batch: tuple[int, list[int]]) -> Array:
            width, members = batch
            return session.run(text_inputs(manifest, [tokens[row] for row in members], width))[EMBEDDING]

        vectors = np.empty((len(texts), manifest.dimensions or 0), dtype=np.float32)
        with ThreadPoolExecutor(session.device.threads) as pool:
            for (_, members), found in zip(batches, pool.map(one, batches), strict=True):
                vectors[members] = found
        return vectors

    return embed
