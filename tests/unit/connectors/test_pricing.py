"""Amounts are exact, agree with genai-prices wherever it knows a price, and are None wherever nobody does."""

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot
from hypothesis import example, given
from hypothesis import strategies as st

from eventmill_connectors.pricing import PLACES, PriceList
from eventmill_schemas.chat import Usage
from eventmill_schemas.cost import Price
from eventmill_schemas.errors import UsageError
from eventmill_schemas.pipeline import PriceOverride

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MODELS = [(provider.id, model.id) for provider in get_snapshot().providers for model in provider.models]
# What made mistakes elsewhere: thresholds on prompt length, start dates, times of day, cache writes.
HARD = [
    ("openai", "gpt-5.6-luna"),
    ("deepseek", "deepseek-chat"),
    ("google", "gemini-2.5-pro"),
    ("anthropic", "claude-sonnet-4-5"),
]
LIST = PriceList()


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Draw token counts that can be true, often near the thresholds of price bands."""
    near = st.sampled_from([128_000, 200_000, 272_000]).flatmap(lambda band: st.integers(band - 2, band + 2))
    given_ = draw(near | st.integers(0, 2_000_000))
    returned, cached = draw(st.integers(0, 200_000)), draw(st.integers(0, given_))
    written, reasoning = draw(st.integers(0, given_ - cached)), draw(st.integers(0, returned))
    return Usage(given_, returned, cached, reasoning, written)


MOMENTS = st.datetimes(datetime(2023, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis takes naive bounds


def theirs(provider: str, model: str, usage: Usage, at: datetime) -> Any:
    """Return what genai-prices says, None where it knows no price."""
    counts = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
    )
    try:
        return genai_prices.calc_price(counts, model, provider_id=provider, genai_request_timestamp=at)
    except LookupError:
        return None


def prices_tokens(price: Any) -> bool:
    """Whether a row of theirs has a price for tokens in and out."""
    return price.input_mtok is not None and price.output_mtok is not None


@given(st.sampled_from(MODELS) | st.sampled_from(HARD), usages(), MOMENTS)
@example(("openai", "gpt-5.6-luna"), Usage(272_001, 5), NOW)
@example(("openai", "gpt-5.6-luna"), Usage(272_000, 5), datetime(2026, 7, 29, 23, 59, 59, tzinfo=UTC))
def test_amounts_are_those_of_genai_prices(model: tuple[str, str], usage: Usage, at: datetime) -> None:
    """For every model, usage and time: the same amount to the last digit, or None where tokens have no exact price."""
    ours, found = LIST.price(*model, usage, at), theirs(*model, usage, at)
    if found is None or not prices_tokens(found.model_price):
        assert ours == Price(None, None)
    elif ours.amount is None:
        with pytest.raises(UsageError, match="no exact amount"):
            LIST.known(*model)
    else:
        with localcontext(prec=60):
            assert ours.amount == found.total_price


@given(st.sampled_from(MODELS))
def test_a_known_model_has_a_price_at_all_times(model: tuple[str, str]) -> None:
    """What `known` lets through at the start is never None later."""
    try:
        known = LIST.known(*model)
    except UsageError:
        return
    days = [(2023, 1), (2025, 8), (2026, 8), (2028, 1)]
    moments = [datetime(year, month, 1, hour, tzinfo=UTC) for year, month in days for hour in (3, 17)]
    amounts = [LIST.price(*model, Usage(1, 1), at).amount for at in moments]
    assert not known or None not in amounts


@given(usages())
def test_amounts_have_twelve_places_and_are_never_rounded(usage: Usage) -> None:
    """Every amount is a whole number of pico-dollars, however small the context's precision is."""
    with localcontext(prec=3):
        price = LIST.price("openai", "gpt-5-mini", usage, NOW)
    assert price.amount is not None
    assert price.amount.as_tuple().exponent == -PLACES
    plain = (usage.input_tokens - usage.cache_read_tokens) * 250_000 + usage.cache_read_tokens * 25_000
    assert int(price.amount.scaleb(PLACES)) == plain + usage.output_tokens * 2_000_000


def test_a_row_is_named_with_its_version_date_and_band() -> None:
    """The name says which price was applied, so that a cost can be recomputed."""
    version = genai_prices.__version__
    rows = [
        LIST.price("openai", "gpt-5-mini", Usage(1, 1), NOW).row,
        LIST.price("openai", "gpt-5-mini-2025-08-07", Usage(1, 1), NOW).row,
        LIST.price("openai", "gpt-5.6-luna", Usage(1, 1), NOW).row,
        LIST.price("openai", "gpt-5.6-luna", Usage(272_001, 1), NOW).row,
        LIST.price("openai", "gpt-5.6-luna", Usage(1, 1), NOW - timedelta(days=300)).row,
    ]
    assert rows == [
        f"genai-prices@{version}:openai/gpt-5-mini@always",
        f"genai-prices@{version}:openai/gpt-5-mini@always",
        f"genai-prices@{version}:openai/gpt-5.6-luna@2026-07-30",
        f"genai-prices@{version}:openai/gpt-5.6-luna@2026-07-30>272000",
        f"genai-prices@{version}:openai/gpt-5.6-luna@always",
    ]


