"""Text is made storable without changing what is storable already."""

from hypothesis import given
from hypothesis import strategies as st

from eventmill_schemas.storable_text import storable, storable_text

any_text = st.text(st.characters(codec=None) | st.sampled_from("\x00\ud800\udbff\udc00\udfff"))


@given(any_text)
def test_the_result_is_storable_and_a_second_time_changes_nothing(text: str) -> None:
    """UTF-8 can encode the result, it has no U+0000, and the function is idempotent."""
    clean = storable_text(text)
    clean.encode()
    assert "\x00" not in clean
    assert storable_text(clean) == clean


@given(st.text())
def test_valid_text_only_loses_nul(text: str) -> None:
    """What UTF-8 can encode stays, character by character."""
    assert storable_text(text) == text.replace("\x00", "")


def test_pairs_become_characters_and_lone_halves_the_replacement_character() -> None:
    """A pair of surrogates is a character that was cut in two by its encoding, not damage."""
    assert storable_text("a\ud83d\ude00b") == "a😀b"
    assert storable_text("a\ud83d b\ude00") == "a� b�"
    assert storable_text("\u202eé\u200b") == "\u202eé\u200b"


def test_every_depth_is_reached_and_other_values_are_left_alone() -> None:
    """Keys and values of maps and lists are cleaned, numbers and bytes are not touched."""
    assert storable({"a\x00": ["x\x00", {"b": "\ud800"}], "n": 1, "raw": b"\x00"}) == {
        "a": ["x", {"b": "�"}],
        "n": 1,
        "raw": b"\x00",
    }
