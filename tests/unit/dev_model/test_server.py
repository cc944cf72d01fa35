"""The stand-in speaks chat completions, breaks on demand, and accounts for every call that it served."""

import asyncio
import time
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from eventmill.dev.model.completions import parse, tokens
from eventmill.dev.model.faults import ErrorRates, Fates, Latency
from eventmill.dev.model.server import MARK, StandIn
from eventmill_schemas.errors import SetupError

SCHEMA = {
    "type": "object",
    "properties": {"category": {"enum": ["URGENT", "OTHER"]}, "summary": {"type": "string"}},
    "required": ["category", "summary"],
    "additionalProperties": False,
}
FORM = {"type": "json_schema", "json_schema": {"name": "triage", "strict": True, "schema": SCHEMA}}


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """Give an HTTP client."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def model() -> AsyncIterator[StandIn]:
    """Give a stand-in that answers at once."""
    async with StandIn() as server:
        yield server


def request(text: str, **more: Any) -> dict[str, Any]:
    """Make the body of a request."""
    messages = [{"role": "system", "content": "Sort the mail."}, {"role": "user", "content": text}]
    return {"model": "gpt-5-mini", "messages": messages, "response_format": FORM, **more}


async def post(http: aiohttp.ClientSession, model: StandIn, body: Any) -> tuple[int, dict[str, Any]]:
    """Send a request; return status and JSON body."""
    async with http.post(f"{model.base_url}/chat/completions", json=body) as response:
        assert response.headers[MARK] == "1"
        return response.status, await response.json()


async def ledger(http: aiohttp.ClientSession, model: StandIn) -> dict[str, Any]:
    """Return the account with all entries."""
    async with http.get(f"{model.url}/_ledger", params={"entries": "1"}) as response:
        found: dict[str, Any] = await response.json()
        return found


async def test_an_answer_is_a_chat_completion_that_says_what_it_is(http: aiohttp.ClientSession, model: StandIn) -> None:
    """Shape, model, usage and finish as OpenAI sends them, with the stand-in's fingerprint."""
    status, reply = await post(http, model, request("It is urgent. Help us now please."))
    assert status == 200
    assert reply["object"] == "chat.completion"
    assert reply["system_fingerprint"] == "eventmill-stand-in"
    assert reply["model"] == "gpt-5-mini"
    (choice,) = reply["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["refusal"] is None
    assert orjson.loads(choice["message"]["content"]) == {
        "category": "URGENT",
        "summary": "It is urgent. Help us now please.",
    }
    usage = reply["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] == tokens(choice["message"]["content"])
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0


async def test_the_account_agrees_with_the_usage_that_was_sent(http: aiohttp.ClientSession, model: StandIn) -> None:
    """Totals and entries are what the replies said; the user message is found by its hash."""
    texts = [f"A text to {name} is here. [[stand-in:{name}]]" for name in ("ok", "truncate", "refuse", "invalid")]
    usages = [(await post(http, model, request(text)))[1]["usage"] for text in texts]
    found = await ledger(http, model)
    for name in ("prompt_tokens", "completion_tokens"):
        assert found[name] == sum(usage[name] for usage in usages)
        assert [entry[name] for entry in found["entries"]] == [usage[name] for usage in usages]
    assert found["calls"] == found["served"] == 4
    assert found["by_model"]["gpt-5-mini"]["calls"] == 4
    assert [entry["outcome"] for entry in found["entries"]] == ["ok", "truncated", "refusal", "invalid"]
    assert [entry["sha256"] for entry in found["entries"]] == [sha256(text.encode()).hexdigest() for text in texts]
    assert [entry["sequence"] for entry in found["entries"]] == [1, 2, 3, 4]
    assert abs(found["entries"][0]["time"] - time.time()) < 60


async def test_forced_outcomes_look_as_they_do_at_a_provider(http: aiohttp.ClientSession, model: StandIn) -> None:
    """Refusal, cut answer and invalid JSON come with 200; errors with their status, code and hints."""
    message = (await post(http, model, request("[[stand-in:refuse]]")))[1]["choices"][0]["message"]
    assert (message["content"], bool(message["refusal"])) == (None, True)
    cut = (await post(http, model, request("A long text is here. [[stand-in:truncate]]")))[1]["choices"][0]
    assert cut["finish_reason"] == "length"
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(cut["message"]["content"])
    invalid = (await post(http, model, request("[[stand-in:invalid]]")))[1]["choices"][0]["message"]["content"]
    assert "category" not in orjson.loads(invalid)
    async with http.post(f"{model.base_url}/chat/completions", json=request("[[stand-in:429]]")) as limited:
        assert limited.status == 429
        assert limited.headers["retry-after"] == "1"
        assert limited.headers["x-ratelimit-remaining-requests"] == "0"
        assert (await limited.json())["error"]["code"] == "rate_limit_exceeded"
    assert (await post(http, model, request("[[stand-in:429]]")))[0] == 200
    for status in (400, 401, 402, 500, 502, 503, 529):
        assert (await post(http, model, request(f"[[stand-in:{status}]]")))[0] == status
    found = await ledger(http, model)
    assert [entry["served"] for entry in found["entries"]] == [True, True, True, False, True] + [False] * 7
    assert all(not entry["prompt_tokens"] for entry in found["entries"] if not entry["served"])


async def test_what_was_served_and_never_arrived_is_in_the_account(http: aiohttp.ClientSession, model: StandIn) -> None:
    """A call without an answer and one that breaks off are billed; when the client goes, its place is free again."""
    with pytest.raises(TimeoutError):
        await http.post(
            f"{model.base_url}/chat/completions",
            json=request("[[stand-in:timeout]]"),
            timeout=aiohttp.ClientTimeout(total=0.1),
        )
    with pytest.raises(aiohttp.ClientError):
        await post(http, model, request("[[stand-in:reset]]"))
    found = await ledger(http, model)
    assert [(entry["outcome"], entry["served"]) for entry in found["entries"]] == [("timeout", True), ("reset", True)]
    assert all(entry["completion_tokens"] > 0 for entry in found["entries"])
    assert (found["in_flight"], found["max_in_flight"]) == (0, 1)


async def test_a_limit_of_tokens_cuts_the_answer(http: aiohttp.ClientSession, model: StandIn) -> None:
    """`max_completion_tokens` is kept, and what it cuts is counted as cut."""
    _, reply = await post(http, model, request("A text that is longer than the limit is.", max_completion_tokens=5))
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"]["completion_tokens"] == 5
    assert (await ledger(http, model))["outcomes"] == {"truncated": 1}


async def test_answers_without_a_schema_are_text_or_an_object(http: aiohttp.ClientSession, model: StandIn) -> None:
    """Plain text is the summary; `json_object` an object with it; parts of a message are read together."""
    parts = [{"type": "text", "text": "Boats are"}, {"type": "text", "text": "late today."}]
    body = request("", messages=[{"role": "user", "content": parts}], response_format=None)
    assert (await post(http, model, body))[1]["choices"][0]["message"]["content"] == "Boats are late today."
    body["response_format"] = {"type": "json_object"}
    content = (await post(http, model, body))[1]["choices"][0]["message"]["content"]
    assert orjson.loads(content) == {"summary": "Boats are late today."}


WRONG: list[Any] = [
    [],
    {},
    {"model": "m"},
    {"model": "", "messages": [{"role": "user", "content": "x"}]},
    {"model": "m", "messages": []},
    {"model": "m", "messages": [{"role": "system", "content": "x"}]},
    {"model": "m", "messages": [{"role": "user", "content": 7}]},
    {"model": "m", "messages": ["x"]},
    request("x", stream=True),
    request("x", max_completion_tokens=0),
    request("x", response_format={"type": "xml"}),
    request("x", response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "nonsense"}}}),
    request("x", response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": 7}}}),
    request("x", response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {"not": {}}}}),
]