@pytest.mark.parametrize(
    ("provider", "model"), [("openai", "nobody-s-model"), ("nobody", "gpt-5-mini"), ("openai", "whisper-1"), ("", "")]
)
def test_case_50_an_unknown_price_is_none_and_never_zero(provider: str, model: str) -> None:
    """Unknown provider, unknown model, and a model whose tokens have no price."""
    assert LIST.price(provider, model, Usage(10, 10), NOW) == Price(None, None)
    assert not LIST.known(provider, model)


def override(model: str = "gpt-5-mini", given_: str = "1", returned: str = "2", cached: str = "0.5") -> PriceOverride:
    """Make a price of the pipeline."""
    return PriceOverride("openai", model, Decimal(given_), Decimal(returned), Decimal(cached))


@given(usages(), st.integers(0, 10**9), st.integers(0, 10**9), st.none() | st.integers(0, 10**9))
def test_the_pipeline_s_price_comes_first(usage: Usage, given_: int, returned: int, cached: int | None) -> None:
    """It is applied exactly, at any time; without a price for cached tokens they cost as any other."""
    millionth = Decimal("0.000001")
    own = PriceOverride(
        "openai", "gpt-5-mini", given_ * millionth, returned * millionth, None if cached is None else cached * millionth
    )
    price = PriceList([own]).price("openai", "gpt-5-mini", usage, NOW)
    plain = (usage.input_tokens - usage.cache_read_tokens) * given_ + usage.output_tokens * returned
    assert price.amount is not None
    assert int(price.amount.scaleb(PLACES)) == plain + usage.cache_read_tokens * (given_ if cached is None else cached)
    assert price.row == "pipeline:openai/gpt-5-mini"


def test_an_own_price_holds_for_snapshots_of_the_model_and_for_no_other() -> None:
    """Servers answer under a dated name; a sibling model keeps its own price."""
    prices = PriceList([override("m"), override("m-2026-01-02", "7")])
    assert prices.price("openai", "m-2025-08-07", Usage(1_000_000, 0), NOW).amount == 1
    assert prices.price("openai", "m-2026-01-02", Usage(1_000_000, 0), NOW).amount == 7
    assert prices.price("openai", "m-mini", Usage(1_000_000, 0), NOW) == Price(None, None)
    assert prices.known("openai", "m-2025-08-07")
    assert not prices.known("openai", "m-mini")
    assert not prices.known("nobody", "m")


@pytest.mark.parametrize("value", ["0.0000001", "-1", "NaN", "Infinity", "1E-7"])
def test_an_own_price_that_is_no_exact_amount_stops_the_start(value: str) -> None:
    """Too many decimal places, negative or not a number: named, and never rounded."""
    for changes in ({"given_": value}, {"returned": value}, {"cached": value}):
        with pytest.raises(UsageError, match="openai/gpt-5-mini is no exact amount"):
            PriceList([override(**changes)])


def test_two_own_prices_for_one_model_stop_the_start() -> None:
    """Which one holds must not depend on their order."""
    with pytest.raises(UsageError, match="Two prices for openai/gpt-5-mini"):
        PriceList([override(), override()])


def test_a_listed_price_that_is_no_exact_amount_stops_the_start_and_is_none_later() -> None:
    """A price list made with floating point numbers is not believed."""
    broken = [place for place in MODELS if place[0] == "huggingface_together" and "Qwen3-VL-8B" in place[1]]
    assert broken, "the price list has been repaired: find another such row, or remove this test"
    with pytest.raises(UsageError, match=r"no exact amount.*`prices`"):
        LIST.known(*broken[0])
    assert LIST.price(*broken[0], Usage(1, 1), NOW) == Price(None, None)


def test_the_price_list_is_read_only_where_it_is_needed() -> None:
    """Importing the module, and pricing by the pipeline's own prices, loads no price list: it takes half a second."""
    code = (
        "import sys; from decimal import Decimal; from datetime import datetime, UTC\n"
        "from eventmill_connectors.pricing import PriceList, PriceOverride, Usage\n"
        "prices = PriceList([PriceOverride('openai', 'm', Decimal(1), Decimal(1))])\n"
        "assert prices.price('openai', 'm', Usage(1, 1), datetime.now(UTC)).amount is not None\n"
        "assert 'genai_prices' not in sys.modules and 'httpx2' not in sys.modules\n"
        "prices.known('openai', 'gpt-5-mini'); assert 'genai_prices' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_price_costs_microseconds(capsys: pytest.CaptureFixture[str]) -> None:
    """Pricing through our rows is at least ten times as fast as through the library; the figures are printed."""
    usage, times = Usage(272_001, 5, 3), 200

    def seconds(ask: Any) -> float:
        ask("openai", "gpt-5.6-luna", usage, NOW)
        start = time.process_time()
        for _ in range(times):
            ask("openai", "gpt-5.6-luna", usage, NOW)
        return (time.process_time() - start) / times

    ours, library = seconds(LIST.price), seconds(theirs)
    with capsys.disabled():
        print(f"\nprice of a reply: {ours * 1e6:.1f} us; genai-prices itself: {library * 1e6:.1f} us")
    assert ours * 10 < library
