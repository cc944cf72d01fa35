"""Models as a worker runs them: texts in batches, chunks, any model's inputs, on real sessions."""

import asyncio
import threading
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from eventmill_connectors.onnx.artifact import Artifact
from eventmill_connectors.onnx.batcher import Tokens
from eventmill_connectors.onnx.bulk import embedder
from eventmill_connectors.onnx.encoder import TextEncoder
from eventmill_connectors.onnx.import_onnx import ImportRequest, import_onnx
from eventmill_connectors.onnx.live import LiveModel
from eventmill_connectors.onnx.local_models import OnnxModels, load
from eventmill_connectors.onnx.manifest import TensorSpec
from eventmill_connectors.onnx.session import CPU, Device, OnnxSession
from eventmill_connectors.onnx.tensors import plain, tensors
from eventmill_connectors.onnx.tokens import load_tokenizer
from eventmill_schemas.errors import InferenceFailed, LocalModelAway, ModelFailed, ModelUnusable, UsageError
from eventmill_schemas.local_models import ModelCard
from eventmill_schemas.pipeline import Device as Where
from eventmill_schemas.pipeline import LocalModel

TEXTS = st.lists(st.text(max_size=400), min_size=1, max_size=12)


@dataclass
class Seen:
    """A watch that remembers."""

    models: list[tuple[str, str]] = field(default_factory=list)
    batches: list[tuple[str, int, int]] = field(default_factory=list)
    waiting: dict[str, int] = field(default_factory=dict)

    def loaded(self, model: ModelCard, provider: str) -> None:
        """Note the model."""
        self.models.append((model.label, provider))

    def computed(self, model: str, texts: int, tokens: int, seconds: float) -> None:
        """Note the batch."""
        self.batches.append((model, texts, tokens))

    def queued(self, model: str, amount: int) -> None:
        """Note the queue."""
        self.waiting[model] = amount


async def wait(until: Awaitable[None]) -> None:
    """Wait as a caller does that holds nothing."""
    await until


def spec(artifact: Artifact, name: str = "tiny", **settings_of: Any) -> LocalModel:
    """Return the model as a pipeline declares it."""
    return LocalModel(name, str(artifact.folder), **settings_of)


async def opened(artifact: Artifact, watch: Seen | None = None, **settings_of: Any) -> OnnxModels:
    """Load one model, called `tiny`."""
    return await load([spec(artifact, **settings_of)], watch or Seen())


@pytest.fixture(scope="module")
def live(built: Artifact) -> LiveModel:
    """Give the small encoder, loaded."""
    return LiveModel(built, Device())


async def test_a_model_is_what_its_card_says(built: Artifact) -> None:
    """Name, version, device and sizes are those of the artefact; the provider that really runs it is told."""
    watch = Seen()
    models = await opened(built, watch)
    card = models.card("tiny")
    assert (card.label, card.device) == (f"tiny@{built.manifest.version}", "cpu")
    assert card.dimensions == built.manifest.dimensions
    assert watch.models == [(card.label, CPU)]
    models.close()


@given(requests=st.lists(TEXTS, min_size=1, max_size=6))
@settings(max_examples=15)
async def test_case_107_vectors_are_the_same_bits_in_any_batch(built: Artifact, requests: list[list[str]]) -> None:
    """Alone, beside others, and as `models build` computes them: bit by bit. Also texts of nothing but white space."""
    models = await opened(built)
    together = await asyncio.gather(*(models.encode("tiny", texts, wait) for texts in requests))
    embed = embedder(built.manifest, load_tokenizer(built), OnnxSession(built, Device()))
    for texts, found in zip(requests, together, strict=True):
        assert np.array_equal(np.stack([one.vector for one in found if one.vector is not None]), embed(texts))
        alone = [(await models.encode("tiny", [text], wait))[0].vector for text in texts]
        assert all(np.array_equal(a, b.vector) for a, b in zip(alone, found, strict=True))   # type: ignore[arg-type]  # not None, as above
    models.close()


