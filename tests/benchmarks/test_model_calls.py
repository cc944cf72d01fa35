"""What a model call costs in CPU time, beside a bare HTTP client, from few to many calls in flight.

Figures are printed. Asserted is only that a call does not become dearer with the number of calls in flight.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator

import aiohttp
import pytest
import uvloop

from eventmill_connectors.chat.clients import ChatClients
from eventmill_connectors.chat.openai import request_body
from eventmill_schemas.chat import ChatRequest
from eventmill_schemas.pipeline import ModelRef

IN_FLIGHT = (50, 500)
CALLS = 1500
SCHEMA = {
    "type": "object",
    "properties": {
        "category": {"enum": ["URGENT", "MEETING", "SUPPORT", "OTHER"], "description": "What the mail is about."},
        "summary": {"type": "string", "description": "The mail in two or three sentences."},
        "action_items": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["category", "summary", "action_items"],
    "additionalProperties": False,
}
REQUEST = ChatRequest(
    "You sort the mail of a company. " * 10,
    "The heating is out since yesterday, please send somebody. " * 30,
    "triage",
    SCHEMA,
    {"max_output_tokens": 2000},
)

Call = Callable[[], Awaitable[object]]


@pytest.fixture(scope="module")
def stand_in() -> Iterator[str]:
    """Give the address of a stand-in in a process of its own."""
    command = [sys.executable, "-m", "eventmill.cli", "dev", "model", "--json", "--latency", "fixed:0.05"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield json.loads(process.stdout.readline())["base_url"]
    process.terminate()
    process.communicate()


async def microseconds(call: Call, in_flight: int) -> float:
    """Return the CPU time of one call with so many in flight; the connections are made before."""
    await asyncio.gather(*(call() for _ in range(in_flight)))
    left = CALLS

    async def work() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await call()

    start = time.process_time()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    return (time.process_time() - start) / CALLS * 1e6


async def of_the_client(address: str, in_flight: int) -> float:
    """Measure our client."""
    model = ModelRef("openai", "gpt-5-mini", address)
    async with ChatClients(environ={"OPENAI_API_KEY": "sk-bench"}) as clients:
        return await microseconds(lambda: clients.complete(model, REQUEST, 60), in_flight)


async def of_bare_aiohttp(address: str, in_flight: int) -> float:
    """Measure the least that sending and receiving the same bytes takes."""
    body = request_body("gpt-5-mini", REQUEST)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call() -> bytes:
            async with session.post(f"{address}/chat/completions", data=body) as response:
                return await response.read()

        return await microseconds(call, in_flight)


def test_a_call_costs_the_same_at_500_in_flight_as_at_50(stand_in: str, capsys: pytest.CaptureFixture[str]) -> None:
    """CPU time per call is flat; a pool that looks through its connections at every call would fail here."""
    ours = {number: uvloop.run(of_the_client(stand_in, number)) for number in IN_FLIGHT}
    bare = {number: uvloop.run(of_bare_aiohttp(stand_in, number)) for number in IN_FLIGHT}
    with capsys.disabled():
        for number in IN_FLIGHT:
            print(
                f"\n{number} in flight: {ours[number]:.0f} us of CPU a call, {1e6 / ours[number]:,.0f} calls per CPU-s"
                f" (bare aiohttp {bare[number]:.0f} us)",
                end="",
            )
    assert ours[500] < 2 * ours[50]