@pytest.mark.parametrize("body", WRONG)
async def test_a_wrong_request_is_a_400_and_is_counted(http: aiohttp.ClientSession, model: StandIn, body: Any) -> None:
    """With words that say what is wrong; it is in the account, unserved."""
    status, reply = await post(http, model, body)
    assert status == 400
    assert reply["error"]["type"] == "invalid_request_error"
    assert reply["error"]["message"]
    found = await ledger(http, model)
    assert (found["calls"], found["served"], found["outcomes"]) == (1, 0, {"400": 1})


async def test_bodies_that_are_no_json_and_other_paths(http: aiohttp.ClientSession, model: StandIn) -> None:
    """400, 404 and 405 with JSON bodies; models and health answer."""
    async with http.post(f"{model.base_url}/chat/completions", data=b"{") as broken:
        assert broken.status == 400
    async with http.get(f"{model.base_url}/chat/completions") as read:
        assert read.status == 405
    async with http.get(f"{model.base_url}/embeddings") as unknown:
        assert (unknown.status, "error" in await unknown.json()) == (404, True)
    await post(http, model, request("Hello"))
    async with http.get(f"{model.base_url}/models") as models:
        assert [one["id"] for one in (await models.json())["data"]] == ["eventmill-stand-in", "gpt-5-mini"]
    async with http.get(f"{model.url}/healthz") as health:
        assert await health.json() == {"status": "ok", "stand_in": True}