async def test_case_107_a_text_of_a_megabyte_is_cut_and_flagged(built: Artifact) -> None:
    """What the model can't take is left out, and the cut is told; a short text is whole."""
    models = await opened(built)
    long, short = await models.encode("tiny", ["word " * 200_000, "word"], wait)
    assert (long.cut, short.cut) == (True, False)
    assert long.tokens == built.manifest.max_tokens
    models.close()


async def test_what_is_computed_is_accounted_for(built: Artifact) -> None:
    """Every text has its share of compute seconds; batches are counted with their padded tokens."""
    watch = Seen()
    models = await opened(built, watch)
    found = await models.encode("tiny", ["one", "two words", "three more words"], wait)
    assert all(one.seconds > 0 for one in found)
    assert sum(texts for _, texts, _ in watch.batches) == 3
    assert all(tokens % (8 * texts) == 0 for _, texts, tokens in watch.batches)
    assert watch.waiting == {"tiny": 0}
    models.close()


@given(
    paragraphs=st.lists(st.lists(st.text("abcdef ", min_size=1, max_size=12), max_size=40), max_size=5),
    max_tokens=st.integers(3, 32),
    overlap=st.integers(0, 40),
)
@settings(max_examples=25)
async def test_chunks_fit_the_model(
    built: Artifact, paragraphs: list[list[str]], max_tokens: int, overlap: int
) -> None:
    """No chunk has more tokens than allowed, none is blank, and together they have every word of the text."""
    text = "\n\n".join(" ".join(words) for words in paragraphs)
    models = await opened(built)
    chunks = await models.split("tiny", text, max_tokens, overlap)
    tokenizer = load_tokenizer(built)
    tokenizer.no_truncation()
    assert all(len(tokenizer.encode(chunk).ids) <= max_tokens for chunk in chunks)
    assert all(chunk.strip() == chunk != "" for chunk in chunks)
    joined = "".join(chunks)
    assert all(letter in joined for letter in set(text) if not letter.isspace())
    assert bool(chunks) == bool(text.strip())
    models.close()


async def test_white_space_of_any_kind_is_no_chunk(built: Artifact) -> None:
    """Also separators that only Python takes for white space."""
    models = await opened(built)
    assert await models.split("tiny", "a\n\n\x1f\n\nb", 3, 0) == ["a", "b"]
    models.close()


async def test_cutting_needs_no_thread_of_python_steps(built: Artifact) -> None:
    """Plain python steps may hold all of the loop's own threads while they wait for their chunks."""
    models = await opened(built)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))

    def step() -> Sequence[str]:
        return asyncio.run_coroutine_threadsafe(models.split("tiny", "word " * 500, None, 0), loop).result(timeout=10)

    assert len(await asyncio.to_thread(step)) > 1
    models.close()


@pytest.mark.parametrize("tokens", [0, 2, 10_000])
async def test_chunks_that_no_text_fits_are_refused(built: Artifact, tokens: int) -> None:
    """The message names what is possible."""
    models = await opened(built)
    with pytest.raises(UsageError, match=f"chunks can have 3 to {built.manifest.max_tokens} tokens, not {tokens}"):
        await models.split("tiny", "text", tokens, 0)
    models.close()


async def test_a_model_that_is_not_loaded_is_named(built: Artifact) -> None:
    """So is what is loaded instead."""
    models = await opened(built)
    with pytest.raises(UsageError, match=r"the model 'other' is not loaded\. .* loaded: tiny"):
        await models.encode("other", ["x"], wait)
    models.close()


async def test_case_106_a_gpu_that_is_not_there_is_refused(built: Artifact) -> None:
    """`require_gpu` does not start on a machine without; without it the card says where the model computes."""
    if OnnxSession(built, Device("cuda", require_gpu=False)).provider != CPU:
        assert (await opened(built, device=Where.CUDA)).card("tiny").device == "cuda"
        return
    with pytest.raises(ModelUnusable, match=r"model 'tiny': .* can't run on a GPU here"):
        await opened(built, device=Where.CUDA)
    models = await opened(built, device=Where.CUDA, require_gpu=False)
    assert models.card("tiny").device == "cpu"
    models.close()


