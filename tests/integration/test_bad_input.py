"""Whatever stands in an input topic: the original becomes a dead letter, the partition goes on, nothing is lost."""

import json
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka import Message

from checking.evidence import Expect
from digest_pipeline import INPUT, PROMPT
from eventmill.dev.addresses import Addresses
from scenario import LARGEST, ModelServer, Put, Scenario

RESULT = json.dumps(
    {
        "type": "record",
        "name": "Digest",
        "fields": [
            {"name": "appendix", "type": "string", "from": "event.appendix | default('')"},
            {"name": "summary", "type": "string", "doc": "The note in one sentence."},
        ],
    }
)
WITH_APPENDIX = json.dumps(
    {
        "type": "record",
        "name": "NoteWithAppendix",
        "fields": [{"name": name, "type": "string"} for name in ("id", "body", "appendix")],
    }
)
WITHOUT_ID = json.dumps({"type": "record", "name": "Bare", "fields": [{"name": "body", "type": "string"}]})
WITHOUT_BODY = json.dumps({"type": "record", "name": "Empty", "fields": [{"name": "id", "type": "string"}]})
PIPELINE = """
routes: {writer: [{provider: openai, model: gpt-5-mini}]}
stages:
  digest:
    input: "{name}.notes"
    event: {id: id}
    result: digest.avsc
    steps: [complete: {route: writer, prompt: digest.md}]
    in_flight: 50
    attempts: 2
"""
NO_SUCH_SCHEMA = b"\0" + (2**31 - 2).to_bytes(4, "big")
HEADERS = [("trace", b"1"), ("trace", b"2"), ("empty", b""), ("null", None), ("raw", b"\xff\xfe\0")]


def test_bad_records_become_dead_letters_that_hold_the_original(
    tmp_path: Path, addresses: Addresses, unique: str
) -> None:
    """One partition with 24 records, 18 of which fail, each in its own way, with others between and behind them.

    Every failed one is a dead letter with its bytes, key and headers and the right kind; tombstones pass; the rest has
    results, in order; the worker's own counts agree; the independent checker finds nothing lost, doubled or changed.
    """
    with Scenario(tmp_path, addresses, unique, PIPELINE, {"digest.avsc": RESULT, "digest.md": PROMPT}) as scenario:
        notes, topics = f"{unique}.notes", scenario.topics("digest")
        scenario.create(1, [notes], {"max.message.bytes": str(LARGEST)})
        scenario.model = ModelServer("--latency", "fixed:0.02")
        bad = _bad_records(scenario, notes)
        good = _good_records(scenario, notes)
        records = _mixed(bad, good)
        with pytest.raises(AssertionError, match="MSG_SIZE_TOO_LARGE"):
            scenario.put(notes, 0, [(b"limit", _at_the_limit(b"limit") + b"!", [])])
        scenario.put(notes, 0, records)
        worker = scenario.worker("digest", "--slot", "0")
        scenario.wait(lambda: worker.ended or scenario.settled("digest") >= len(records), 60)

        letters = {message.offset(): message for message in scenario.read(topics.dlq)}
        by_source = {int(_header(letter, "eventmill.error.offset")): letter for letter in letters.values()}
        at = {name: number for number, (name, _) in enumerate(_named(bad, good))}
        found = {name: _header(by_source[at[name]], "eventmill.error.kind") for name in bad if at[name] in by_source}
        assert found == {name: kind for name, (kind, _) in bad.items()}
        for name, (_, (key, value, headers)) in bad.items():
            letter = by_source[at[name]]
            assert (letter.key(), letter.value()) == (key, value), name
            own = [pair for pair in letter.headers() or [] if not pair[0].startswith("eventmill.error.")]
            assert own == list(headers), name
            assert _header(letter, "eventmill.error.message"), name
        kinds = Counter(kind for kind, _ in bad.values())
        counted = {kind: worker.metric("eventmill_dead_letters_total", kind=kind) for kind in kinds}
        assert counted == kinds
        assert worker.metric("eventmill_events_total", outcome="tombstone") == 1
        assert worker.stop() == 0, worker.text

        results = scenario.read(topics.results)
        assert [message.key() for message in results if message.value() is None] == [b"gone"]
        assert [message.key() for message in results].count(None) == 1, "an event without a key has its result"
        report = scenario.check("digest", Expect(results=len(good) - 1, dead_letters=len(bad)))
        assert report.clean, report
        assert report.counts["tombstones_passed"] == 1
        assert report.dead_letter_kinds == kinds