async def test_a_reset_begins_anew(http: aiohttp.ClientSession, model: StandIn) -> None:
    """The account is empty, and a first attempt is a first attempt again."""
    for _ in range(2):
        assert (await post(http, model, request("[[stand-in:429]]")))[0] == 429
        async with http.delete(f"{model.url}/_ledger") as done:
            assert done.status == 204
        assert (await ledger(http, model))["calls"] == 0


async def test_injected_errors_are_the_same_in_every_run(http: aiohttp.ClientSession) -> None:
    """Whatever the order of arrival, the same texts fail in the same way; a repeated text is drawn anew."""
    fates = Fates(7, Latency.parse("uniform:0:0.02"), ErrorRates.parse("429=0.2,500=0.2,truncated=0.1,refusal=0.1"))

    async def run(texts: list[str]) -> dict[str, list[str]]:
        async with StandIn(fates) as server:
            for _ in range(2):
                await asyncio.gather(*(post(http, server, request(text)) for text in texts))
            found: dict[str, list[str]] = {}
            for entry in (await ledger(http, server))["entries"]:
                found.setdefault(entry["sha256"], []).append(entry["outcome"])
            return found

    texts = [f"Text {number}" for number in range(60)]
    first = await run(texts)
    assert await run(texts[::-1]) == first
    seen = {outcome for outcomes in first.values() for outcome in outcomes}
    assert seen == {"ok", "429", "500", "truncated", "refusal"}
    assert any(one != two for one, two in first.values())


async def test_latency_is_kept(http: aiohttp.ClientSession) -> None:
    """Calls take their time, all at once."""
    async with StandIn(Fates(latency=Latency.parse("fixed:0.2"))) as server:
        start = time.monotonic()
        await asyncio.gather(*(post(http, server, request(f"Text {number}")) for number in range(50)))
        assert 0.2 <= time.monotonic() - start < 5
        assert (await ledger(http, server))["max_in_flight"] == 50


async def test_a_file_keeps_account_and_attempts_over_a_restart(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    """A server that is started again goes on counting, and knows which texts it has seen."""
    file = tmp_path / "ledger.jsonl"
    async with StandIn(ledger=file) as server:
        assert (await post(http, server, request("[[stand-in:429]]")))[0] == 429
    async with StandIn(ledger=file) as server:
        assert (await post(http, server, request("[[stand-in:429]]")))[0] == 200
        assert [entry["sequence"] for entry in (await ledger(http, server))["entries"]] == [1, 2]


async def test_a_port_that_is_taken_is_named(model: StandIn) -> None:
    """With what to do about it."""
    port = int(model.url.rpartition(":")[2])
    with pytest.raises(SetupError, match=rf"Port {port} .*--port"):
        await StandIn(port=port).start()


def test_the_last_user_message_is_the_one_that_counts() -> None:
    """System and developer texts are instructions; earlier turns are not the event."""
    messages = [
        {"role": "developer", "content": "A"},
        {"role": "user", "content": "old"},
        {"role": "assistant", "content": "B"},
        {"role": "user", "content": "new"},
    ]
    asked = parse(orjson.dumps({"model": "m", "messages": messages}))
    assert (asked.system, asked.user, asked.prompt_tokens) == ("A", "new", 2)
