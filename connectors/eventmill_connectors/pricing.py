"""Exact prices of model replies: the pipeline's own prices first, then the price list of genai-prices.

Amounts are whole pico-dollars (1e-12 USD) from the first multiplication on, so nothing is ever rounded. A price per
million tokens with at most six decimal places is a whole number of pico-dollars per token.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Context, Decimal, Inexact, InvalidOperation
from fractions import Fraction
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from eventmill_schemas.chat import Usage
from eventmill_schemas.cost import Price
from eventmill_schemas.errors import UsageError
from eventmill_schemas.pipeline import PriceOverride

if TYPE_CHECKING:   # reading the price list takes half a second of CPU: only where a price is asked of it
    from genai_prices.types import ModelInfo, ModelPrice

PLACES = 12   # decimal places of an amount in USD
_EXACT = Context(prec=60, traps=[Inexact, InvalidOperation])   # an amount that would be rounded is an error

# Kinds of prices that a chat reply can cost, and the number of units that they are given for.
_PER = {
    "input_mtok": 1_000_000,
    "cache_read_mtok": 1_000_000,
    "cache_write_mtok": 1_000_000,
    "output_mtok": 1_000_000,
    "output_reasoning_mtok": 1_000_000,
    "requests_kcount": 1_000,
}

# The name of a dated snapshot (gpt-5-mini-2025-08-07), which servers return when the model itself was asked for.
_SNAPSHOT = re.compile(r"(?P<model>.+)-\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True)
class _Rate:
    """Pico-dollars per token and per request, for replies whose prompt has more than `above` tokens."""

    above: int
    input: int
    cache_read: int
    cache_write: int
    output: int
    reasoning: int
    request: int
    row: str

    def price(self, usage: Usage) -> Price:
        picos = (
            (usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens) * self.input
            + usage.cache_read_tokens * self.cache_read
            + usage.cache_write_tokens * self.cache_write
            + (usage.output_tokens - usage.reasoning_tokens) * self.output
            + usage.reasoning_tokens * self.reasoning
            + self.request
        )
        return Price(Decimal(picos).scaleb(-PLACES, _EXACT), self.row)


@dataclass(frozen=True, slots=True)
class _Row:
    """One price row in force for a time: its rates by prompt length, the highest first."""

    rates: tuple[_Rate, ...]

    def price(self, usage: Usage) -> Price:
        # Past a threshold the dearer rate applies to the whole reply, not only to the tokens beyond it.
        for rate in self.rates:
            if usage.input_tokens > rate.above or rate.above == 0:
                return rate.price(usage)
        raise AssertionError("the last rate has no threshold")


class PriceList:
    """Prices of replies. Satisfies eventmill_agents.ports.Prices.

    `overrides` come before the price list. One for a model holds for its dated snapshots too (gpt-5-mini for
    gpt-5-mini-2025-08-07), unless they have their own.
    """

    def __init__(self, overrides: Iterable[PriceOverride] = ()) -> None:
        self._own: dict[tuple[str, str], _Row] = {}
        for override in overrides:
            place = (override.provider, override.model)
            if place in self._own:
                raise UsageError(
                    f"Two prices for {override.provider}/{override.model}", remedy="Keep one of them under `prices`"
                )
            self._own[place] = _own_row(override)

    def price(self, provider: str, model: str, usage: Usage, at: datetime) -> Price:
        """Price `usage` by the row in force at `at` (UTC), in USD with 12 decimal places, never rounded.

        An unknown model gives Price(None, None), never 0; so does a listed price that has no exact amount (`known`
        says so at the start).
        """
        own = self._overridden(provider, model)
        if own is not None:
            return own.price(usage)
        listed = _look_up(provider, model)
        row = None if listed is None else listed.row(at)
        return Price(None, None) if row is None else row.price(usage)

    def known(self, provider: str, model: str) -> bool:
        """Whether replies of the model can be priced, at any time.

        Raises: UsageError if the price list knows the model with a price that is no exact amount in 12 decimal places.
        """
        if self._overridden(provider, model) is not None:
            return True
        listed = _look_up(provider, model)
        return listed is not None and listed.check()

    def _overridden(self, provider: str, model: str) -> _Row | None:
        own = self._own.get((provider, model))
        if own is None and self._own and (snapshot := _SNAPSHOT.fullmatch(model)):
            own = self._own.get((provider, snapshot["model"]))
        return own


class _ListedModel:
    """A model of genai-prices with its rows, each worked out when it is first in force."""

    def __init__(self, provider: str, model: "ModelInfo") -> None:
        self._model = model
        self._name = f"genai-prices@{version('genai-prices')}:{provider}/{model.id}"
        self._rows: dict[int, _Row | None] = {}

    def row(self, at: datetime) -> _Row | None:
        """Return the row in force at `at`, None where it prices no tokens or has no exact amount."""
        prices = self._model.get_prices(at)
        place = id(prices)   # the list holds it as long as we do
        if place not in self._rows:
            try:
                self._rows[place] = self._worked_out(prices)
            except UsageError:
                self._rows[place] = None
        return self._rows[place]

    def check(self) -> bool:
        """Return whether all rows, past, present and future, price tokens; UsageError if one is no exact amount."""
        prices = self._model.prices
        rows = [row.prices for row in prices] if isinstance(prices, list) else [prices]
        usable = [self._worked_out(row) is not None for row in rows]
        return all(usable)

    def _worked_out(self, prices: "ModelPrice") -> _Row | None:
        return _listed_row(prices, f"{self._name}@{self._since(prices)}")

    def _since(self, prices: "ModelPrice") -> str:
        """Name what makes the row hold: a start date, a time of day, or nothing (`always`)."""
        rows = self._model.prices
        for row in rows if isinstance(rows, list) else ():
            if row.prices is prices and row.constraint is not None:
                parts = [getattr(row.constraint, name, None) for name in ("start_date", "start_time", "end_time")]
                return "/".join(part.isoformat() for part in parts if isinstance(part, date | time))
        return "always"


@lru_cache(maxsize=1024)   # bounded: the model's name comes from the server's reply
def _look_up(provider: str, model: str) -> _ListedModel | None:
    """Find a model in the price list as it was installed; nothing is downloaded."""
    import genai_prices  # noqa: PLC0415 - see the top of the file

    try:
        found = genai_prices.calc_price(genai_prices.Usage(), model, provider_id=provider)
    except LookupError:
        return None
    return _ListedModel(found.provider.id, found.model)


def _own_row(override: PriceOverride) -> _Row:
    name = f"pipeline:{override.provider}/{override.model}"
    given, returned = _picos(override.input, name), _picos(override.output, name)
    cached = given if override.cache_read is None else _picos(override.cache_read, name)
    return _Row((_Rate(0, given, cached, given, returned, returned, 0, name),))


def _listed_row(prices: "ModelPrice", name: str) -> _Row | None:
    """Read a row of the price list, None where it has no price for tokens in and out.

    A kind of token without a price of its own is charged as what it is a part of.
    """
    starts = {0}
    for price in vars(prices).values():
        starts.update(tier.start for tier in getattr(price, "tiers", ()))
    rates = []
    for start in sorted(starts, reverse=True):
        row = name if start == 0 else f"{name}>{start}"
        at = {kind: _picos(price, row, _PER[kind]) for kind, price in _by_name(prices, start).items() if kind in _PER}
        if "input_mtok" not in at or "output_mtok" not in at:
            return None
        rates.append(
            _Rate(
                above=start,
                input=at["input_mtok"],
                cache_read=at.get("cache_read_mtok", at["input_mtok"]),
                cache_write=at.get("cache_write_mtok", at["input_mtok"]),
                output=at["output_mtok"],
                reasoning=at.get("output_reasoning_mtok", at["output_mtok"]),
                request=at.get("requests_kcount", 0),
                row=row,
            )
        )
    return _Row(tuple(rates))


def _by_name(prices: "ModelPrice", start: int) -> Mapping[str, Decimal]:
    """Return the prices that hold for prompts of more than `start` tokens."""
    found: dict[str, Decimal] = {}
    for name, price in vars(prices).items():
        if isinstance(price, Decimal):
            found[name] = price
        elif price is not None:
            found[name] = price.base
            for tier in price.tiers:
                if tier.start <= start and start > 0:
                    found[name] = tier.price
    return found


def _picos(price: Decimal, row: str, per: int = 1_000_000) -> int:
    """Return pico-dollars per unit from USD per `per` units."""
    if price.is_finite() and price >= 0:
        picos = Fraction(price) * 10**PLACES / per
        if picos.denominator == 1:
            return int(picos)
    raise UsageError(
        f"Price {price} of {row} is no exact amount: an amount is 0 or more, with at most {PLACES} decimal places",
        remedy="Give the model's price under `prices`, in USD per million tokens with at most 6 decimal places",
    )
