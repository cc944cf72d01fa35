"""Requests are written, and answers read, as OpenAI's chat completions define them; nothing broken is ever a reply."""

from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill_connectors.chat.failures import MESSAGE_LENGTH, MONEY_CODES, failure, shortened
from eventmill_connectors.chat.openai import RESERVED_PARAMETERS, read_reply, request_body
from eventmill_connectors.chat.transport import Answer
from eventmill_schemas.chat import ChatReply, ChatRequest, Finish, Usage
from eventmill_schemas.errors import (
    AccountClosed,
    Ambiguous,
    CallError,
    CallFailed,
    EventmillError,
    ModelUnreachable,
    Overloaded,
    RateLimited,
    RequestRefused,
    is_retryable,
)

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
ODD_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["error", "message", "code", "type"]), inner),
    max_leaves=5,
)


def reply(**changes: Any) -> bytes:
    """Make a good answer, with changes of its top level."""
    return orjson.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": "gpt-5-mini-2025-08-07",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15},
            **changes,
        }
    )


def choice(finish: object = "stop", **message: Any) -> bytes:
    """Make an answer with one choice."""
    return reply(choices=[{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}])


def read(body: bytes, status: int = 200, **headers: str) -> ChatReply:
    """Read an answer to a question to `gpt-5-mini`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_reply(Answer(status, httpx.Headers(named), body), "gpt-5-mini")


def failed(status: int, error: object = None, **headers: str) -> EventmillError:
    """Return what an error answer means."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return failure(Answer(status, httpx.Headers(named), orjson.dumps({"error": error})), NOW)


# -- Requests ----------------------------------------------------------------------------------------------------------


@given(TEXT, TEXT)
def test_texts_arrive_unchanged(system: str, user: str) -> None:
    """System and user text are two messages; an empty system text is none."""
    messages = orjson.loads(request_body("m", ChatRequest(system, user)))["messages"]
    assert messages[-1] == {"role": "user", "content": user}
    assert messages[:-1] == ([{"role": "system", "content": system}] if system else [])


def test_a_schema_is_asked_for_strictly() -> None:
    """The response format holds the schema as it is, also from a read-only mapping, under a name that is allowed."""
    request = ChatRequest("", "x", "my triage/3", MappingProxyType({**SCHEMA, "properties": MappingProxyType({})}))
    form = orjson.loads(request_body("m", request))["response_format"]
    assert form == {
        "type": "json_schema",
        "json_schema": {"name": "my_triage_3", "strict": True, "schema": {**SCHEMA, "properties": {}}},
    }
    assert "response_format" not in orjson.loads(request_body("m", ChatRequest("", "x")))


def test_parameters_are_passed_on_under_the_wire_s_names() -> None:
    """`max_output_tokens` is translated, the rest goes through, None is left out."""
    parameters = {"max_output_tokens": 400, "temperature": 0.2, "reasoning_effort": "low", "top_p": None, "seed": 7}
    body = orjson.loads(request_body("m", ChatRequest("", "x", parameters=parameters)))
    del body["messages"]
    assert body.pop("max_completion_tokens") == 400
    assert body == {"model": "m", "temperature": 0.2, "reasoning_effort": "low", "seed": 7}


@pytest.mark.parametrize("name", sorted(RESERVED_PARAMETERS))
def test_a_prompt_can_t_change_the_shape_or_price_of_the_answer(name: str) -> None:
    """Parameters like `stream` are refused by name."""
    with pytest.raises(RequestRefused, match=name):
        request_body("m", ChatRequest("", "x", parameters={name: True}))


@pytest.mark.parametrize(("user", "seed"), [("half an emoji \ud83d", 1), ("x", {1})])
def test_what_is_no_json_is_refused(user: str, seed: object) -> None:
    """A lone surrogate or an odd value ends the event, not the worker: repeating could not help."""
    with pytest.raises(RequestRefused, match="JSON"):
        request_body("m", ChatRequest("", user, parameters={"seed": seed}))


# -- Replies -----------------------------------------------------------------------------------------------------------


def test_a_good_answer_is_a_reply() -> None:
    """Text, finish, usage, served model and both ids are taken over."""
    assert read(reply(), x_request_id="req_9") == ChatReply(
        "hi", Finish.OK, Usage(12, 3), "gpt-5-mini-2025-08-07", "chatcmpl-1", "req_9"
    )


