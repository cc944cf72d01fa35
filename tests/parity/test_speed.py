"""Embedding events is quicker than sentence-transformers: row N11 of docs/benchmarks.md."""

import os
import time
from statistics import median

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from eventmill.bench import embeddings
from eventmill.bench.texts import texts
from eventmill_connectors.onnx.tokens import load_tokenizer
from parity.oracle import minilm, minilm_folder

ROUNDS, BATCH = 5, 32
GOALS = {"of one length (10-30 tokens)": 2.2, "of skewed lengths": 3.2}


class SentenceTransformers:
    """What `SentenceTransformer.encode` of release 6.2 does with texts on a CPU, step by step.

    The library itself brings scipy and scikit-learn, of which nothing else here has any use. Its recipe: the longest
    texts first, by their characters; batches of 32, each padded to its longest; the model in single precision; the
    mean over the tokens; length 1.
    """

    def __init__(self):
        """Load MiniLM."""
        self._tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
        self._model = AutoModel.from_pretrained(minilm_folder(), dtype=torch.float32).eval()

    @torch.inference_mode()
    def encode(self, mix):
        """Return the vectors (N, H) of length 1, float32."""
        order = np.argsort([-len(text) for text in mix])
        found = []
        for at in range(0, len(mix), BATCH):
            batch = [mix[index] for index in order[at : at + BATCH]]
            inputs = self._tokenizer(batch, padding=True, truncation=True, max_length=256, return_tensors="pt")
            states = self._model(**inputs).last_hidden_state
            mask = inputs["attention_mask"].unsqueeze(-1).to(states.dtype)
            means = (states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
            found.extend(torch.nn.functional.normalize(means, p=2, dim=1))
        vectors = torch.stack(found).numpy()
        return vectors[np.argsort(order)]


@pytest.fixture
def two_threads():
    """Let torch compute on as many threads as the worker's model."""
    before = torch.get_num_threads()
    torch.set_num_threads(embeddings.THREADS)
    yield
    torch.set_num_threads(before)


async def test_events_are_embedded_quicker_than_by_sentence_transformers(two_threads, tmp_path):
    """The same texts in turns, who is first changing; the ratio is taken within a round, and the goal only printed."""
    artifact = embeddings.minilm(tmp_path, print)
    given = texts(load_tokenizer(artifact), alike=800, skewed=240)
    theirs = SentenceTransformers()
    some = given.skewed[:40]
    assert np.abs(theirs.encode(some) - minilm().vectors(some)).max() < 1e-6   # it does the work it is timed for
    models = await embeddings.loaded(artifact)

    async def ours_per_s(mix):
        return len(mix) / await embeddings.seconds(models, mix)

    async def theirs_per_s(mix):
        began = time.monotonic()
        theirs.encode(mix)
        return len(mix) / (time.monotonic() - began)

    ratios = {}
    try:
        for what, mix in zip(GOALS, (given.alike, given.skewed), strict=True):
            rates = {ours_per_s: [], theirs_per_s: []}
            for side in rates:
                await side(mix[:64])   # the first run of each side also allocates
            for turn in range(ROUNDS):
                for side in sorted(rates, key=lambda side: (side is ours_per_s) == turn % 2):
                    rates[side].append(await side(mix))
            ours, reference = rates.values()
            ratios[what] = median(a / b for a, b in zip(ours, reference, strict=True))
            print(f"\ntexts {what}, {embeddings.THREADS} threads: {ratios[what]:.2f}x (goal {GOALS[what]}x), "
                  f"{median(ours):.0f}/s beside {median(reference):.0f}/s; load {os.getloadavg()[0]:.1f}")
            print("  rounds: " + ", ".join(f"{a:.0f}/{b:.0f}" for a, b in zip(ours, reference, strict=True)))
    finally:
        models.close()
    assert min(ratios.values()) > 1
