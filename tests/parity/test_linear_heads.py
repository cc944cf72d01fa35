"""Linear heads, trained by torch: that they are the optimum, better than means where they should be, and the same."""

import numpy as np
import pytest
import torch

from eventmill_connectors.onnx.build import EncoderRequest, build
from eventmill_connectors.onnx.logistic import logistic_regression
from eventmill_connectors.onnx.manifest import CONFIDENCE, EMBEDDING, LABEL, LOGITS
from eventmill_connectors.onnx.session import Device, OnnxSession
from eventmill_connectors.onnx.sources import installed_minilm
from eventmill_connectors.onnx.tokens import load_tokenizer, padded_length, text_inputs
from eventmill_connectors.onnx.training import measure_head, train_head


def stretched(count=600, seed=2):
    """Return vectors and classes that a plane parts, and that lie far more along it than across it."""
    random = np.random.default_rng(seed)
    classes = random.integers(0, 3, count)
    vectors = random.normal(size=(count, 12))
    vectors[:, 0] *= 8
    vectors[:, 1] = 0.35 * (classes - 1) + 0.1 * vectors[:, 1]
    vectors[:, 2] = 0.35 * (classes == 1) + 0.1 * vectors[:, 2]
    return (vectors / 10).astype(np.float32), classes


def as_texts(vectors, classes):
    """Return texts, labels and an `embed` for vectors."""
    texts = [str(number) for number in range(len(vectors))]
    return texts, [f"label {at}" for at in classes], lambda asked: vectors[[int(text) for text in asked]]


def gradient(weights, bias, vectors, classes, decay):
    """Return the gradient of the loss by hand: cross-entropy's is (probabilities - truth) times the inputs."""
    logits = vectors.astype(np.float64) @ weights + bias
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    shares[np.arange(len(classes)), classes] -= 1
    return vectors.T @ shares / len(classes) + 2 * decay * weights, shares.mean(axis=0)


@pytest.mark.parametrize("decay", [1e-2, 1e-4])
def test_the_optimum_is_found(decay):
    """At the weights that are found the loss is flat, and the loss is convex: there is no better head."""
    vectors, classes = stretched()
    weights, bias = logistic_regression(vectors, classes, 3, weight_decay=decay)
    by_weights, by_bias = gradient(weights, bias, vectors, classes, decay)
    at_start, _ = gradient(np.zeros_like(weights), np.zeros(3), vectors, classes, decay)
    assert np.abs(by_weights).max() < 1e-3 * np.abs(at_start).max()
    assert np.abs(by_bias).max() < 1e-4


def test_the_decay_holds_weights_small():
    """Ten times the decay gives smaller weights."""
    vectors, classes = stretched()
    sizes = [np.abs(logistic_regression(vectors, classes, 3, weight_decay=d)[0]).sum() for d in (1e-3, 1e-2, 1e-1)]
    assert sizes[0] > 2 * sizes[1] > 4 * sizes[2]


def test_a_linear_head_is_taken_from_twenty_texts_on_and_finds_what_means_miss():
    """Classes that are long and thin: their means say little, a plane between them all; on fresh texts too."""
    texts, labels, embed = as_texts(*stretched())
    head, report = train_head(texts, labels, embed)
    _, by_means = train_head(texts, labels, embed, "means")
    assert (report.method, report.notes) == ("linear", ())
    assert report.measures.accuracy > by_means.measures.accuracy + 0.1
    fresh, classes = stretched(seed=3)
    measured = measure_head(head, fresh, [f"label {at}" for at in classes])
    assert measured.accuracy == pytest.approx(report.measures.accuracy, abs=0.04)
    assert measured.ece < 0.05


def drawn(count, dimensions, wrong, seed=4):
    """Return unit vectors whose class is the largest of three components, but for a part of them: any class."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(count, dimensions))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    classes = vectors[:, :3].argmax(axis=1)
    changed = random.random(count) < wrong
    classes[changed] = random.integers(0, 3, changed.sum())
    return vectors.astype(np.float32), classes


@pytest.mark.parametrize(("data", "decay"), [((300, 100, 0.3), 1e-4), ((600, 20, 0.0), 1e-6)], ids=["noise", "clear"])
def test_the_decay_is_chosen_by_texts_left_out(data, decay):
    """Few doubtful labels in many dimensions call for small weights, many clear ones in few for large ones."""
    texts, labels, embed = as_texts(*drawn(*data))
    assert train_head(texts, labels, embed, "linear")[1].weight_decay == decay


def test_few_texts_get_class_means_although_torch_is_here():
    """Below twenty texts a label there is too little to find a plane."""
    texts, labels, embed = as_texts(*stretched(count=45))
    assert train_head(texts, labels, embed)[1].method == "means"


def test_the_same_texts_give_the_same_head_with_any_number_of_threads():
    """The last bits don't depend on torch's threads, whose number is left as it was."""
    texts, labels, embed = as_texts(*stretched())
    before = torch.get_num_threads()
    try:
        heads = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            heads.append(train_head(texts, labels, embed, "linear", seed=1)[0])
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert heads[0].weights.tobytes() == heads[1].weights.tobytes()
    assert (heads[0].bias.tobytes(), heads[0].temperature) == (heads[1].bias.tobytes(), heads[1].temperature)


def test_a_model_with_a_linear_head_says_what_the_head_says(tmp_path):
    """Through the whole of `models build`: one graph gives vector, logits, label and confidence, and the report."""
    wanted = {"delivery": "where is my parcel number {}", "refund": "give me back the {} euros",
              "password": "I forgot the password of account {}"}
    texts = [sentence.format(number) for sentence in wanted.values() for number in range(24)]
    labels = [label for label in wanted for _ in range(24)]
    trained = []

    def train(embed):
        trained.append(train_head(texts, labels, embed))
        return trained[0]

    artifact = build(installed_minilm(), EncoderRequest("kinds", tmp_path), train).artifact
    head, report = trained[0]
    assert report.method == "linear"
    assert artifact.manifest.labels == head.labels == ("delivery", "password", "refund")
    assert artifact.manifest.head is not None
    assert artifact.manifest.head["measures"]["accuracy"] == report.measures.accuracy > 0.95

    question = "what has become of my parcel?"
    tokens = load_tokenizer(artifact).encode(question).ids
    inputs = text_inputs(artifact.manifest, [tokens], padded_length(len(tokens), 256))
    outputs = OnnxSession(artifact, Device()).run(inputs)
    found, confidences = head.classify(outputs[EMBEDDING])
    assert head.labels[int(outputs[LABEL][0])] == head.labels[found[0]] == "delivery"
    assert outputs[CONFIDENCE][0] == pytest.approx(confidences[0], abs=1e-5)
    assert outputs[LOGITS] == pytest.approx(head.logits(outputs[EMBEDDING]), abs=1e-3)
