"""Texts of many events in batches that keep all workers busy, off the event loop.

- A batch holds texts of one padded length only (see `tokens.BUCKET`): so a text has the same bits in any batch.
- The oldest text's length is computed next, with as many others of that length as a batch may have tokens.
- Work-conserving: a worker that is idle takes what there is at once, no more than its share of what waits. What arrives
  during a batch makes the next one. No timer.
- All scheduling happens on the event loop, in steps of a few hundred texts; tokenising and computing in threads.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Protocol

from eventmill_connectors.onnx.parts import Parts, compute_in_parts, shares
from eventmill_connectors.onnx.room import Room
from eventmill_schemas.errors import EventmillError
from eventmill_schemas.local_models import SECONDS_PLACES, Encoded, Waiting

_AT_ONCE = 256   # texts that are tokenised together: their way back takes the loop about a millisecond
_CHARACTERS_AT_ONCE = 1_000_000   # and about so many characters: long texts don't hold up all others
_LEAST = 32      # tokens: a share smaller than this is not worth a batch of its own


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text as the model takes it: `width` is the length it is padded to, `cut` says that the text was longer."""

    ids: Sequence[int]
    width: int
    cut: bool = False


class Encoder(Protocol):
    """A text model. Its methods block, and are called from several threads."""

    def estimate(self, text: str) -> int:
        """Return about how many tokens `text` has; quick."""

    def tokenize(self, texts: Sequence[str]) -> Sequence[Tokens]:
        """Return the tokens of each text."""

    def compute(self, batch: Sequence[Tokens]) -> Sequence[Encoded | EventmillError]:
        """Compute texts of equal width; see `parts.Computes`. Their `seconds` are not filled in yet."""

    def probe(self) -> None:
        """See `parts.Computes`."""


class Watch(Protocol):
    """Who counts what a model does. Called on the event loop."""

    def computed(self, model: str, texts: int, tokens: int, seconds: float) -> None:
        """One batch: texts, tokens with padding, seconds of the device."""

    def queued(self, model: str, amount: int) -> None:
        """Note what waits for the model now: tokens with padding, or runs."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is computed and queued.

    `workers`: batches computed at the same time. `batch_tokens`: of a batch at most, with padding; a single text may
    have more. `queue_tokens`: what may wait before callers wait outside.
    """

    workers: int = 2
    batch_tokens: int = 512
    queue_tokens: int = 16_384


@dataclass(slots=True, eq=False)
class _Request:
    """One caller's texts. `held` counts the tokens that it has in the queue."""

    texts: Sequence[str]
    done: asyncio.Future[list[Encoded]]
    held: int
    missing: int
    results: list[Encoded | None] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Item:
    request: _Request
    index: int
    tokens: Tokens
    number: int   # by arrival


