"""Doubles of models and vector stores, for tests of whatever calls them.

They stand under the same contract tests as the real parts (tests/contract).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, NamedTuple

from eventmill_schemas.chat import ChatReply, ChatRequest, Finish, Usage
from eventmill_schemas.cost import Price
from eventmill_schemas.errors import Ambiguous, EventmillError, UsageError
from eventmill_schemas.local_models import Chunk, Encoded, Inferred, ModelCard, Owner, Passage, Query, Waiting
from eventmill_schemas.pipeline import ModelRef

if TYPE_CHECKING:   # tests of stages without local models don't load it
    import numpy as np

Respond = Callable[[ModelRef, ChatRequest], ChatReply | Awaitable[ChatReply]]
Entry = ChatReply | EventmillError | Respond

SOME_USAGE = Usage(input_tokens=10, output_tokens=5)


class Asked(NamedTuple):
    """One request as it was received."""

    model: ModelRef
    request: ChatRequest
    timeout: float


class ScriptedChat:
    """Answers requests from a script, in order of arrival, and records them in `asked`.

    An entry of the script is a reply, an error to raise, or a function that is called (and awaited, if it says so)
    with the model and the request; `silence` is one that never answers. When the script is used up, `then` answers;
    without it a further request is a LookupError, because the test did not expect it.
    """

    def __init__(self, *script: Entry, then: Entry | None = None) -> None:
        self.asked: list[Asked] = []
        self._script = script
        self._then = then

    async def complete(self, model: ModelRef, request: ChatRequest, timeout: float) -> ChatReply:  # noqa: ASYNC109 - the port's signature
        """Play the next entry of the script. Like every chat model it ends within `timeout` seconds."""
        number = len(self.asked)
        self.asked.append(Asked(model, request, timeout))
        entry = self._script[number] if number < len(self._script) else self._then
        if entry is None:
            raise LookupError(f"Request {number + 1} came, and the script has {len(self._script)} entries")
        if isinstance(entry, EventmillError):
            raise entry
        if isinstance(entry, ChatReply):
            return entry
        try:
            async with asyncio.timeout(timeout):
                answer = entry(model, request)
                return await answer if isawaitable(answer) else answer
        except TimeoutError:
            raise Ambiguous(f"The script gave no answer within {timeout:g} s") from None


async def silence(model: ModelRef, request: ChatRequest) -> ChatReply:
    """Never answer."""
    forever: asyncio.Future[ChatReply] = asyncio.get_running_loop().create_future()
    return await forever


def replied(
    text: str = "{}",
    *,
    finish: Finish = Finish.OK,
    usage: Usage | None = SOME_USAGE,
    model: str = "gpt-5-mini",
    response_id: str | None = "response-1",
) -> ChatReply:
    """Return a reply as a model would give it."""
    return ChatReply(text, finish, usage, model, response_id, request_id=None)


class FixedPrices:
    """Prices of named models: (provider, model) -> USD per million tokens in and out. Cached tokens cost as any."""

    def __init__(self, prices: Mapping[tuple[str, str], tuple[Decimal, Decimal]]) -> None:
        self._prices = dict(prices)

    def price(self, provider: str, model: str, usage: Usage, at: datetime) -> Price:
        """Price `usage`; the time does not matter."""
        found = self._prices.get((provider, model))
        if found is None:
            return Price(None, None)
        given, returned = found
        amount = (usage.input_tokens * given + usage.output_tokens * returned).scaleb(-6)
        return Price(amount, f"fixed:{provider}/{model}")

    def known(self, provider: str, model: str) -> bool:
        """Whether the model has a price."""
        return (provider, model) in self._prices


class WordModels:
    """Local models that count words: texts with words in common have similar vectors.

    A vector has `dimensions` places; each word counts at one of them. The label of a text is the first of `labels`
    that is a word of it, with confidence 0.99, else the first label with confidence 0.4. A token is a word, and there
    are two more. Every computation takes `seconds`. `outputs` are what `infer` gives. What was computed is in `encoded`
    and `inferred`; errors in `failures` are raised by the next calls, first to last.
    """

    def __init__(
        self,
        *names: str,
        labels: Sequence[str] = (),
        dimensions: int = 64,
        seconds: Decimal = Decimal("0.002"),
        outputs: Mapping[str, Any] | None = None,
    ) -> None:
        self.encoded: list[tuple[str, tuple[str, ...]]] = []
        self.inferred: list[tuple[str, dict[str, Any]]] = []
        self.failures: list[EventmillError] = []
        self._names = names or ("words",)
        self._labels = tuple(labels)
        self._dimensions = dimensions
        self._seconds = seconds
        self._outputs = dict(outputs or {})

    def card(self, model: str) -> ModelCard:
        """Describe the model."""
        if model not in self._names:
            raise UsageError(f"there is no model {model!r}", remedy=f"Models: {', '.join(self._names)}")
        return ModelCard(
            model, "1", "cpu", {"text": ()}, {}, "words", self._dimensions, max_tokens=64, labels=self._labels
        )

    async def encode(self, model: str, texts: Sequence[str], waiting: Waiting) -> Sequence[Encoded]:
        """Count words."""
        card = self.card(model)
        self.encoded.append((model, tuple(texts)))
        self._fail()
        return [self._encode(text, card) for text in texts]

    async def split(self, model: str, text: str, max_tokens: int | None, overlap: int) -> Sequence[str]:
        """Cut after every so many words."""
        size = (max_tokens or self.card(model).max_tokens or 64) - 2
        words = text.split()
        step = max(1, size - overlap)
        return [" ".join(words[at : at + size]) for at in range(0, max(1, len(words) - overlap), step)] if words else []

    async def infer(self, model: str, inputs: Mapping[str, Any], waiting: Waiting) -> Inferred:
        """Give the outputs that were asked for."""
        self.card(model)
        self.inferred.append((model, dict(inputs)))
        self._fail()
        return Inferred(self._outputs, self._seconds)

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)

    def _encode(self, text: str, card: ModelCard) -> Encoded:
        words = text.lower().split()
        label, confidence = self._label(words)
        vector = word_vector(words, self._dimensions)
        return Encoded(len(words) + 2, vector, label, confidence, seconds=self._seconds)

    def _label(self, words: Sequence[str]) -> tuple[str | None, float | None]:
        if not self._labels:
            return None, None
        found = next((label for label in self._labels if label.lower() in words), None)
        return (self._labels[0], 0.4) if found is None else (found, 0.99)


def word_vector(words: Sequence[str], dimensions: int) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """Return the normalised counts of `words` over `dimensions` places; without words all alike."""
    import numpy as np  # noqa: PLC0415 - see above

    vector = np.full(dimensions, 1e-6, np.float32)
    for word in words:
        vector[int.from_bytes(blake2b(word.encode(), digest_size=4).digest()) % dimensions] += 1
    return vector / np.float32(np.linalg.norm(vector))


class VectorsInMemory:
    """Vector stores that forget. Errors in `failures` are raised by the next calls, first to last."""

    def __init__(self, *names: str) -> None:
        self.stored: dict[str, dict[str, tuple[Owner, tuple[Chunk, ...]]]] = {name: {} for name in names or ("mails",)}
        self.failures: list[EventmillError] = []

    async def unchanged(self, store: str, owner: Owner, texts: Sequence[str]) -> bool:
        """Compare with what is there."""
        documents = self._of(store)
        found = documents.get(owner.event_id)
        if found is None:
            return False
        before, chunks = found
        if _newer(before, owner):
            return True
        if before.tenant != owner.tenant or [chunk.text for chunk in chunks] != list(texts):
            return False
        documents[owner.event_id] = (owner, chunks)
        return True

    async def upsert(self, store: str, owner: Owner, chunks: Sequence[Chunk]) -> None:
        """Keep the chunks, unless those of a newer source are there."""
        documents = self._of(store)
        found = documents.get(owner.event_id)
        if found is None or not _newer(found[0], owner):
            documents[owner.event_id] = (owner, tuple(chunks))

    async def search(self, store: str, query: Query) -> Sequence[Passage]:
        """Compare with every chunk."""
        found = [
            Passage(
                f"{owner.event_id}#{number}",
                chunk.text,
                float(chunk.vector @ query.vector),
                owner.event_id,
                owner.source,
            )
            for owner, chunks in self._of(store).values()
            if owner.event_id != query.without and (query.any_tenant or owner.tenant == query.tenant)
            for number, chunk in enumerate(chunks)
        ]
        near = [one for one in found if query.min_similarity is None or one.similarity >= query.min_similarity]
        return sorted(near, key=lambda one: (-one.similarity, one.id))[: query.limit]

    def _of(self, store: str) -> dict[str, tuple[Owner, tuple[Chunk, ...]]]:
        if self.failures:
            raise self.failures.pop(0)
        if store not in self.stored:
            raise UsageError(f"there is no store {store!r}", remedy=f"Stores: {', '.join(self.stored)}")
        return self.stored[store]


def _newer(one: Owner, other: Owner) -> bool:
    """Whether `one` stands behind `other` in the same partition; of other partitions the later writer wins."""
    a, b = one.source, other.source
    return (a.topic, a.partition) == (b.topic, b.partition) and a.offset > b.offset