def test_case_106_a_lost_device_gets_a_new_session(built: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing can be computed, the model is away; the next batch opens it anew."""
    model = LiveModel(built, Device())
    encoder = TextEncoder(model)
    (tokens,) = encoder.tokenize(["hello"])
    before = encoder.compute([tokens])[0]
    lost = threading.Event()

    class Lost:
        provider, inputs = model.provider, model.inputs

        def run(self, inputs: Any) -> Any:
            lost.set()
            raise ModelFailed("device lost")

    monkeypatch.setattr(model, "_session", Lost())
    with pytest.raises(ModelFailed, match="device lost"):
        encoder.compute([tokens])
    with pytest.raises(ModelFailed, match="device lost"):
        encoder.probe()
    after = encoder.compute([tokens])[0]
    assert lost.is_set()
    assert np.array_equal(before.vector, after.vector)  # type: ignore[union-attr, arg-type]  # both were computed


def test_tokens_are_padded_by_the_text_alone(live: LiveModel) -> None:
    """The width is the next multiple of 8, whatever else is tokenised."""
    encoder = TextEncoder(live)
    texts = ["a", "a b c d e f g", "a " * 40]
    together = encoder.tokenize(texts)
    assert [one.width % 8 for one in together] == [0, 0, 0]
    assert together == [encoder.tokenize([text])[0] for text in texts]
    assert all(isinstance(one, Tokens) and len(one.ids) <= one.width for one in together)


# Any model


def tabular(folder: Path) -> Artifact:
    """Make a model of an amount and three counts, with a probability and a class name."""
    weights = [
        numpy_helper.from_array(np.array([[0.5], [0.25], [-1.0]], np.float32), "w"),
        numpy_helper.from_array(np.array(["low", "high"], object), "names"),
        numpy_helper.from_array(np.array(0.5, np.float32), "half"),
    ]
    nodes = [
        helper.make_node("Cast", ["counts"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["floats", "w"], ["weighted"]),
        helper.make_node("Mul", ["weighted", "amount"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["probability"]),
        helper.make_node("Greater", ["probability", "half"], ["is_high"]),
        helper.make_node("Cast", ["is_high"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["names", "index"], ["name"]),
    ]
    graph = helper.make_graph(
        nodes,
        "fraud",
        [
            helper.make_tensor_value_info("amount", TensorProto.FLOAT, ["n", 1]),
            helper.make_tensor_value_info("counts", TensorProto.INT64, ["n", 3]),
        ],
        [
            helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["n", 1]),
            helper.make_tensor_value_info("name", TensorProto.STRING, ["n", 1]),
        ],
        weights,
    )
    return made(graph, folder, "fraud")


def image(folder: Path) -> Artifact:
    """Make a model of pictures of 4 x 4 pixels in three colours, as bytes: how bright each colour is."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["brightness"], axes=[1, 2], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", 4, 4, 3])],
        [helper.make_tensor_value_info("brightness", TensorProto.FLOAT, ["n", 3])],
    )
    return made(graph, folder, "brightness")


