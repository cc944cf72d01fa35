"""Events, stages and a gate that lets everybody through, for the tests of this folder."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from eventmill_agents.calls import Calls, StageCalls
from eventmill_agents.enrich import Enricher
from eventmill_agents.local_calls import LocalParts
from eventmill_connectors.testing import FixedPrices, ScriptedChat
from eventmill_schemas.errors import Unavailable
from eventmill_schemas.events import Event, RawRecord, Source
from eventmill_schemas.pipeline import (
    CompleteStep,
    Format,
    Kafka,
    ModelRef,
    Pipeline,
    Prompt,
    ResultSchema,
    Stage,
    StepSpec,
)

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)

MODEL = ModelRef("openai", "gpt-5-mini")
PRICES = {
    ("openai", "gpt-5-mini"): (Decimal("0.25"), Decimal(2)),
    ("openai", "gpt-5"): (Decimal("1.25"), Decimal(10)),
}


@dataclass
class ImmediateGate:
    """Lets every event go on at once, and remembers why it waited."""

    pauses: list[tuple[float, str]] = field(default_factory=list)
    waits: list[tuple[str, int]] = field(default_factory=list)
    opens: list[str] = field(default_factory=list)

    async def pause(self, seconds: float, reason: str) -> None:
        """Note the wait."""
        self.pauses.append((seconds, reason))

    async def wait(self, until: Awaitable[None], reason: str) -> None:
        """Await it, and note the reason."""
        self.pauses.append((0.0, reason))
        await until

    async def wait_open(self, unavailable: Unavailable, attempt: int) -> None:
        """Note the wait and the try."""
        self.waits.append((unavailable.kind, attempt))

    def opened(self, kind: type[Unavailable]) -> None:
        """Note what works."""
        self.opens.append(kind.kind)


@pytest.fixture
def gate() -> ImmediateGate:
    """Give a gate at which nobody waits."""
    return ImmediateGate()


@pytest.fixture(scope="session")
def event() -> Callable[..., Event]:
    """Give a function that makes an event from its fields."""

    def make(*, id: str = "e-1", tenant: str | None = "acme", key: bytes | None = b"k", **fields: Any) -> Event:  # noqa: A002 - the event's own word
        source = Source("mails", 3, 41)
        return Event(id, tenant, fields, RawRecord(source, key, b"{}", (), 1_700_000_000_000))

    return make


@pytest.fixture(scope="session")
def stage() -> Callable[..., Stage]:
    """Give a function that makes a stage from its steps and its result's fields."""

    def make(*steps: StepSpec, fields: list[dict[str, Any]], when: str | None = None, **settings: Any) -> Stage:
        avro = {"type": "record", "name": "Result", "fields": fields}
        return Stage(
            "triage", ("mails",), Format.JSON, None, None, when, steps, ResultSchema(avro, "result.avsc"), **settings
        )

    return make


@pytest.fixture(scope="session")
def complete_step() -> Callable[..., CompleteStep]:
    """Give a function that makes a `complete` step that asks about the event's body."""

    def make(
        *, name: str = "complete", system: str = "Sort the mail.", user: str = "{{ event.body }}", **settings: Any
    ) -> CompleteStep:
        prompt = Prompt("triage", "3", system, user, {"max_output_tokens": 100}, "prompts/triage.md")
        return replace(CompleteStep(name, "writer", prompt), **settings)

    return make


@pytest.fixture(scope="session")
def enricher() -> Callable[..., Enricher]:
    """Give a function that makes the enricher of a stage."""

    def make(
        stage: Stage,
        chat: ScriptedChat | None = None,
        functions: dict[str, Any] | None = None,
        *,
        folder: str = "/pipeline",
        route: tuple[ModelRef, ...] = (MODEL,),
        local: LocalParts | None = None,
    ) -> Enricher:
        pipeline = Pipeline("mails", folder, Kafka("kafka:9092", "http://registry"), (stage,), {"writer": route})
        return Enricher(
            pipeline,
            stage,
            chat or ScriptedChat(),
            FixedPrices(PRICES),
            functions or {},
            local=local,
            now=lambda: NOW,
        )

    return make


@pytest.fixture(scope="session")
def make_gate() -> Callable[[], ImmediateGate]:
    """Give a function that makes a gate at which nobody waits, for property tests."""
    return ImmediateGate


@pytest.fixture(scope="session")
def calls_with(event: Callable[..., Event]) -> Callable[..., Calls]:
    """Give a function that makes the calls of one event against a scripted chat model."""

    def make(
        chat: ScriptedChat,
        *,
        gate: ImmediateGate | None = None,
        route: tuple[ModelRef, ...] = (MODEL,),
        attempts: int = 3,
        deadline: float = 300.0,
    ) -> Calls:
        stage = StageCalls(
            pipeline="mails",
            stage="triage",
            routes={"writer": route},
            attempts=attempts,
            deadline=deadline,
            models=chat,
            prices=FixedPrices(PRICES),
            now=lambda: NOW,
        )
        return Calls(stage, event(body="Hello"), gate or ImmediateGate())

    return make


@pytest.fixture
def calls(calls_with: Callable[..., Calls], gate: ImmediateGate) -> Callable[..., Calls]:
    """Give a function that makes the calls of one event, waiting at the test's `gate`."""
    return partial(calls_with, gate=gate)
