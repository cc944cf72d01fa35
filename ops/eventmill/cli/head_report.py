"""How the report on a trained head is shown: what it gets right, and how much it may decide alone."""

from collections.abc import Sequence

from eventmill.cli.output import say, show, show_table
from eventmill_connectors.onnx.calibration import PRECISION, AtThreshold, Measures
from eventmill_connectors.onnx.training import HeadReport, LabelReport

_WORST = 10   # labels shown


def show_head_report(report: HeadReport) -> None:
    """Print the report: a summary, what each threshold would leave to the head, and its weakest labels."""
    for note in report.notes:
        say(f"note: {note}")
    kind = "class means" if report.method == "means" else "linear"
    show(f"Head: {kind}, {len(report.labels)} labels, {report.measures.texts} texts, "
         f"each judged by a head that was fitted without it ({report.folds} parts, seed {report.seed}).")
    show(f"Temperature {report.temperature:.3g}; without it the calibration error would be {report.ece_raw:.3f}.")
    show("")
    show_measures(report.measures)
    show("")
    weak = _weakest(report.labels)
    if len(weak) < len(report.labels):
        show(f"The {len(weak)} labels that are found least:")
    show_table(
        ("label", "texts", "found %", "right %"),
        [(one.label, one.texts, 100 * one.recall, _percent(one.precision)) for one in weak],
    )


def show_measures(measures: Measures) -> None:
    """Print accuracy, and what thresholds of the confidence would do, as a table."""
    show(f"Accuracy {100 * measures.accuracy:.1f} % of {measures.texts} texts, "
         f"calibration error {measures.ece:.3f} (ECE, 15 bins).")
    rows: list[tuple[str, AtThreshold]] = [(f"{at.threshold:.2f}", at) for at in measures.at_thresholds]
    if measures.at_precision is not None:
        rows.append((f"{measures.at_precision.threshold:.4f}", measures.at_precision))
    show_table(("threshold", "sure %", "right of these %"), [
        (threshold, 100 * at.coverage, _percent(at.accuracy)) for threshold, at in rows
    ])
    if measures.at_precision is None:
        show(f"No threshold leaves texts of which {PRECISION:.0%} are right.")
    else:
        show(f"The last line is the lowest threshold at which {PRECISION:.0%} are right.")


def _weakest(labels: Sequence[LabelReport]) -> Sequence[LabelReport]:
    return sorted(labels, key=lambda one: (one.recall, one.label))[:_WORST]


def _percent(part: float | None) -> float | None:
    return None if part is None else 100 * part