def made(graph: onnx.GraphProto, folder: Path, name: str) -> Artifact:
    """Import a graph as a model."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    file = folder / f"{name}.onnx"
    file.write_bytes(model.SerializeToString())
    return import_onnx(ImportRequest(file=file, name=name, models=folder / "models")).artifact


async def test_a_tabular_model(tmp_path: Path) -> None:
    """Scalars and lists of an event become tensors with a batch axis; outputs come back without it."""
    models = await opened(tabular(tmp_path))
    done = await models.infer("tiny", {"amount": [Decimal("2.5")], "counts": [1, 2, 3]}, wait)
    assert done.outputs["probability"] == [pytest.approx(1 / (1 + np.exp(5)), rel=1e-5)]
    assert done.outputs["name"] == ["low"]
    assert done.seconds > 0
    batch = await models.infer("tiny", {"amount": [[1.0], [-4.0]], "counts": [[1, 2, 3], [1, 2, 3]]}, wait)
    assert batch.outputs["name"] == [["low"], ["high"]]
    with pytest.raises(UsageError, match="the model 'tiny' takes no texts: its inputs are amount, counts"):
        await models.encode("tiny", ["x"], wait)
    models.close()


async def test_an_image_model(tmp_path: Path) -> None:
    """The bytes of a picture, or its numbers in lists: the same."""
    models = await opened(image(tmp_path))
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    for given_pixels in (pixels.tobytes(), pixels.tolist()):
        done = await models.infer("tiny", {"pixels": given_pixels}, wait)
        assert done.outputs == {"brightness": [22.5, 23.5, 24.5]}
    with pytest.raises(InferenceFailed, match=r"'pixels' has the shape \[47\], and the model takes \[any, 4, 4, 3\]"):
        await models.infer("tiny", {"pixels": pixels.tobytes()[1:]}, wait)
    models.close()


async def test_runs_wait_outside_a_full_queue(tmp_path: Path) -> None:
    """All get their outputs, and nothing is left in the queue."""
    models = await opened(image(tmp_path), threads=1)
    outside: list[str] = []

    async def note(until: Awaitable[None]) -> None:
        outside.append("waited")
        await until

    runs = [models.infer("tiny", {"pixels": bytes(48)}, note) for _ in range(100)]
    assert all(done.outputs == {"brightness": [0, 0, 0]} for done in await asyncio.gather(*runs))
    assert len(outside) == 36, "64 at most are inside"
    models.close()


async def test_a_failure_of_the_runtime_is_the_inputs_or_the_models(tmp_path: Path) -> None:
    """Inputs that don't go together fail alone; a model that fails on its frozen inputs, too, is away."""
    models = await opened(tabular(tmp_path))
    with pytest.raises(InferenceFailed, match="can't compute these inputs"):
        await models.infer("tiny", {"amount": [[1.0], [1.0]], "counts": [[1, 2, 3]] * 3}, wait)
    live = models._models["tiny"].runs._model

    def broken(inputs: Any) -> Any:
        raise ModelFailed("device lost")

    live._session.run = broken  # type: ignore[method-assign]  # a device that is lost can't be had here
    with pytest.raises(LocalModelAway, match="device lost"):
        await models.infer("tiny", {"amount": [1.0], "counts": [1, 2, 3]}, wait)
    assert (await models.infer("tiny", {"amount": [1.0], "counts": [1, 2, 3]}, wait)).outputs["name"] == ["low"]
    models.close()


async def test_a_failure_is_judged_also_when_the_artefact_is_gone(tmp_path: Path) -> None:
    """Who removes an old version while a worker runs it makes no dead letter into the end of the worker."""
    artifact = tabular(tmp_path)
    models = await opened(artifact)
    artifact.parity.unlink()
    with pytest.raises(InferenceFailed, match="can't compute these inputs"):
        await models.infer("tiny", {"amount": [[1.0], [1.0]], "counts": [[1, 2, 3]] * 3}, wait)
    models.close()


async def test_a_run_on_a_session_that_was_replaced_meanwhile_is_repeated(tmp_path: Path) -> None:
    """A device was lost and another thread has opened a new session: the inputs are not to blame."""
    models = await opened(tabular(tmp_path))
    live = models._models["tiny"].runs._model
    there = live._session.run
    failures = [ModelFailed("device lost")]

    def once(inputs: Any) -> Any:
        if failures:
            raise failures.pop()
        return there(inputs)

    live._session.run = once  # type: ignore[method-assign]  # a device that is lost can't be had here
    assert (await models.infer("tiny", {"amount": [1.0], "counts": [1, 2, 3]}, wait)).outputs["name"] == ["low"]
    assert not failures
    models.close()


F32, I8, BOOL, TEXT = ("float32", "int8", "bool", "object")


