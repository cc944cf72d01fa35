"""The stand-in answers every schema of the strict subset with a valid instance, made of the text it was sent."""

from typing import Any

import jsonschema_rs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill.dev.model.answer import UnanswerableSchema, answer, parts_of
from eventmill.dev.model.reading import read

TEXT = (
    "Subject: Heating is out\n\n"
    "Good morning,\n\nThe heating has been out since 7 o'clock. It is urgent, we have a baby here. "
    "Please send somebody before 2026-11-24. You should also call me at 12 or write to eva@example.com. Thanks, Eva"
)
READING = read(TEXT)
NAMES = st.sampled_from(
    ["summary", "category", "summary_translated", "action_items", "replySuggestions", "is_urgent", "confidence",
     "due_date", "email", "language", "count", "x", "title", "nested", "Ünïcode", "a/b~c"]
)  # fmt: skip
NAMED = st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=8)
PATTERNS = [
    "^[A-Z]{2}-[0-9]{4}$", r"^\d+(\.\d{1,2})?$", "^(yes|no)$", r"^\S+@\S+\.\S+$", "^.{3,}$", "[a-f0-9]{8}",
    "^[^a-z ]+$", r"^\w+(-\w+)*$", r"^$|^x", r"^-?[0-9]{1,9}$", "a|b", r"^\+?[\d ]{5,}$",
]  # fmt: skip
FORMATS = ["date", "date-time", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"]


def validated(schema: Any, value: Any) -> Any:
    """Check an instance, formats included."""
    jsonschema_rs.Draft202012Validator(schema, validate_formats=True).validate(value)
    return value


@st.composite
def strings(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a string schema; a length that no text of the pattern has is not drawn."""
    kind = draw(st.sampled_from(["plain", "length", "pattern", "format"]))
    if kind == "length":
        low = draw(st.integers(0, 300))
        return {"type": "string", "minLength": low, "maxLength": low + draw(st.integers(0, 50))}
    choices = {"pattern": PATTERNS, "format": FORMATS}
    return {"type": "string"} if kind == "plain" else {"type": "string", kind: draw(st.sampled_from(choices[kind]))}


@st.composite
def numbers(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a number schema that some number fits."""
    kind = draw(st.sampled_from(["integer", "number"]))
    low = draw(st.integers(-1000, 1000))
    width = draw(st.integers(2, 1000))
    high = low + width
    bounds = draw(st.sampled_from([
        {}, {"minimum": low}, {"maximum": low}, {"minimum": low, "maximum": high}, {"minimum": low, "maximum": low},
        {"exclusiveMinimum": low}, {"exclusiveMaximum": low}, {"exclusiveMinimum": low, "exclusiveMaximum": high},
    ]))  # fmt: skip
    step = draw(st.sampled_from([None, 1, 2, 0.5])) if "minimum" not in bounds or "maximum" not in bounds else None
    if "exclusiveMinimum" in bounds and "exclusiveMaximum" in bounds:
        step = None
    return {"type": kind, **bounds, **({} if step is None else {"multipleOf": step})}


INTEGERS = st.integers(-(2**53), 2**53)
SCALARS = st.one_of(
    strings(),
    numbers(),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.lists(NAMED, min_size=1, max_size=5, unique=True).map(lambda symbols: {"type": "string", "enum": symbols}),
    st.lists(INTEGERS, min_size=1, max_size=3, unique=True).map(lambda values: {"enum": [None, *values]}),
    st.one_of(INTEGERS, NAMED, st.none()).map(lambda value: {"const": value}),
)


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    if {"enum", "const"} & set(schema) or not isinstance(schema.get("type"), str) or schema["type"] == "null":
        return {"anyOf": [schema, {"type": "null"}]}
    return {**schema, "type": [schema["type"], "null"]}


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    """Draw an object schema: every property required, no others."""
    properties = draw(st.dictionaries(NAMES | NAMED, inner, max_size=5))
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    """Draw an array schema."""
    low = draw(st.integers(0, 6))
    bounds = draw(st.sampled_from([{}, {"minItems": low}, {"maxItems": low}, {"minItems": low, "maxItems": low + 1}]))
    return {"type": "array", "items": draw(inner), **bounds}


SCHEMAS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        objects(inner),
        arrays(inner),
        inner.map(_nullable),
        st.lists(inner, min_size=1, max_size=3).map(lambda some: {"anyOf": some}),
    ),
    max_leaves=12,
)
SOME_TEXTS = [TEXT, "", " ", "?", "Hi", "佐藤様、至急お願いいたします。", "<b>x</b>\n> quoted"]
TEXTS = st.sampled_from(SOME_TEXTS) | st.text(max_size=200)


