"""Ids are deterministic, and different things have different ids."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill_schemas.chat import ChatRequest
from eventmill_schemas.errors import MissingEventField
from eventmill_schemas.events import RawRecord, Source
from eventmill_schemas.ids import call_id, cost_id, event_id, tenant

SOURCE = Source("mails", 3, 42)
REQUEST = ChatRequest(system="s", user="u")

parts = st.one_of(st.none(), st.text(max_size=4))
texts = st.text(max_size=4)


def record(*headers: tuple[str, bytes | None]) -> RawRecord:
    """Make a record at SOURCE."""
    return RawRecord(SOURCE, key=None, value=b"", headers=headers, timestamp_ms=-1)


def test_the_cloudevents_header_wins_over_the_field_and_the_last_one_counts() -> None:
    """A CloudEvents id identifies the event whatever the configured field says; of several, the last is taken."""
    headers = (("ce_id", b"first"), ("ce_id", b"last"), ("other", b"x"))
    assert event_id(record(*headers), {"id": "field"}, "id") == "last"


@pytest.mark.parametrize(
    ("fields", "path", "expected"),
    [
        ({"id": "a"}, "id", "a"),
        ({"id": 7}, "id", "7"),
        ({"id": 10**30}, "id", str(10**30)),
        ({"id": UUID(int=5)}, "id", str(UUID(int=5))),
        ({"a": {"b": "deep"}}, "a.b", "deep"),
        ({"a.b": "flat", "a": {"b": "deep"}}, "a.b", "flat"),
        ({"id": "x\x00\ud800"}, "id", "x�"),
    ],
)
def test_the_field_is_the_id(fields: Mapping[str, Any], path: str, expected: str) -> None:
    """A text, number or UUID is an id, also inside a record; its text is storable."""
    assert event_id(record(), fields, path) == expected


def test_without_a_field_the_place_is_the_id() -> None:
    """An event without id is known by topic, partition and offset."""
    assert event_id(record(), {"id": "ignored"}, None) == "mails/3@42"


@pytest.mark.parametrize(
    "fields", [{}, {"id": None}, {"id": ""}, {"id": True}, {"id": 1.5}, {"id": {"a": 1}}, {"id": []}]
)
def test_a_field_that_identifies_nothing_is_an_error_that_names_it(fields: Mapping[str, Any]) -> None:
    """A missing, empty or unfit id is not replaced by another identity in silence."""
    with pytest.raises(MissingEventField, match="'id'"):
        event_id(record(), fields, "id")


@pytest.mark.parametrize("value", [b"", b"\xff\xfe", b"\x00"])
def test_an_unusable_header_is_an_error(value: bytes) -> None:
    """An id header that is empty or not UTF-8 does not fall back to another identity."""
    with pytest.raises(MissingEventField, match="ce_id"):
        event_id(record(("ce_id", value)), {"id": "a"}, "id")


def test_a_tenant_may_be_null_but_not_missing() -> None:
    """Null is 'nobody in particular'; a missing field is a mistake."""
    assert tenant({"t": "acme"}, "t") == "acme"
    assert tenant({"t": 12}, "t") == "12"
    assert tenant({"t": None}, "t") is None
    assert tenant({}, None) is None
    with pytest.raises(MissingEventField, match="'t'"):
        tenant({"x": 1}, "t")
    with pytest.raises(MissingEventField, match="'t'"):
        tenant({"t": 1.5}, "t")


Asked = tuple[str | None, str, str, str | None, str, str]
asked = st.tuples(parts, texts, texts, parts, texts, texts)


def id_of(what: Asked) -> str:
    """Return the call id of one combination of parts."""
    who, event, step, prompt, system, user = what
    return call_id(who, event, step, prompt, ChatRequest(system=system, user=user))


@given(asked, asked)
def test_call_ids_are_equal_exactly_for_equal_questions(one: Asked, other: Asked) -> None:
    """No way of cutting the same characters into parts gives the same id; None is not the empty text."""
    assert (id_of(one) == id_of(other)) == (one == other)


@given(texts, texts, texts)
def test_moving_a_character_from_one_part_to_the_next_changes_the_id(a: str, b: str, c: str) -> None:
    """Neighbouring parts do not run together."""
    assert call_id(None, a + "x", b, c, REQUEST) != call_id(None, a, "x" + b, c, REQUEST)


def test_ids_do_not_depend_on_key_order_or_mapping_type() -> None:
    """The request's parameters are compared by content."""
    one = ChatRequest("s", "u", parameters={"temperature": 0, "max_output_tokens": 5})
    other = ChatRequest("s", "u", parameters=MappingProxyType({"max_output_tokens": 5, "temperature": 0}))
    assert call_id("t", "e", "step", "p@1", one) == call_id("t", "e", "step", "p@1", other)


@pytest.mark.parametrize(
    "changed",
    [
        ChatRequest("s", "u", schema_name="n"),
        ChatRequest("s", "u", schema={"type": "object"}),
        ChatRequest("s", "u", parameters={"temperature": 0}),
        ChatRequest("s", "u", parameters={"temperature": "0"}),
        ChatRequest("su", ""),
    ],
)
def test_every_part_of_the_request_counts(changed: ChatRequest) -> None:
    """A request that differs in any field is another call."""
    assert call_id(None, "e", "s", None, changed) != call_id(None, "e", "s", None, REQUEST)


def test_ids_are_the_same_in_every_process() -> None:
    """Ids written by one release are found again by the next: these are pinned."""
    assert call_id("acme", "e-1", "complete", "triage@3", REQUEST) == "b2ee047e3e037ba79b99bdbacb674217"
    assert cost_id(SOURCE, "c", 1) == "bc24fe01772df98287baf7c943751934"


places = st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(1, 9))


@given(places, places)
def test_cost_ids_tell_records_and_attempts_apart(one: tuple[int, int, int], other: tuple[int, int, int]) -> None:
    """Partition, offset and attempt never run together."""

    def id_at(partition: int, offset: int, attempt: int) -> str:
        return cost_id(Source("t", partition, offset), "c", attempt)

    assert (id_at(*one) == id_at(*other)) == (one == other)


def test_a_request_that_json_can_not_hold_is_an_error() -> None:
    """What has no canonical form has no id."""
    with pytest.raises(TypeError, match="set"):
        call_id(None, "e", "s", None, ChatRequest("s", "u", parameters={"x": {1, 2}}))
