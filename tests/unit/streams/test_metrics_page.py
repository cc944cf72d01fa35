"""The page about metrics says what a worker exposes, no more and no less."""

import re
from pathlib import Path

from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from eventmill_streams.metrics import Metrics

PAGE = (Path(__file__).parents[3] / "docs/reference/metrics.md").read_text("utf-8")
ROW = re.compile(r"\| `(eventmill_\w+)` \| (counter|gauge|histogram) \|([^|]*)\| (\S[^|]*) \|")


def _declared() -> dict[str, tuple[str, set[str]]]:
    """Return type and labels of every metric by the name that it is exposed under."""
    metrics = Metrics()
    declared = {}
    for value in vars(metrics).values():
        for family in value.describe() if hasattr(value, "describe") else ():
            name = f"{family.name}_total" if family.type == "counter" else family.name
            declared[name] = (family.type, set(value._labelnames))
    return declared


def test_every_metric_is_described_with_its_type_and_labels() -> None:
    """A metric that is added, renamed, removed or labelled otherwise changes the page too."""
    rows = [row for line in PAGE.splitlines() if (row := ROW.fullmatch(line))]
    described = {row[1]: (row[2], set(re.findall(r"`(\w+)`", row[3]))) for row in rows}
    assert described == _declared()
    assert len(rows) == len(described) > 15, "each has one row"


def test_the_expressions_use_metrics_and_labels_that_exist() -> None:
    """What a reader copies from the page finds something."""
    suffix = re.compile(r"_(bucket|sum|count)$")
    for expression in re.findall(r"^\|[^|]*\| `([^`]+)` \|$", PAGE.split("## What to watch")[1], re.MULTILINE):
        names = re.findall(r"eventmill_\w+", expression)
        assert names, expression
        assert {suffix.sub("", name) for name in names} <= _declared().keys(), expression


def test_all_metrics_together_are_valid_openmetrics() -> None:
    """With a hostile label value in it, the text is what the strict parser takes, and gives the value back."""
    metrics = Metrics()
    hostile = 'a "quoted"\nmodel \\ 語'
    metrics.calls.labels(stage="s", provider="openai", model=hostile, outcome="ok").inc()
    text = generate_latest(metrics.registry).decode()  # type: ignore[no-untyped-call]  # the library's
    families = {family.name: family for family in text_string_to_metric_families(text)}  # type: ignore[no-untyped-call]  # the library's
    assert {name.removesuffix("_total") for name in _declared()} == families.keys()
    assert {sample.labels["model"] for sample in families["eventmill_calls"].samples} == {hostile}
    assert all(family.documentation for family in families.values())