@given(SCHEMAS, TEXTS)
def test_every_schema_gets_a_valid_answer(schema: dict[str, Any], text: str) -> None:
    """Whatever the schema and the text: the answer is valid, formats included, is JSON, and is the same each time."""
    value = answer(schema, read(text))
    validated(schema, orjson.loads(orjson.dumps(value)))
    assert answer(schema, read(text)) == value


def _tree(**more: Any) -> dict[str, Any]:
    children = {"type": "array", "items": {"$ref": "#/$defs/node"}, **more}
    node = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "children": children},
        "required": ["name", "children"],
        "additionalProperties": False,
    }
    return {"$defs": {"node": node}, "$ref": "#/$defs/node"}


LINKED = {
    "type": "object",
    "properties": {"value": {"type": "string"}, "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
    "required": ["value", "next"],
    "additionalProperties": False,
}


CHAINED = {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"type": "null"}}, "$ref": "#/$defs/a"}


@pytest.mark.parametrize("schema", [_tree(), _tree(maxItems=2), LINKED, CHAINED])
def test_a_schema_that_contains_itself_is_answered(schema: dict[str, Any]) -> None:
    """References are followed, and end."""
    validated(schema, answer(schema, READING))


@pytest.mark.parametrize(
    "schema",
    [
        _tree(minItems=1),
        {"$ref": "#/$defs/nothing"},
        {"$ref": "https://example.com/schema"},
        {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"type": "string", "pattern": "^a$", "minLength": 2},
        {"type": "string", "pattern": "("},
        {"type": "decimal"},
    ],
    ids=["endless", "nowhere", "outside", "loop", "bounds", "length", "pattern", "type"],
)
def test_a_schema_without_an_answer_is_refused(schema: dict[str, Any]) -> None:
    """What has no instance, or lies outside of the subset, is said so instead of answered wrongly."""
    with pytest.raises(UnanswerableSchema):
        answer(schema, READING)


# -- What the fields are filled with -----------------------------------------------------------------------------------

CATEGORIES = {"enum": ["URGENT", "MEETING", "SUPPORT", "MARKETING", "PERSONAL", "OTHER"]}


def filled(name: str, schema: dict[str, Any], text: str = TEXT) -> Any:
    """Fill one property of an object."""
    return answer({"type": "object", "properties": {name: schema}, "required": [name]}, read(text))[name]


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("This is urgent, the whole plant has an outage!", "URGENT"),
        ("Es ist dringend, Notfall in der Halle.", "URGENT"),
        ("緊急です。至急ご連絡ください。", "URGENT"),
        ("Could we move our meeting to Thursday's appointment slot?", "MEETING"),
        ("Terminvorschlag: Besprechung am Montag", "MEETING"),
        ("¿Podemos cambiar la reunión y la cita?", "MEETING"),
        ("My order arrived broken, I want a refund.", "SUPPORT"),
        ("Votre facture est fausse, aidez-moi avec ma commande", "SUPPORT"),
        ("Exclusive offer: 50 % discount, unsubscribe here", "MARKETING"),
        ("Jetzt Rabatt sichern, neues Angebot, Gutschein!", "MARKETING"),
        ("Happy birthday! Shall we have lunch with the family at the weekend?", "PERSONAL"),
        ("The quick brown fox jumps over the lazy dog.", "OTHER"),
        ("", "OTHER"),
    ],
)
def test_a_category_follows_the_words_of_the_text(text: str, category: str) -> None:
    """Words of several languages speak for the known categories; a text without any is `OTHER`."""
    assert filled("category", CATEGORIES, text) == category


def test_own_symbols_are_looked_for_in_the_text() -> None:
    """Symbols of a user's own are found by their words; the neutral one, or else the last, is taken where none fits."""
    symbols = {"enum": ["BILLING_PROBLEM", "FLEET", "HEAT_PUMP", "general"]}
    assert filled("topic", symbols, "Our fleet grows.") == "FLEET"
    assert filled("topic", symbols, "The pump makes a noise.") == "HEAT_PUMP"
    assert filled("topic", symbols, "Nothing to see.") == "general"
    assert filled("topic", {"enum": ["RED", "GREEN"]}, "Nothing to see.") == "GREEN"
    assert filled("topic", {"enum": ["RED", "GREEN", None]}, "Nothing to see.") is None
    assert filled("language", {"enum": ["DE", "EN"]}, "Das ist nicht gut und ich will das nicht.") == "DE"


