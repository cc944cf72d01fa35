"""What every source of prices guarantees, the real list and the double alike (eventmill_agents.ports.Prices)."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill_agents.ports import Prices
from eventmill_connectors.pricing import PriceList
from eventmill_connectors.testing import FixedPrices
from eventmill_schemas.chat import Usage
from eventmill_schemas.cost import Price
from eventmill_schemas.pipeline import PriceOverride

MODEL = ("openai", "gpt-5-mini")
NOW = datetime(2026, 11, 21, tzinfo=UTC)
SOURCES: dict[str, Prices] = {
    "list": PriceList(),
    "own prices": PriceList([PriceOverride(*MODEL, Decimal("0.25"), Decimal(2))]),
    "double": FixedPrices({MODEL: (Decimal("0.25"), Decimal(2))}),
}

every_source = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
counts = st.integers(0, 10**6)


@every_source
@given(given_=counts, returned=counts)
def test_an_amount_is_tokens_times_price_to_the_last_digit(source: Prices, given_: int, returned: int) -> None:
    """250,000 and 2,000,000 pico-dollars per token of gpt-5-mini, in at most twelve decimal places."""
    price = source.price(*MODEL, Usage(given_, returned), NOW)
    assert price.amount == Decimal(given_ * 250_000 + returned * 2_000_000).scaleb(-12)
    assert price.amount is not None
    assert price.amount == price.amount.quantize(Decimal("1e-12"))


@every_source
@given(given_=counts, returned=counts, data=st.data())
def test_parts_of_a_count_are_not_charged_twice(
    source: Prices, given_: int, returned: int, data: st.DataObject
) -> None:
    """Cached and reasoning tokens are inside of the totals: they make a reply cheaper or leave its price alone."""
    cached, reasoning = data.draw(st.integers(0, given_)), data.draw(st.integers(0, returned))
    whole = source.price(*MODEL, Usage(given_, returned), NOW).amount
    parted = source.price(*MODEL, Usage(given_, returned, cached, reasoning), NOW).amount
    assert whole is not None
    assert parted is not None
    assert 0 <= parted <= whole


@every_source
def test_a_price_names_its_row_and_no_tokens_cost_nothing(source: Prices) -> None:
    """Zero tokens of a known model cost exactly 0, by a named row."""
    price = source.price(*MODEL, Usage(0, 0), NOW)
    assert price.amount == 0
    assert price.row is not None
    assert "openai/gpt-5-mini" in price.row


@every_source
def test_an_unknown_model_is_none_and_never_zero(source: Prices) -> None:
    """Nothing is claimed where nothing is known, even for no tokens."""
    for usage in (Usage(0, 0), Usage(5, 5)):
        assert source.price("openai", "nobody-s-model", usage, NOW) == Price(None, None)
        assert source.price("nobody", "gpt-5-mini", usage, NOW) == Price(None, None)
