"""Cost events and their sums."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from eventmill_agents.cost import Attempt, CallCosts, total_cost
from eventmill_connectors.testing import FixedPrices, replied
from eventmill_schemas.chat import Usage
from eventmill_schemas.cost import Certainty
from eventmill_schemas.errors import (
    Ambiguous,
    CallFailed,
    EventmillError,
    Overloaded,
    RateLimited,
    RequestRefused,
)
from eventmill_schemas.events import Event
from eventmill_schemas.pipeline import ModelRef

PRICES = FixedPrices(
    {("openai", "gpt-5-mini"): (Decimal("0.25"), Decimal(2)), ("openai", "gpt-5"): (Decimal(1), Decimal(10))}
)


@pytest.fixture
def costs(event: Callable[..., Event]) -> CallCosts:
    """Give the costs of one call."""
    return CallCosts("mails", "triage", "complete", event(), "c" * 32, "triage@3", PRICES)


def attempt(number: int = 1, model: str = "gpt-5-mini") -> Attempt:
    """Return an attempt at a model."""
    return Attempt(number, ModelRef("openai", model), datetime(2026, 11, 21, tzinfo=UTC), 1500)


def test_reply_is_priced_exactly(costs: CallCosts) -> None:
    """A reply with usage costs what the price says, to the last digit, and the event says by what and for whom."""
    made = costs.of_reply(attempt(), replied(usage=Usage(1, 3)), "ok")
    assert made.certainty is Certainty.EXACT
    assert made.cost == Decimal("0.00000625")
    assert made.price_row == "fixed:openai/gpt-5-mini"
    assert made.usage == Usage(1, 3)
    assert (made.event_id, made.tenant, made.pipeline, made.stage) == ("e-1", "acme", "mails", "triage")
    assert (made.step, made.prompt, made.provider, made.model) == ("complete", "triage@3", "openai", "gpt-5-mini")
    assert (made.attempt, made.outcome, made.duration_ms, str(made.source)) == (1, "ok", 1500, "mails/3@41")


def test_unusable_reply_costs_as_much(costs: CallCosts) -> None:
    """A reply is billed whether it can be used or not."""
    good, bad = (costs.of_reply(attempt(), replied(), outcome) for outcome in ("ok", "invalid_reply"))
    assert (bad.cost, bad.certainty, bad.outcome) == (good.cost, Certainty.EXACT, "invalid_reply")


def test_case_29_reply_without_usage_is_uncertain(costs: CallCosts) -> None:
    """Without usage no amount is claimed, and never 0."""
    made = costs.of_reply(attempt(), replied(usage=None), "ok")
    assert (made.certainty, made.cost, made.usage) == (Certainty.UNCERTAIN, None, None)


@pytest.mark.parametrize(
    ("asked", "served", "row"),
    [
        ("gpt-5", "gpt-5-mini", "fixed:openai/gpt-5-mini"),   # another model: billed as what answered
        ("gpt-5-mini", "/models/mini.gguf", "fixed:openai/gpt-5-mini"),   # a name of the server's own: as asked
        ("gpt-5-mini", "", "fixed:openai/gpt-5-mini"),
    ],
)
def test_case_31_priced_by_the_model_that_answered(costs: CallCosts, asked: str, served: str, row: str) -> None:
    """The reply's own model decides the price where it has one, else the model that was asked."""
    made = costs.of_reply(attempt(model=asked), replied(model=served), "ok")
    assert (made.price_row, made.model) == (row, served or asked)


def test_case_50_unknown_price_is_not_zero(costs: CallCosts) -> None:
    """A model without price is UNPRICED: its tokens are known, its cost is not."""
    made = costs.of_reply(attempt(model="new"), replied(model="new"), "ok")
    assert (made.certainty, made.cost, made.price_row) == (Certainty.UNPRICED, None, None)
    assert made.usage is not None


def test_hostile_model_name_is_cut(costs: CallCosts) -> None:
    """A server may call its model what it likes, on 200 characters."""
    assert len(costs.of_reply(attempt(), replied(model="x" * 10_000), "ok").model) == 200


@pytest.mark.parametrize(
    ("error", "certainty", "cost"),
    [
        (RateLimited("x"), Certainty.EXACT, Decimal(0)),
        (Overloaded("x"), Certainty.EXACT, Decimal(0)),
        (RequestRefused("x"), Certainty.EXACT, Decimal(0)),
        pytest.param(Ambiguous("x"), Certainty.UNCERTAIN, None, id="case_54"),
        (CallFailed("x"), Certainty.UNCERTAIN, None),
    ],
)
def test_attempt_without_reply(
    costs: CallCosts, error: EventmillError, certainty: Certainty, cost: Decimal | None
) -> None:
    """Where nothing was served the cost is exactly 0; where that is not known no amount is claimed."""
    made = costs.of_failure(attempt(), error)
    assert (made.certainty, made.cost, made.outcome, made.usage) == (certainty, cost, error.kind, None)


def test_cost_id_tells_attempts_apart_and_nothing_else(costs: CallCosts) -> None:
    """The same attempt has the same id whatever came of it, another attempt another one."""
    ids = [costs.of_reply(attempt(number=n), replied(), "ok").cost_id for n in (1, 2, 3)]
    assert len(set(ids)) == 3
    assert costs.of_failure(attempt(number=2), Ambiguous("x")).cost_id == ids[1]


def test_total(costs: CallCosts) -> None:
    """The total is the exact sum, 0 for no attempts, and none as soon as one amount is not exact."""
    exact = costs.of_reply(attempt(), replied(usage=Usage(1, 0)), "ok")
    nothing = costs.of_failure(attempt(), RateLimited("x"))
    unsure = costs.of_failure(attempt(), Ambiguous("x"))
    unpriced = costs.of_reply(attempt(model="new"), replied(model="new"), "ok")
    assert total_cost([]) == 0
    assert total_cost([exact, nothing, exact]) == Decimal("0.00000050")
    assert total_cost([exact, unsure]) is None
    assert total_cost([unpriced, exact]) is None