def _good_records(scenario: Scenario, topic: str) -> dict[str, Put]:
    writer = scenario.writer(topic, INPUT)
    good: dict[str, Put] = {
        f"good {number}": (b"k1", writer.encode({"id": f"g{number}", "body": f"The note {number}."}), HEADERS)
        for number in range(4)
    }
    good["without a key"] = (None, writer.encode({"id": "g-null", "body": "Nobody's note."}), [])
    good["tombstone"] = (b"gone", None, HEADERS)
    return good


def _bad_records(scenario: Scenario, topic: str) -> dict[str, tuple[str, Put]]:
    """Return for each bad record the kind of its dead letter."""
    writer = scenario.writer(topic, INPUT)
    other = f"{topic}.other"
    no_id, no_body = scenario.writer(other, WITHOUT_ID), scenario.writer(f"{other}2", WITHOUT_BODY)
    appended = scenario.writer(f"{other}3", WITH_APPENDIX)
    whole = writer.encode({"id": "x", "body": "y"})

    def note(name: str, body: str) -> bytes:
        return writer.encode({"id": name, "body": body})

    return {
        "empty value": ("undecodable", (b"k1", b"", HEADERS)),
        "three bytes": ("undecodable", (b"k1", b"\0\0\0", HEADERS)),
        "no magic byte": ("undecodable", (b"k1", b'{"id": "x", "body": "JSON"}', HEADERS)),
        "unknown schema": ("undecodable", (b"k1", NO_SUCH_SCHEMA + whole[5:], HEADERS)),
        "garbage in a valid frame": ("undecodable", (b"k1", whole[:5] + b"\xff\xff\xff\xff\xff\xff", HEADERS)),
        "cut Avro": ("undecodable", (b"k1", whole[:-1], HEADERS)),
        "undecodable without a key": ("undecodable", (None, b"not Avro", HEADERS)),
        "500 headers": ("undecodable", (b"k1", b"?", [(f"h{i % 300}", bytes([i % 256]) * 900) for i in range(500)])),
        "no id field": ("missing_field", (b"k1", no_id.encode({"body": "Whose is it?"}), HEADERS)),
        "empty id": ("missing_field", (b"k1", note("", "Whose is it?"), HEADERS)),
        "field of the prompt missing": ("missing_field", (b"k1", no_body.encode({"id": "b1"}), HEADERS)),
        "invalid reply": ("invalid_reply", (b"k1", note("b2", "A [[stand-in:invalid]] one."), HEADERS)),
        "refused": ("refused_reply", (b"k1", note("b3", "A [[stand-in:refuse]] one."), HEADERS)),
        "truncated": ("truncated_reply", (b"k1", note("b4", "A [[stand-in:truncate]] one."), HEADERS)),
        "request refused": ("request_refused", (b"k1", note("b5", "A [[stand-in:400]] one."), HEADERS)),
        "server fails": ("call_failed", (b"k1", note("b6", "A [[stand-in:500]] one."), HEADERS)),
        "result too large": (
            "record_too_large",
            (b"k1", appended.encode({"id": "b7", "body": "Short.", "appendix": "x" * (LARGEST - 10_000)}), HEADERS),
        ),
        "record at the limit": ("undecodable", (b"limit", _at_the_limit(b"limit"), [])),
    }


def _at_the_limit(key: bytes) -> bytes:
    """Return a value whose record batch, alone, has exactly LARGEST bytes (Kafka's record format v2)."""
    batch_header, length, attributes_and_deltas, key_length, value_length, header_count = 61, 4, 3, 1, 4, 1
    framing = batch_header + length + attributes_and_deltas + key_length + value_length + header_count
    return b"{" * (LARGEST - framing - len(key))


def _named(bad: dict[str, tuple[str, Put]], good: dict[str, Put]) -> list[tuple[str, Put]]:
    """Mix the records: every third bad one is followed by a good one, and a good one is last."""
    rest = list(good.items())
    mixed: list[tuple[str, Put]] = []
    for number, (name, (_, put)) in enumerate(bad.items()):
        mixed.append((name, put))
        if number % 3 == 2 and len(rest) > 1:
            mixed.append(rest.pop(0))
    return mixed + rest


def _mixed(bad: dict[str, tuple[str, Put]], good: dict[str, Put]) -> list[Put]:
    return [put for _, put in _named(bad, good)]


def _header(message: Message, name: str) -> str:
    values = [value for key, value in message.headers() or [] if key == name]
    return bytes(values[-1] or b"").decode()
