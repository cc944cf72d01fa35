"""What is said about a model that was made or checked."""

from typing import Any

from eventmill.cli.output import show, show_json
from eventmill_connectors.onnx.artifact import Artifact
from eventmill_connectors.onnx.gate import GateReport


def show_passed(artifact: Artifact, report: GateReport, *, json: bool, live: bool) -> None:
    """Print that a model passed the gate, and how; `live`: it was made and is the live version now."""
    manifest = artifact.manifest
    if json:
        document: dict[str, Any] = {"folder": artifact.folder, "name": manifest.name, "version": manifest.version}
        show_json({**document, "gate": report})
        return
    labels = "" if manifest.labels is None else f", {len(manifest.labels)} labels"
    vector = "" if manifest.dimensions is None else f", vectors of {manifest.dimensions} dimensions"
    show(f"{artifact.folder}: {manifest.task}, {manifest.precision}{vector}{labels}")
    near = "" if report.cosine_min is None else f", cosine similarity {report.cosine_min:.6f}"
    records = f"{report.rows} {manifest.parity.reference} records"
    show(f"gate passed on {report.provider}: {records}, at most {report.max_abs:.1e} off{near}")
    if report.batch_difference is None:
        show("a record has other bits in a batch than alone, so records will be run one at a time")
    elif report.batch_difference == 0:
        show("a record has the same bits alone and in a batch")
    else:
        show(f"a record is up to {report.batch_difference:.2g} off in a batch, within the tolerance")
    if live:
        show(f"live: {manifest.name}@{manifest.version}")
