"""The report on a trained head, as it is printed."""

import dataclasses

import numpy as np

from eventmill.cli.head_report import show_head_report, show_measures
from eventmill_connectors.onnx.calibration import measure
from eventmill_connectors.onnx.training import HeadReport, LabelReport

MEASURES = measure(np.array([0.95] * 19 + [0.6]), np.array([True] * 18 + [False, True]), (0.5, 0.9, 0.99))
REPORT = HeadReport(
    method="linear", seed=3, folds=5, temperature=0.42, weight_decay=1e-5, ece_raw=0.36, measures=MEASURES,
    labels=(LabelReport("refund", 12, 1.0, 0.8), LabelReport("delivery", 8, 0.5, None)), notes=("two are alike",),
)


def test_measures_are_a_table(capsys):
    """Accuracy and calibration error, then a line a threshold; "-" where nobody is that sure."""
    show_measures(MEASURES)
    assert capsys.readouterr().out.splitlines() == [
        "Accuracy 95.0 % of 20 texts, calibration error 0.022 (ECE, 15 bins).",
        "THRESHOLD  SURE %  RIGHT OF THESE %",
        "0.50        100.0              95.0",
        "0.90         95.0              94.7",
        "0.99          0.0                 -",
        "0.6000      100.0              95.0",
        "The last line is the lowest threshold at which 95% are right.",
    ]


def test_a_precision_that_is_never_reached_is_said(capsys):
    """No threshold is made up."""
    show_measures(measure(np.array([0.9, 0.8]), np.array([False, True]), (0.5,)))
    assert capsys.readouterr().out.splitlines()[-1] == "No threshold leaves texts of which 95% are right."


def test_the_weakest_labels_come_first(capsys):
    """Kind, texts and how they were judged, the labels by the part that is found, notes on stderr."""
    show_head_report(REPORT)
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0] == (
        "Head: linear, 2 labels, 20 texts, each judged by a head that was fitted without it (5 parts, seed 3)."
    )
    assert lines[1] == "Temperature 0.42; without it the calibration error would be 0.360."
    assert lines[-3:] == [
        "LABEL     TEXTS  FOUND %  RIGHT %",
        "delivery      8     50.0        -",
        "refund       12    100.0     80.0",
    ]
    assert shown.err == "note: two are alike\n"


def test_of_many_labels_ten_are_shown(capsys):
    """Seventy-seven lines would bury the summary; that these are the weakest is said."""
    labels = tuple(LabelReport(f"label {n:02}", 20, n / 100, 1.0) for n in range(30))
    show_head_report(dataclasses.replace(REPORT, labels=labels))
    lines = capsys.readouterr().out.splitlines()
    assert lines[-12] == "The 10 labels that are found least:"
    assert [line[:8] for line in lines[-10:]] == [f"label {n:02}" for n in range(10)]