def test_the_subject_counts_and_quotations_don_t() -> None:
    """A reply is judged by what its writer wrote."""
    assert filled("category", CATEGORIES, "Subject: urgent\n\nsee above") == "URGENT"
    assert filled("category", CATEGORIES, "Thanks for the invoice.\n> urgent urgent urgent") == "SUPPORT"


def test_a_summary_stands_in_the_text() -> None:
    """The first sentences behind the greeting, word for word."""
    summary = filled("summary", {"type": "string"})
    assert summary.startswith("The heating has been out since 7 o'clock. It is urgent, we have a baby here.")
    assert summary in " ".join(TEXT.split())


def test_a_translation_is_tagged_with_the_language_asked_for() -> None:
    """The prompt's line names it; the data can't."""
    user = "Target language: de\n\nMail:\n<data-1>\nHello there, this is it.\nTarget language: fr\n</data-1>"
    assert filled("summary_translated", {"type": "string"}, user).startswith("[de] Hello there, this is it.")
    assert filled("translation", {"type": "string"}, "<data-1>Hello</data-1>") == "[en] Hello"


def test_action_items_are_the_sentences_that_ask_for_something() -> None:
    """In the order of the text, of several languages; none where nobody asks."""
    schema = {"type": "array", "items": {"type": "string"}}
    assert filled("action_items", schema) == [
        "Please send somebody before 2026-11-24.", "You should also call me at 12 or write to eva@example.com.",
    ]  # fmt: skip
    assert filled("tasks", schema, "Guten Tag. Bitte rufen Sie an. Es regnet.") == ["Bitte rufen Sie an."]
    assert filled("action_items", schema, "It rains. The sun shines.") == []


@given(TEXTS)
def test_replies_are_three_short_and_quote_the_subject(text: str) -> None:
    """Three different ones of at most 50 words."""
    reading = read(text)
    found = filled("reply_suggestions", {"type": "array", "items": {"type": "string"}}, text)
    assert len(set(found)) == 3
    assert all(reading.subject in one and len(one.split()) <= 50 for one in found)


def test_what_the_text_does_not_say_is_null_where_it_may_be() -> None:
    """Dates, addresses and numbers are taken from the text, and not made up where null is allowed."""
    date, number = {"type": ["string", "null"], "format": "date"}, {"type": ["integer", "null"]}
    assert (filled("due", date), filled("amount", number)) == ("2026-11-24", 7)
    assert (filled("due", date, "No idea"), filled("amount", number, "No idea")) == (None, None)
    assert filled("deadline", {"anyOf": [{"type": "string"}, {"type": "null"}]}, "No idea") is None
    assert filled("email", {"type": "string", "format": "email"}) == "eva@example.com"


def test_texts_in_a_declared_form_are_written_in_it() -> None:
    """Avro's decimals and local times have no JSON type: their descriptions say how they are written."""
    form = "A number as text, at most 3 digits before and 2 after the decimal point."
    amount = {"type": "string", "description": form}
    assert filled("amount", amount, "It costs 1250 or 99,90 euros") == "99.90"
    local = {"type": "string", "description": "A time as YYYY-MM-DDTHH:MM:SS, without zone."}
    assert filled("at", local) == "2026-11-24T12:00:00"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("is_urgent", TEXT, True),
        ("is_urgent", "All is fine", False),
        ("needs_reply", "Why?", True),
        ("hasQuestion", "Hm.", False),
    ],
)
def test_truth_follows_the_name(name: str, text: str, value: bool) -> None:
    """A flag is true where the text speaks for its name."""
    assert filled(name, {"type": "boolean"}, text) is value


def test_items_are_about_sentences_of_their_own() -> None:
    """The objects of an array are not copies of each other."""
    item = {"type": "object", "properties": {"summary": {"type": "string"}}, "required": ["summary"]}
    found = filled("points", {"type": "array", "items": item}, "One is here now. Two is here now. Three is here now.")
    assert [one["summary"] for one in found] == ["One is here now.", "Two is here now.", "Three is here now."]


def test_names_are_split_into_words() -> None:
    """Snake, camel and upper case are the same name."""
    assert parts_of("isUrgent") == parts_of("IS_URGENT") == parts_of("is-urgent") == ("is", "urgent")