class Batcher:
    """Computes texts by one model. Used on one event loop."""

    def __init__(self, name: str, encoder: Encoder, sizes: Sizes, watch: Watch) -> None:
        self._name = name
        self._encoder = encoder
        self._sizes = sizes
        self._watch = watch
        self._room = Room(sizes.queue_tokens)
        self._batch_tokens = sizes.batch_tokens
        self._inbox: deque[_Request] = deque()
        self._queue: dict[int, deque[_Item]] = {}   # by width; with those of callers who have gone
        self._arrivals = 0
        self._tokenizing = False
        self._idle = sizes.workers
        self._closed = False
        self._pool = ThreadPoolExecutor(sizes.workers + 1, thread_name_prefix=f"model-{name}")

    async def encode(self, texts: Sequence[str], waiting: Waiting) -> list[Encoded]:
        """Compute `texts`, in their order; see `LocalModels.encode`."""
        if not texts:
            return []
        loop = asyncio.get_running_loop()
        held = sum(self._encoder.estimate(text) for text in texts)
        await self._room.enter(held, waiting)
        request = _Request(texts, loop.create_future(), held, len(texts), [None] * len(texts))
        self._inbox.append(request)
        self._tokenize()
        try:
            return await request.done
        finally:
            if request.missing:
                self._forget(request)

    def close(self) -> None:
        """Compute nothing more than what is being computed. Who still waits goes on waiting: it is for the end."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def waiting_tokens(self) -> int:
        """The tokens that wait now, with padding, as far as they are known."""
        return self._room.used

    def _forget(self, request: _Request) -> None:
        """Drop what is left of a request: its caller has gone, or it has failed."""
        request.missing = 0
        self._release(request, request.held)

    def _release(self, request: _Request, tokens: int) -> None:
        request.held -= tokens
        self._room.leave(tokens)

    # Tokenising

    def _tokenize(self) -> None:
        if self._tokenizing or self._closed:
            return
        taken: list[_Request] = []
        count = characters = 0
        while self._inbox and count < _AT_ONCE and characters < _CHARACTERS_AT_ONCE:
            request = self._inbox.popleft()
            if request.missing:
                taken.append(request)
                count += len(request.texts)
                characters += sum(map(len, request.texts))
        if not taken:
            return
        self._tokenizing = True
        texts = [text for request in taken for text in request.texts]
        work = asyncio.get_running_loop().run_in_executor(self._pool, self._encoder.tokenize, texts)
        work.add_done_callback(partial(self._tokenized, taken))

    def _tokenized(self, taken: Sequence[_Request], work: "asyncio.Future[Sequence[Tokens]]") -> None:
        self._tokenizing = False
        if work.cancelled() or work.exception() is not None:
            for request in taken:
                _fail(request, work.exception() if not work.cancelled() else None)
        else:
            at = 0
            tokens = work.result()
            for request in taken:
                self._admit(request, tokens[at : at + len(request.texts)])
                at += len(request.texts)
        self._tokenize()
        self._dispatch()

    def _admit(self, request: _Request, tokens: Sequence[Tokens]) -> None:
        if not request.missing:
            return
        exact = sum(one.width for one in tokens)
        self._release(request, request.held - exact)
        for index, one in enumerate(tokens):
            self._queue.setdefault(one.width, deque()).append(_Item(request, index, one, self._arrivals))
            self._arrivals += 1

    # Computing

    def _dispatch(self) -> None:
        while self._idle and not self._closed and (batch := self._next_batch()):
            self._idle -= 1
            work = asyncio.get_running_loop().run_in_executor(self._pool, self._compute, [one.tokens for one in batch])
            work.add_done_callback(partial(self._computed, batch))
        self._watch.queued(self._name, self._room.used)

    def _next_batch(self) -> list[_Item]:
        """Take the oldest text with others of its width; nothing where nobody waits."""
        oldest: deque[_Item] | None = None
        ready = 0
        for width, waiting in list(self._queue.items()):
            while waiting and not waiting[0].request.missing:
                waiting.popleft()
            if not waiting:
                del self._queue[width]
                continue
            ready += width * len(waiting)
            if oldest is None or waiting[0].number < oldest[0].number:
                oldest = waiting
        if oldest is None:
            return []
        share = max(_LEAST, -(-ready // self._idle))
        width = oldest[0].tokens.width
        size = max(1, min(self._batch_tokens, share) // width)
        batch: list[_Item] = []
        while oldest and len(batch) < size:
            item = oldest.popleft()
            if item.request.missing:
                batch.append(item)
                self._release(item.request, width)
        return batch

    def _compute(self, batch: Sequence[Tokens]) -> tuple[Parts[Encoded], int]:
        """Compute a batch, in a thread; also return the nanoseconds it took."""
        began = time.perf_counter_ns()
        parts: Parts[Encoded] = compute_in_parts(self._encoder, batch)
        return parts, time.perf_counter_ns() - began

    def _computed(self, batch: Sequence[_Item], work: "asyncio.Future[tuple[Parts[Encoded], int]]") -> None:
        self._idle += 1
        try:
            self._settle_all(batch, *work.result())
        except asyncio.CancelledError:   # the pool is closed
            for item in batch:
                _fail(item.request, None)
        except Exception as error:   # noqa: BLE001 - a defect: whoever waits is told, and nobody waits for ever
            for item in batch:
                _fail(item.request, error)
        self._dispatch()

    def _settle_all(self, batch: Sequence[_Item], parts: Parts[Encoded], nanoseconds: int) -> None:
        width = batch[0].tokens.width
        if parts.too_large is not None:   # the next ones are made to fit at once
            self._batch_tokens = min(self._batch_tokens, max(1, parts.too_large // 2) * width)
        self._watch.computed(self._name, len(batch), len(batch) * width, nanoseconds / 1e9)
        weights = [max(1, len(one.tokens.ids)) for one in batch]
        seconds = shares(nanoseconds * 10 ** (SECONDS_PLACES - 9), weights)
        for item, row, part in zip(batch, parts.rows, seconds, strict=True):
            _settle(item, row, part)


def _settle(item: _Item, row: Encoded | EventmillError, picoseconds: int) -> None:
    request = item.request
    if isinstance(row, EventmillError):
        _fail(request, row)
    elif request.missing:
        tokens = item.tokens
        seconds = Decimal(picoseconds).scaleb(-SECONDS_PLACES)
        request.results[item.index] = Encoded(
            len(tokens.ids), row.vector, row.label, row.confidence, cut=tokens.cut, seconds=seconds
        )
        request.missing -= 1
        if not request.missing and not request.done.done():
            request.done.set_result([one for one in request.results if one is not None])


def _fail(request: _Request, error: BaseException | None) -> None:
    """Tell the caller; None: the process is ending."""
    if request.done.done():
        return
    if error is None:
        request.done.cancel()
    else:
        request.done.set_exception(error)
