"""From a reply's text to an answer."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill_agents.answer import MAX_SCHEMAS, Validators, parse_strictly, read_answer
from eventmill_connectors.testing import replied
from eventmill_schemas.chat import Finish
from eventmill_schemas.errors import InvalidReply, RefusedReply, ReplyUnusable, TruncatedReply, UsageError

SCHEMA = {
    "type": "object",
    "properties": {
        "category": {"type": "string", "enum": ["URGENT", "LATER"]},
        "score": {"type": "integer", "minimum": 0, "maximum": 9_223_372_036_854_775_807},
        "parts": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "number"}}}},
    },
    "required": ["category", "score"],
    "additionalProperties": False,
}
VALID = '{"category": "URGENT", "score": 3}'
VALIDATOR = Validators().of(SCHEMA)
ANYTHING = Validators().of({})


def test_valid_answer() -> None:
    """A complete reply that follows the schema is the answer; white space around it does not matter."""
    assert read_answer(replied(f" \n{VALID}\n "), VALIDATOR) == {"category": "URGENT", "score": 3}


@pytest.mark.parametrize(
    ("finish", "error"),
    [
        pytest.param(Finish.TRUNCATED, TruncatedReply, id="case_25"),
        pytest.param(Finish.REFUSED, RefusedReply, id="case_24"),
        pytest.param(Finish.FILTERED, RefusedReply, id="case_27"),
        pytest.param(Finish.UNKNOWN, InvalidReply, id="case_28"),
    ],
)
@pytest.mark.parametrize("text", [VALID, "", "I can't help with that."])
def test_only_a_complete_reply_is_read(finish: Finish, error: type[ReplyUnusable], text: str) -> None:
    """The finish is looked at before the text: what was cut, refused or filtered is no answer, however valid."""
    with pytest.raises(error):
        read_answer(replied(text, finish=finish), VALIDATOR)


def test_refusal_is_quoted() -> None:
    """What the model says about its refusal is in the message, shortened."""
    with pytest.raises(RefusedReply, match=r"refused to answer: I can't help"):
        read_answer(replied("I can't help with that. " * 500, finish=Finish.REFUSED), VALIDATOR)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('{"category": "URGENT", "score": 3, "more": 1}', "more"),
        ('{"category": "URGENT"}', "score"),
        ('{"category": "SOON", "score": 3}', "$.category"),
        ('{"category": "URGENT", "score": "3"}', "$.score"),
        ('{"category": "URGENT", "score": 3.5}', "$.score"),
        ('{"category": "URGENT", "score": 123456789012345678901234567890}', "123456789012345678901234567890"),
        ('{"category": "URGENT", "score": 3, "parts": [{"n": 1}, {"n": "x"}]}', "$.parts[1].n"),
        ('{"category": "URGENT", "score": NaN}', "NaN is no JSON number"),
        ('{"category": "URGENT", "score": -Infinity}', "Infinity"),
        ('{"category": "URGENT", "score": 1e400}', "too large"),
        ('{"category": "URGENT", "score": ' + "9" * 5000 + "}", "not JSON"),
        ('{"category": "URGENT", "category": "LATER", "score": 3}', "'category' is there twice"),
        ('{"category": "URGENT", "score": 3, "parts": ' + "[" * 10_000 + "]" * 10_000 + "}", "nested"),
        ("[" * 10_000, "nested"),
        ('["URGENT", 3]', "$"),
        ("null", "$"),
        ("", "empty"),
        (" \n ", "empty"),
        ("\ufeff" + VALID, "not JSON"),
    ],
)
def test_case_33_what_does_not_follow_the_schema(text: str, part: str) -> None:
    """Extra, missing and mistyped fields, NaN, overflow, duplicate keys and endless nesting are InvalidReply."""
    with pytest.raises(InvalidReply) as caught:
        read_answer(replied(text), VALIDATOR)
    assert part in str(caught.value)
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize(
    "text",
    [
        f"```json\n{VALID}\n```",
        f"Here it is: {VALID}",
        f"{VALID} Hope it helps!",
        f"{VALID}\n{VALID}",
        f"{VALID}, {VALID}",
        VALID.replace('"', "'"),
        VALID[:-1] + ",}",
        "// note\n" + VALID,
    ],
)
def test_case_34_nothing_is_repaired(text: str) -> None:
    """Fences, prose, two objects and almost-JSON are InvalidReply that shows how the reply begins."""
    with pytest.raises(InvalidReply, match="not JSON"):
        read_answer(replied(text), VALIDATOR)


@pytest.mark.parametrize("at", range(len(VALID)))
def test_case_11_a_cut_reply_is_never_an_answer(at: int) -> None:
    """A valid answer cut anywhere is an error, also if the provider calls it complete."""
    with pytest.raises(InvalidReply):
        read_answer(replied(VALID[:at]), VALIDATOR)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**40), 10**40) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_parsing_returns_what_was_written(value: Any) -> None:
    """Every JSON value comes back as it was, with all digits of whole numbers."""
    assert parse_strictly(json.dumps(value)) == value
    assert parse_strictly(json.dumps(value, ensure_ascii=False)) == value


@given(st.text(max_size=60) | st.text(alphabet='{}[]":,0123456789.eE+-truefalsn \\ud8', max_size=60))
def test_any_text_is_an_answer_or_unusable(text: str) -> None:
    """No reply makes reading it fail in another way, and every answer can be encoded as UTF-8."""
    try:
        answer = read_answer(replied(text), ANYTHING)
    except ReplyUnusable:
        return
    json.dumps(answer, ensure_ascii=False).encode()


def test_answer_is_storable() -> None:
    """Half an emoji or U+0000 in a paid answer is replaced, not a reason to throw it away."""
    assert read_answer(replied('{"a": "x\\ud800\\u0000y", "b": "\\ud83d\\ude00"}'), ANYTHING) == {
        "a": "x\ufffdy",
        "b": "\N{GRINNING FACE}",
    }


def test_schemas_are_compiled_once() -> None:
    """The same schema, in any order of keys, has one validator; only so many are kept."""
    validators = Validators()
    first = validators.of({"type": "object", "required": ["a"]})
    assert validators.of({"required": ["a"], "type": "object"}) is first
    for n in range(MAX_SCHEMAS - 1):
        validators.of({"type": "object", "required": [f"f{n}"]})
    assert validators.of({"type": "object", "required": ["a"]}) is first
    for n in range(MAX_SCHEMAS):
        validators.of({"type": "object", "required": [f"g{n}"]})
    assert validators.of({"type": "object", "required": ["a"]}) is not first


@pytest.mark.parametrize(
    ("schema", "part"),
    [
        ({"type": "nonsense"}, "not a JSON Schema"),
        ({"$ref": "#/$defs/missing"}, "not a JSON Schema"),
        ({"enum": {1, 2}}, "not JSON"),
    ],
)
def test_unusable_schema(schema: dict[str, Any], part: str) -> None:
    """What is no JSON Schema is the user's error, with the reason."""
    with pytest.raises(UsageError, match=part):
        Validators().of(schema)


def test_no_reference_is_fetched() -> None:
    """A schema that refers to a server is refused, also when the server would answer: steps do no I/O."""
    asked = []

    class Server(BaseHTTPRequestHandler):
        """Serves a schema."""

        def do_GET(self) -> None:
            """Answer with a schema."""
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"type": "object"}')

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with pytest.raises(UsageError, match="not a JSON Schema"):
                Validators().of({"$ref": f"http://127.0.0.1:{server.server_port}/schema"})
        finally:
            server.shutdown()
            thread.join()
    assert asked == []