def test_case_10_blanks_before_the_answer_are_keep_alives() -> None:
    """White space, and a byte order mark, before valid JSON don't make it a failure."""
    assert read(b" \n \r\n" + reply()).finish is Finish.OK
    assert read(b"\xef\xbb\xbf" + reply()).finish is Finish.OK
    assert read(reply(error=None)).finish is Finish.OK


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   \n",
        b"null",
        b"[]",
        b"7",
        b'"text"',
        b"{}",
        b"<html><body>502 Bad Gateway</body></html>",
        reply()[:-1],
        reply() + reply(),
        b'{"choices": [NaN]}',
        reply(error={"message": "boom", "code": 500}),
        reply(error="boom"),
        reply(error=True),
        b'{"error": {"message": "boom"}}',
        choice("error", content="hi"),
        reply(choices=[{"error": {"message": "boom"}, "message": {"content": "hi"}, "finish_reason": "stop"}]),
    ],
)
def test_case_10_a_200_that_is_no_completion_is_ambiguous(body: bytes) -> None:
    """Errors, HTML, nothing, and JSON of another shape are never a reply; they may have been billed."""
    with pytest.raises(Ambiguous) as caught:
        read(body)
    assert is_retryable(caught.value)


def test_case_10_an_account_error_in_a_200_closes_the_account() -> None:
    """Gateways wrap the refusal of a key into a 200."""
    with pytest.raises(AccountClosed, match="No credits"):
        read(b'{"error": {"message": "No credits", "code": 402}}')


def test_case_11_json_cut_at_any_byte_is_never_a_reply() -> None:
    """Each shorter beginning of a good answer is ambiguous."""
    whole = reply()
    for length in range(len(whole)):
        with pytest.raises(Ambiguous):
            read(whole[:length])


@pytest.mark.parametrize("choices", [[], None, {}, "x", [None], [[]], [{}], [{"message": None}], [{"message": []}]])
def test_case_23_empty_choices_are_unknown_and_billed(choices: object) -> None:
    """The reply keeps its usage, has no text, and can't become a result."""
    found = read(reply(choices=choices))
    assert (found.finish, found.text, found.usage) == (Finish.UNKNOWN, "", Usage(12, 3))


@pytest.mark.parametrize("content", [None, 7, [{"type": "text", "text": "x"}], {"a": 1}])
def test_case_23_content_that_is_no_text_is_unknown(content: object) -> None:
    """`content: null` with a normal finish is no answer; a cut or filtered one stays what it is."""
    assert read(choice("stop", content=content)).finish is Finish.UNKNOWN
    assert read(choice("length", content=content)).finish is Finish.TRUNCATED
    assert read(choice("content_filter", content=content)).finish is Finish.FILTERED


def test_case_24_a_refusal_is_refused_whatever_its_finish() -> None:
    """The refusal's words become the text, to be shown in the dead letter; an empty or null one is none."""
    found = read(choice("stop", content=None, refusal="I can't help with that."))
    assert (found.finish, found.text) == (Finish.REFUSED, "I can't help with that.")
    assert read(choice("stop", content="hi", refusal=None)).finish is Finish.OK
    assert read(choice("stop", content="hi", refusal="")).finish is Finish.OK


def test_case_25_a_cut_answer_is_truncated_though_it_is_valid() -> None:
    """`length` wins over what the text looks like."""
    assert read(choice("length", content='{"a": "x"}')).finish is Finish.TRUNCATED


@pytest.mark.parametrize("finish", ["tool_calls", "", None, "STOP", "eos", 7, ["stop"]])
def test_case_28_an_unknown_finish_is_unknown(finish: object) -> None:
    """Only the known word for a normal end is one."""
    assert read(choice(finish, content="hi")).finish is Finish.UNKNOWN


def test_case_29_a_reply_without_usable_usage_is_still_a_reply() -> None:
    """The text is there; that its price is not known is said by `usage` None."""
    assert read(reply(usage=None)).usage is None
    assert read(reply(usage={"prompt_tokens": -1, "completion_tokens": 2})).usage is None


def test_the_asked_model_stands_in_where_none_is_named() -> None:
    """Servers of one's own leave it out; ids that are no text are none, and none is endless."""
    found = read(reply(model=None, id=7))
    assert (found.model, found.response_id, found.request_id) == ("gpt-5-mini", None, None)
    assert len(read(reply(model="m" * 9999)).model) == 200
    assert len(read(reply(), x_request_id="r" * 9999).request_id or "") == 200


