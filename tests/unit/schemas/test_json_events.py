"""JSON events are read strictly and exactly."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill_schemas.errors import Undecodable
from eventmill_schemas.json_events import decode

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
json_objects = st.dictionaries(st.text(), json_values, max_size=5)


@given(json_objects, st.booleans(), st.sampled_from([None, 1]))
def test_valid_objects_come_back_exactly(fields: dict[str, Any], ascii_only: bool, indent: int | None) -> None:
    """Text, integers of any size and floats are what the producer wrote, however it was laid out."""
    assert decode(json.dumps(fields, ensure_ascii=ascii_only, indent=indent).encode()) == fields


@given(st.binary(max_size=60))
def test_any_bytes_are_decoded_or_undecodable(value: bytes) -> None:
    """Nothing but Undecodable comes out of noise."""
    with contextlib.suppress(Undecodable):
        assert isinstance(decode(value), dict)


@given(json_objects, st.data())
def test_a_flaw_gives_fields_or_undecodable(fields: dict[str, Any], data: st.DataObject) -> None:
    """Good JSON with one byte changed or cut off never raises anything else."""
    value = bytearray(json.dumps(fields).encode())
    value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Undecodable):
        assert isinstance(decode(bytes(value[: data.draw(st.integers(0, len(value)))])), dict)


@given(json_objects, st.text())
def test_a_repeated_name_is_found_wherever_it_stands(fields: dict[str, Any], name: str) -> None:
    """Two readers could see two different events: the record is refused, and the second place is shown."""
    member = f"{json.dumps(name)}:1"
    rest = json.dumps(fields)[1:-1]
    before = '{"list":[{' + member + ","
    text = before + member + "}]" + (f",{rest}" if rest else "") + "}"
    with pytest.raises(Undecodable, match="there twice") as raised:
        decode(text.encode())
    assert f"(line 1, column {len(before) + 1})" in raised.value.message


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b'{"a": NaN}', "NaN is not JSON (line 1, column 7)"),
        (b'{"NaN": "NaN",\n "b": -Infinity}', "-Infinity is not JSON (line 2, column 7)"),
        (b'{"a": 1e400}', "the number 1e400 is too large (line 1, column 7)"),
        (b"\xef\xbb\xbf{}", "begins with a byte order mark"),
        (b'{"a": "\xff"}', "byte 0xff at 7 is not UTF-8"),
        (b'{"a": "\xed\xa0\x80"}', "byte 0xed at 7 is not UTF-8"),
        (b"", "expecting value (line 1, column 1)"),
        (b'{"a": 1', "(line 1, column 8)"),
        (b'{"a": 1} x', "extra data (line 1, column 10)"),
        (b'{"a": "x\x01"}', "(line 1, column 9)"),
        (b"{'a': 1}", "(line 1, column 2)"),
        (b'{"a": 01}', "(line 1, column 8)"),
        (b"[1]", "it is an array, an event is an object"),
        (b"null", "it is null"),
        (b"1", "it is a number"),
        (b"\x00\x00\x00\x00\x07abc", "begins with 0x00, as framed Avro does"),
        pytest.param(b'{"a":' * 100_000, "nested too deep", id="deep"),
        pytest.param(b"[" * 900 + b'"\\ud800"' + b"]" * 900, "nested too deep", id="deep-with-surrogate"),
        pytest.param(b'{"a":' + b"9" * 5000 + b"}", "4300 digits", id="5000-digits"),
    ],
)
def test_what_is_refused_says_where(value: bytes, message: str) -> None:
    """The message tells what is wrong and, where there is one, the line and column."""
    with pytest.raises(Undecodable) as raised:
        decode(value)
    assert message in raised.value.message


def test_framed_avro_has_its_remedy() -> None:
    """The usual mistake is the format setting."""
    with pytest.raises(Undecodable) as raised:
        decode(b"\x00\x00\x00\x00\x07abc")
    assert raised.value.remedy is not None
    assert "format: avro" in raised.value.remedy


def test_digits_are_never_rounded() -> None:
    """A 30-digit id stays what it is (case 33)."""
    assert decode(b'{"id": 123456789012345678901234567890}') == {"id": 123456789012345678901234567890}


def test_half_an_emoji_is_no_reason_to_refuse() -> None:
    """A producer that cuts text by UTF-16 units leaves a lone surrogate: it is replaced (case 39)."""
    assert decode(b'{"a": "x\\ud83d", "b": "\\ud83d\\ude00"}') == {"a": "x�", "b": "😀"}
