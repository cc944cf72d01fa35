"""Training of heads from class means, and what the report says, on vectors made for it. Linear heads: tests/parity."""

import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventmill_connectors.onnx.centroids import class_means
from eventmill_connectors.onnx.folds import stratified_folds
from eventmill_connectors.onnx.training import LabelReport, measure_head, train_head
from eventmill_schemas.errors import ModelUnusable, SetupError, UsageError

DIMENSIONS = 16


def clouds(per_label=12, labels=("a", "b", "c"), spread=0.15, seed=1):
    """Return texts, labels, and an `embed` whose vectors lie around one direction per label."""
    random = np.random.default_rng(seed)
    directions = np.eye(DIMENSIONS)[: len(labels)]
    texts, given, vectors = [], [], {}
    for number in range(per_label):
        for label, direction in zip(labels, directions, strict=True):
            text = f"{label} {number}"
            vector = direction + spread * random.normal(size=DIMENSIONS)
            vectors[text] = (vector / np.linalg.norm(vector)).astype(np.float32)
            texts.append(text)
            given.append(label)
    return texts, given, lambda asked: np.stack([vectors[text] for text in asked])


def test_a_head_finds_the_labels_it_was_trained_on():
    """Well parted clouds are told apart by the head and in the report, label by label."""
    texts, labels, embed = clouds()
    head, report = train_head(texts, labels, embed)
    found, _ = head.classify(embed(texts))
    assert [head.labels[at] for at in found] == labels
    assert head.labels == ("a", "b", "c")
    assert (report.method, report.measures.texts, report.folds) == ("means", 36, 5)
    assert [(one.label, one.texts, one.recall, one.precision) for one in report.labels] == [
        ("a", 12, 1, 1), ("b", 12, 1, 1), ("c", 12, 1, 1),
    ]


def test_recall_and_precision_are_of_each_label():
    """One text of "a" lies among those of "b": "a" is not always found, and "b" not always right."""
    texts, labels, embed = clouds(labels=("a", "b"))
    labels[1] = "a"
    a, b = train_head(texts, labels, embed)[1].labels
    assert a == LabelReport("a", 13, 12 / 13, 1)
    assert b == LabelReport("b", 11, 1, 11 / 12)


def test_a_label_that_the_head_lacks_is_never_right():
    """New kinds of texts count as errors, not as some other label."""
    texts, labels, embed = clouds()
    head, _ = train_head(texts, labels, embed)
    vectors = embed(texts)
    assert measure_head(head, vectors, labels).accuracy == 1
    assert measure_head(head, vectors, ["new" if label == "a" else label for label in labels]).accuracy == 2 / 3


def test_no_text_is_judged_by_a_head_that_saw_it():
    """Labels without any relation to the vectors: fitted texts would be right far more often than by chance."""
    random = np.random.default_rng(5)
    vectors = random.normal(size=(400, 300)).astype(np.float32)
    texts = [str(number) for number in range(400)]
    labels = [str(number) for number in random.integers(0, 4, 400)]
    head, report = train_head(texts, labels, lambda _: vectors, "means")
    assert measure_head(head, vectors, labels).accuracy > 0.7
    assert report.measures.accuracy < 0.35
    assert report.measures.ece < 0.1


def test_the_temperature_makes_confidences_honest():
    """Cosines as logits say nearly nothing; after the temperature they say what is right, on fresh texts as well."""
    labels = tuple("abcdefgh")
    texts, given, embed = clouds(per_label=200, labels=labels, spread=0.45)
    head, report = train_head(texts, given, embed, "means")
    assert report.ece_raw > 0.4
    assert report.measures.ece < report.ece_raw / 8
    fresh_texts, fresh_labels, fresh = clouds(per_label=200, labels=labels, spread=0.45, seed=2)
    measured = measure_head(head, fresh(fresh_texts), fresh_labels)
    assert measured.ece < report.ece_raw / 8
    assert measured.accuracy == pytest.approx(report.measures.accuracy, abs=0.05)


def test_the_same_texts_give_the_same_head():
    """Bytes of the head and the whole report depend on texts, labels and seed alone."""
    texts, labels, embed = clouds(spread=0.5)
    first, first_report = train_head(texts, labels, embed, "means", seed=3)
    again, again_report = train_head(texts, labels, embed, "means", seed=3)
    other, other_report = train_head(texts, labels, embed, "means", seed=4)
    assert (first.weights.tobytes(), first.temperature) == (again.weights.tobytes(), again.temperature)
    assert first_report == again_report
    assert first.weights.tobytes() == other.weights.tobytes()   # all texts, whatever the folds are
    assert first_report.measures != other_report.measures


def test_the_report_is_json():
    """What goes into a manifest survives JSON."""
    texts, labels, embed = clouds()
    document = train_head(texts, labels, embed)[1].as_dict()
    read = json.loads(json.dumps(document))
    assert read["measures"]["accuracy"] == 1
    assert read["labels"][0] == {"label": "a", "texts": 12, "recall": 1, "precision": 1}