# -- Failures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RequestRefused), (401, AccountClosed), (402, AccountClosed), (403, AccountClosed), (404, RequestRefused),
        (405, RequestRefused), (408, Ambiguous), (409, Overloaded), (413, RequestRefused), (422, RequestRefused),
        (429, RateLimited), (500, Ambiguous), (502, Ambiguous), (503, Overloaded), (504, Ambiguous), (529, Overloaded),
        (301, ModelUnreachable), (307, ModelUnreachable), (599, Ambiguous), (999, Ambiguous),
    ],
)  # fmt: skip
def test_case_08_every_status_has_its_error(status: int, kind: type[EventmillError]) -> None:
    """The error tree says who is to blame and whether to repeat, by status where no code says more."""
    assert type(failed(status, {"message": "m", "type": "t", "code": None})) is kind
    assert type(failed(status)) is kind


@pytest.mark.parametrize("code", sorted(MONEY_CODES))
@pytest.mark.parametrize("status", [400, 403, 429])
def test_case_06_money_is_gone_whatever_the_status(code: str, status: int) -> None:
    """A used-up quota closes the account instead of being retried like a rate limit, as `code` or as `type`."""
    for error in ({"code": code}, {"type": code, "code": None}):
        found = failed(status, error, retry_after="3")
        assert isinstance(found, AccountClosed)
        assert not is_retryable(found)


def test_case_01_rate_limits_carry_the_server_s_wish() -> None:
    """RateLimited and Overloaded hold the seconds, or None where there are none."""
    told = [
        failed(429, {"code": "rate_limit_exceeded"}, retry_after="2"),
        failed(503, retry_after_ms="150", retry_after="9"),
        failed(429),
    ]
    assert [error.retry_after for error in told if isinstance(error, CallError)] == [2.0, 0.15, None]


def test_capacity_is_not_our_rate() -> None:
    """429 for want of capacity counts as overload, so that the limiter of our rate is left alone."""
    assert isinstance(failed(429, {"code": "resource_unavailable"}), Overloaded)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(500, CallFailed), (503, CallFailed), (408, CallFailed), (409, RequestRefused), (400, RequestRefused)],
)
def test_case_09_a_server_that_asks_not_to_repeat_is_obeyed(status: int, kind: type[EventmillError]) -> None:
    """`x-should-retry: false` ends the call; after a 5xx it stays open whether it was billed."""
    found = failed(status, x_should_retry="false")
    assert type(found) is kind
    assert not is_retryable(found)


def test_case_09_a_server_that_asks_to_repeat_is_obeyed() -> None:
    """`x-should-retry: true` makes a refusal worth another attempt; a rate limit is waited for in any case."""
    assert is_retryable(failed(400, x_should_retry="true"))
    assert isinstance(failed(429, x_should_retry="false"), RateLimited)


def test_the_server_s_words_are_shown_shortened() -> None:
    """The message says what the server said, on one line, and at most MESSAGE_LENGTH characters of it."""
    said = "This model's maximum context length is 8192 tokens"
    assert said in str(failed(400, {"message": said}))
    long = failed(400, {"message": "line\nbreak \x1b[31m" + "x" * 9999})
    assert "\n" not in long.message
    assert "\x1b" not in long.message
    assert len(long.message) < MESSAGE_LENGTH + 100


@pytest.mark.parametrize(
    "body", [b'{"error": "no such model"}', b'{"detail": "no such model"}', b'{"message": "no such model", "code": 4}']
)
def test_other_servers_error_shapes_are_read(body: bytes) -> None:
    """Ollama, FastAPI and vLLM say it in other places."""
    assert "no such model" in str(failure(Answer(404, httpx.Headers(), body), NOW))


@given(st.integers(300, 999), st.binary(max_size=60) | ODD_JSON.map(orjson.dumps))
def test_no_answer_is_too_odd_for_an_error(status: int, body: bytes) -> None:
    """Whatever comes with an error status is one of the port's errors."""
    assert isinstance(
        failure(Answer(status, httpx.Headers(), body), NOW),
        RateLimited | Overloaded | Ambiguous | RequestRefused | CallFailed | ModelUnreachable | AccountClosed,
    )


@given(st.text())
def test_shortened_is_one_printable_line(text: str) -> None:
    """Nothing that a terminal or log would act on is left."""
    line = shortened(text)
    assert line.isprintable()
    assert len(line) <= MESSAGE_LENGTH
    assert shortened(line) == line
