"""Whether every event was settled once, in order and unchanged. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from checking.evidence import Expect, Fields, Findings, Record, Source

ERROR_HEADER = "eventmill.error."     # of a dead letter
SOURCE_HEADER = "eventmill.source."   # of a tombstone that was passed on

Inputs = Mapping[Source, Record]
Outputs = Sequence[tuple[Source, Record]]


def source_in_value(record: Record) -> Source | None:
    """Where a result or cost record says that it comes from; None where it does not say so."""
    if record.value is None:
        return _source_in_headers(record, SOURCE_HEADER)
    fields = record.fields or {}
    try:
        return (str(fields["source_topic"]), int(fields["source_partition"]), int(fields["source_offset"]))
    except (KeyError, TypeError, ValueError):
        return None


def source_in_headers(record: Record) -> Source | None:
    """Where a dead letter says that it comes from; None where it does not say so."""
    return _source_in_headers(record, ERROR_HEADER)


def _source_in_headers(record: Record, prefix: str) -> Source | None:
    topic, partition, offset = (header(record, prefix + name) for name in ("topic", "partition", "offset"))
    if topic is None or partition is None or offset is None:
        return None
    try:
        return (topic, int(partition), int(offset))
    except ValueError:
        return None


def header(record: Record, name: str) -> str | None:
    """Return the text of the last header called `name`; None where there is none."""
    found = [value for key, value in record.headers if key == name and value is not None]
    return found[-1].decode("utf-8", "replace") if found else None


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
    """Ask that a dead letter has its input record's value and headers, but for the report of an earlier failure."""
    for source, letter in dead_letters:
        event = inputs.get(source)
        if event is None:
            continue
        if letter.value != event.value:
            found.add("value_changed", letter.place)
        if _foreign(letter, ERROR_HEADER) != _foreign(event, ERROR_HEADER):
            found.add("headers_changed", letter.place)


def _foreign(record: Record, prefix: str) -> list[tuple[str, bytes | None]]:
    return [pair for pair in record.headers if not pair[0].startswith(prefix)]


def tombstones_passed(inputs: Inputs, results: Outputs, found: Findings) -> None:
    """Ask that a tombstone comes out as a tombstone with its headers, and that nothing else does."""
    for source, result in results:
        event = inputs.get(source)
        if event is None:
            continue
        found.counts["tombstones_passed"] += result.value is None
        if (event.value is None) != (result.value is None):
            found.add("tombstones_changed", result.place)
        elif event.value is None and _foreign(result, SOURCE_HEADER) != _foreign(event, SOURCE_HEADER):
            found.add("headers_changed", result.place)


def answered(inputs: Inputs, results: Outputs, answers: Callable[[Fields, Fields], bool], found: Findings) -> None:
    """Ask that a result can be the answer to its own event."""
    for source, result in results:
        event = inputs.get(source)
        if event is None or event.fields is None or result.fields is None:
            continue
        if not answers(event.fields, result.fields):
            found.add("wrong_replies", result.place)