def test_repeated_texts_count_once_and_ambiguous_ones_are_told():
    """A text in two folds would judge itself."""
    texts, labels, embed = clouds()
    _, report = train_head([*texts, texts[0], texts[0], texts[1]], [*labels, labels[0], labels[0], "c"], embed)
    assert report.measures.texts == 37
    assert [note.split(" ")[0] for note in report.notes] == ["2", "1"]
    assert "same label" in report.notes[0]
    assert "more than one label" in report.notes[1]


def test_labels_that_differ_in_case_alone_are_told():
    """Two spellings are two labels, as in an enum; most likely one was meant."""
    texts, _, embed = clouds(labels=("a", "b"))
    _, report = train_head(texts, ["Refund", "refund"] * 6 + ["other"] * 12, embed)
    assert report.notes == ("'Refund', 'refund' are different labels",)


@given(st.lists(st.integers(2, 9), min_size=2, max_size=6), st.integers(0, 9))
@settings(max_examples=40)
def test_every_fold_leaves_texts_of_every_label(counts, seed):
    """However few texts a label has, from two on: each is judged once, by a head that knows its label."""
    classes = np.repeat(np.arange(len(counts)), counts)
    folds = stratified_folds(classes, seed)
    assert sorted(set(folds.tolist())) == list(range(folds.max() + 1))
    for fold in range(folds.max() + 1):
        assert set(classes[folds != fold].tolist()) == set(range(len(counts)))
    for index, count in enumerate(counts):
        sizes = np.bincount(folds[classes == index], minlength=5)
        assert sizes.max() - sizes.min() <= 1
        assert sizes.sum() == count


def test_two_texts_a_label_are_enough():
    """The smallest file that can be tested gives a head and a report."""
    texts, labels, embed = clouds(per_label=2)
    _, report = train_head(texts, labels, embed)
    assert report.measures.accuracy == 1
    assert report.measures.at_thresholds[-1].coverage == 0   # six texts make nobody 99 % sure


def test_class_means_are_directions():
    """The mean of a class as a unit vector; opposite vectors cancel out, and their class is like nothing."""
    weights, bias = class_means(
        np.array([[3, 0], [0, 3], [0, 2], [1, 0], [-1, 0]], dtype=np.float32), np.array([0, 0, 1, 2, 2]), 3
    )
    assert weights.T.ravel() == pytest.approx([0.5**0.5, 0.5**0.5, 0, 1, 0, 0])
    assert bias.tolist() == [0, 0, 0]


@pytest.mark.parametrize(("labels", "message"), [
    (["a", "a"], "at least two labels, and the texts have 1: 'a'"),
    ([], "at least two labels, and the texts have 0"),
    (["a", "a", "b", "c"], "only one text for 'b', 'c'"),
], ids=["one-label", "none", "single-texts"])
def test_labels_that_train_nothing_are_refused(labels, message):
    """One label is no choice, and a label with one text can't be tested."""
    with pytest.raises(UsageError, match=message):
        train_head([str(n) for n in range(len(labels))], labels, lambda asked: np.ones((len(asked), 2)))


def test_a_vector_that_is_not_finite_is_refused_with_its_text():
    """One NaN would make every weight NaN."""
    texts, labels, embed = clouds()

    def damaged(asked):
        vectors = embed(asked)
        vectors[4, 2] = np.nan
        return vectors

    with pytest.raises(ModelUnusable, match="no finite vector for the text 'b 1'"):
        train_head(texts, labels, damaged)


def test_vectors_of_other_shape_are_refused():
    """One vector too few, or numbers instead of vectors, is no silent shift of labels."""
    texts, labels, embed = clouds()
    with pytest.raises(ModelUnusable, match=r"shape \(35, 16\) for 36 texts"):
        train_head(texts, labels, lambda asked: embed(asked)[1:])


class TestWithoutTorch:
    """The runtime has no torch, and where one is installed it is hidden here."""

    @pytest.fixture(autouse=True)
    def no_torch(self, monkeypatch):
        """Let `import torch` fail."""
        monkeypatch.setitem(sys.modules, "torch", None)

    def test_a_linear_head_says_what_it_needs(self):
        """The message names the package and the other method, and comes before minutes of embedding."""
        texts, labels, embed = clouds()
        asked = []
        with pytest.raises(SetupError, match="torch, which is not installed") as caught:
            train_head(texts, labels, lambda some: asked.append(some) or embed(some), "linear")
        assert not asked
        assert "eventmill[train]" in str(caught.value)
        assert "--method means" in str(caught.value)

    def test_many_texts_get_class_means_and_a_note(self):
        """From 20 texts a label on the better method is named; below it is not missed."""
        few, many = (train_head(*clouds(per_label=count))[1] for count in (19, 20))
        assert (few.method, few.notes) == ("means", ())
        assert many.method == "means"
        assert "torch is not installed" in many.notes[0]


def test_a_torch_that_can_not_be_loaded_is_no_stack_trace(tmp_path, monkeypatch):
    """Half of its 6 GB are libraries of CUDA; one that is missing is named."""
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so.13: cannot open shared object file')")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SetupError, match=r"torch .* can't be loaded: libcudart"):
        train_head(*clouds(), "linear")