@pytest.mark.parametrize(
    ("dtype", "shape", "given_value", "message"),
    [
        (F32, ("n", 2), [1.0], "has the shape [1], and the model takes [any, 2]"),
        (F32, ("n", 2), [[1.0], [1.0, 2.0]], "is no regular list of numbers"),
        (F32, ("n", 2), [1.0, float("nan")], "holds NaN, infinity or a number too large for float32"),
        (F32, ("n", 2), [1.0, 1e39], "holds NaN, infinity or a number too large for float32"),
        (F32, ("n", 2), [1.0, 10**400], "holds something else than numbers"),
        (F32, ("n", 2), ["1", "2"], "holds something else than numbers"),
        (F32, ("n", 2), [None, 1.0], "holds something else than numbers"),
        (F32, ("n", 2), [datetime(2026, 1, 1, tzinfo=UTC), 1], "holds something else than numbers"),
        (F32, ("n", 2), [True, False], "must hold numbers"),
        (F32, ("n", 2), b"12345678", "holds bytes, and the model takes float32"),
        (I8, (2,), [1, 128], "holds a number out of the range of int8"),
        (I8, (2,), [1, 1.5], "must hold whole numbers"),
        (I8, (2,), [1, float("inf")], "must hold whole numbers"),
        (BOOL, (1,), [1], "must hold true or false"),
        (TEXT, (1,), [1], "holds something else than texts"),
    ],
)
def test_values_that_do_not_fit_are_named(dtype: str, shape: tuple[Any, ...], given_value: Any, message: str) -> None:
    """No number is cut, no text is read as a number, no shape is guessed."""
    with pytest.raises(InferenceFailed) as caught:
        tensors([TensorSpec("x", dtype, shape)], {"x": given_value})
    assert str(caught.value).startswith("the input 'x' ")
    assert message in str(caught.value)


def test_inputs_are_those_of_the_model() -> None:
    """A missing one and one too many are named, with what the model takes."""
    specs = [TensorSpec("x", F32, ("n", 1)), TensorSpec("y", F32, ("n", 1))]
    with pytest.raises(InferenceFailed, match=r"the input 'y' is missing\. The model takes: x, y"):
        tensors(specs, {"x": [1.0]})
    with pytest.raises(InferenceFailed, match="the model has no input 'z'"):
        tensors(specs, {"x": [1.0], "y": [1.0], "z": [1.0]})


@given(
    values=st.lists(st.integers(-128, 127) | st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=8),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_numbers_arrive_as_they_are(values: Sequence[float], dtype: str) -> None:
    """What the type can hold comes through, and back, unchanged; the batch axis goes as it came."""
    arrays, batch = tensors([TensorSpec("x", dtype, ("n", "m"))], {"x": list(values)})
    assert batch
    assert arrays["x"].shape == (1, len(values))
    assert arrays["x"].dtype == dtype
    assert plain(arrays, batch=batch) == {"x": [float(one) for one in values]}


def test_outputs_that_are_no_numbers_are_named() -> None:
    """A model that computes NaN makes no result."""
    with pytest.raises(InferenceFailed, match="the model computed NaN or infinity as 'y'"):
        plain({"y": np.array([1.0, np.nan])}, batch=False)


async def test_the_event_loop_stays_free(built: Artifact) -> None:
    """With 2,000 texts waiting, the loop's worst delays are a fraction of what computing on the loop would take."""
    models = await opened(built, threads=1)
    delays: list[float] = []
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    async def look() -> None:
        while not ended.is_set():
            before = loop.time()
            await asyncio.sleep(0.001)
            delays.append(loop.time() - before - 0.001)

    looking = asyncio.create_task(look())
    began = loop.time()
    texts = [f"some words of event {n} " * (1 + n % 9) for n in range(2000)]
    await asyncio.gather(*(models.encode("tiny", [text], wait) for text in texts))
    took = loop.time() - began
    ended.set()
    await looking
    worst = sorted(delays)[int(len(delays) * 0.99)]
    print(f"p99 of the loop's delays: {1000 * worst:.1f} ms, of {len(delays)}, in {took:.2f} s")
    assert worst < took / 10
    models.close()
