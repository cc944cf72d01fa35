"""Whether every event was settled once, in order and unchanged. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from checking.evidence import Expect, Fields, Findings, Record, Source

ERROR_HEADER = "eventmill.error."

Inputs = Mapping[Source, Record]
Outputs = Sequence[tuple[Source, Record]]


def source_in_value(record: Record) -> Source | None:
    """Where a result or cost record says that it comes from; None where it does not say so."""
    fields = record.fields or {}
    try:
        return (str(fields["source_topic"]), int(fields["source_partition"]), int(fields["source_offset"]))
    except (KeyError, TypeError, ValueError):
        return None


def source_in_headers(record: Record) -> Source | None:
    """Where a dead letter says that it comes from; None where it does not say so."""
    topic, partition, offset = (error_header(record, name) for name in ("topic", "partition", "offset"))
    if topic is None or partition is None or offset is None:
        return None
    try:
        return (topic, int(partition), int(offset))
    except ValueError:
        return None


def error_header(record: Record, name: str) -> str | None:
    """Return the text of a dead letter's `eventmill.error.<name>` header; None where there is none."""
    for header, value in record.headers:
        if header == ERROR_HEADER + name and value is not None:
            return value.decode("utf-8", "replace")
    return None


def with_source(
    records: Iterable[Record], source_of: Callable[[Record], Source | None], found: Findings
) -> list[tuple[Source, Record]]:
    """Pair each record with where it comes from; those that don't say so are faults."""
    pairs = []
    for record in records:
        source = source_of(record)
        if source is None:
            found.add("unreadable", record.place)
        else:
            pairs.append((source, record))
    return pairs


def settled_once(inputs: Inputs, outcomes: Outputs, expect: Expect, found: Findings) -> None:
    """Ask that every committed event has one result or dead letter, or is one that the stage does not take."""
    times_settled = Counter(source for source, _ in outcomes)
    for source, times in times_settled.items():
        if source not in inputs:
            found.add("without_source", source, times)
        if times > 1:
            found.add("duplicates", source, times - 1)
    missing = []
    for source, record in inputs.items():
        dropped = expect.takes is not None and record.fields is not None and not expect.takes(record.fields)
        if dropped and source in times_settled:
            found.add("not_filtered", source)
        elif dropped:
            found.counts["skipped"] += 1
        elif source not in times_settled:
            missing.append(source)
    if len(missing) < expect.skipped:
        found.add("unexpected_counts", f"skipped: {len(missing)} instead of {expect.skipped}")
    # Which of the missing were meant to be skipped is not known: the last ones are named as lost.
    found.counts["skipped"] += min(len(missing), expect.skipped)
    for source in missing[expect.skipped :]:
        found.add("lost", source)


def in_order(inputs: Inputs, results: Outputs, found: Findings) -> None:
    """Ask that the source offsets of results grow per input partition and key. Without a key there is no order."""
    newest: dict[tuple[str, int, bytes, int], int] = {}
    for source, result in results:
        event = inputs.get(source)
        if event is None or event.key is None:
            continue
        topic, partition, offset = source
        line = (topic, partition, event.key, result.partition)
        before = newest.get(line, -1)
        if offset < before:
            found.add("order_violations", source)
        newest[line] = max(offset, before)


def beside_input(inputs: Inputs, outputs: Outputs, partitions: Mapping[str, int], found: Findings) -> None:
    """Ask that an output record has its input's key, and its partition number where both topics have as many."""
    for source, record in outputs:
        event = inputs.get(source)
        if event is None:
            continue
        if record.key != event.key:
            found.add("key_changed", record.place)
        if partitions.get(record.topic) == partitions.get(event.topic) and record.partition != event.partition:
            found.add("wrong_partition", record.place)


def untouched(inputs: Inputs, dead_letters: Outputs, found: Findings) -> None:
    """Ask that a dead letter has the value and all headers of its input record."""
    for source, letter in dead_letters:
        event = inputs.get(source)
        if event is None:
            continue
        if letter.value != event.value:
            found.add("value_changed", letter.place)
        if Counter(event.headers) - Counter(letter.headers):
            found.add("headers_changed", letter.place)


def answered(inputs: Inputs, results: Outputs, answers: Callable[[Fields, Fields], bool], found: Findings) -> None:
    """Ask that a result can be the answer to its own event."""
    for source, result in results:
        event = inputs.get(source)
        if event is not None and event.fields is not None and not answers(event.fields, result.fields or {}):
            found.add("wrong_replies", result.place)
